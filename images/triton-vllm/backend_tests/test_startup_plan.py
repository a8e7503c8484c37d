"""The KV cache that a start measured, and the terms of it, are those of the next start. The plans are vLLM's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testing.server import script_lines

pytestmark = [pytest.mark.engine, pytest.mark.parametrize("variant", ["cpu", "cpu-previous"])]

# A stand-in for vLLM's worker and for its module; the plans are vLLM's.
BEGIN = """
import json, os, sys, types
from pathlib import Path
os.environ["VLLM_CACHE_ROOT"] = os.getcwd() if len(sys.argv) < 2 else sys.argv[1]
os.environ["VLLM_ENABLE_STARTUP_PLAN"] = "1"
from types import SimpleNamespace
from vllm.v1.worker import startup_plan as plans
from backend.patches import startup_plan
from backend.engine.memory import MeasuringWorker, measured

module = types.ModuleType("gpu_worker")
module.maybe_save_startup_plan = plans.maybe_save_startup_plan
module.maybe_apply_startup_plan = plans.maybe_apply_startup_plan
startup_plan.install(module, plans, lambda worker: measured(worker, graphs_count=True))

GIB = 1 << 30

def worker(settings="same", free=130 * GIB, given=None, available=100 * GIB):
    config = SimpleNamespace(compute_hash=lambda: settings, device_config=SimpleNamespace(device_type="cuda"))
    return SimpleNamespace(
        vllm_config=config, rank=0, parallel_config=SimpleNamespace(world_size=1),
        cache_config=SimpleNamespace(kv_cache_memory_bytes=given), init_snapshot=SimpleNamespace(free_memory=free),
        requested_memory=125 * GIB, available_kv_cache_memory_bytes=available, cudagraph_memory_estimate=2 * GIB,
        model_runner=SimpleNamespace(model_memory_usage=16 * GIB), total_consumed=17 * GIB,
    )

def terms(one):
    return measured(one, graphs_count=True)

def start(one):
    module.maybe_apply_startup_plan(one)
    if one.cache_config.kv_cache_memory_bytes is not None:
        del one.available_kv_cache_memory_bytes, one.cudagraph_memory_estimate, one.total_consumed  # not measured
    else:
        module.maybe_save_startup_plan(one, 90 * GIB)  # vLLM's own, smaller
    return [one.cache_config.kv_cache_memory_bytes, terms(one)]

def files():
    return sorted(path.suffix for path in Path(os.environ["VLLM_CACHE_ROOT"]).rglob("startup_plan_*"))
"""
GIB = 1 << 30
TERMS = {
    "requestedBytes": 125 * GIB,
    "weightsBytes": 16 * GIB,
    "nonTorchBytes": GIB,
    "activationBytes": 6 * GIB,
    "cudaGraphBytes": 2 * GIB,
    "kvCacheBytes": 100 * GIB,
}


def told(folder: Path, script: str, variant: str) -> Any:
    cache = folder / "cache"
    cache.mkdir()
    return json.loads(script_lines(folder, BEGIN + script, str(cache), variant=variant)[-1])


def test_the_measured_size_and_its_terms_are_kept_and_taken(tmp_path: Path, variant: str) -> None:
    found = told(tmp_path, "print(json.dumps([start(worker()), start(worker()), files()]))", variant)
    assert found == [[None, TERMS], [100 * GIB, TERMS], [".json", ".terms"]]


def test_what_differs_is_measured_anew(tmp_path: Path, variant: str) -> None:
    script = """
start(worker())
other = start(worker(settings="other", available=50 * GIB))
less = start(worker(free=129 * GIB, available=60 * GIB))
print(json.dumps([other, less, start(worker(free=129 * GIB))]))
"""
    other, less, again = told(tmp_path, script, variant)
    assert (other[0], other[1]["kvCacheBytes"]) == (None, 50 * GIB)
    assert (less[0], less[1]["kvCacheBytes"]) == (None, 60 * GIB)
    # The measure with less memory replaces the older one.
    assert (again[0], again[1]["kvCacheBytes"]) == (60 * GIB, 60 * GIB)


def test_a_size_that_the_user_gave_has_no_terms_of_another_start(tmp_path: Path, variant: str) -> None:
    script = "start(worker()); print(json.dumps(start(worker(given=7 * GIB))))"
    assert told(tmp_path, script, variant) == [7 * GIB, {"weightsBytes": 16 * GIB, "kvCacheBytes": 7 * GIB}]


def test_without_the_plans_nothing_is_kept(tmp_path: Path, variant: str) -> None:
    script = """
os.environ["VLLM_ENABLE_STARTUP_PLAN"] = "0"
start(worker())
print(json.dumps([start(worker()), files()]))
"""
    assert told(tmp_path, script, variant) == [[None, TERMS], []]


@pytest.mark.parametrize("harm", ["path.write_text('{')", "path.unlink()"])
def test_terms_that_cannot_be_read_are_told_and_the_size_is_taken(tmp_path: Path, variant: str, harm: str) -> None:
    script = f"""
import logging
warned = []
logging.getLogger("triton_vllm").warning = lambda text, *values: warned.append(text)
start(worker())
(path,) = Path(os.environ["VLLM_CACHE_ROOT"]).rglob("*.terms")
{harm}
print(json.dumps([start(worker()), warned]))
"""
    (size, terms), warned = told(tmp_path, script, variant)
    assert (size, terms) == (100 * GIB, {"weightsBytes": 16 * GIB, "kvCacheBytes": 100 * GIB})
    assert warned == ["failed to read the terms of the memory budget: %s"]


def test_terms_that_cannot_be_written_are_told_and_no_more(tmp_path: Path, variant: str) -> None:
    script = """
import logging
warned = []
logging.getLogger("triton_vllm").warning = lambda text, *values: warned.append(text)
start(worker())
(path,) = Path(os.environ["VLLM_CACHE_ROOT"]).rglob("*.terms")
path.unlink()
path.mkdir()
(path / "file").touch()
module.maybe_save_startup_plan(worker(), 90 * GIB)
print(json.dumps(warned))
"""
    assert told(tmp_path, script, variant) == ["failed to save the terms of the memory budget: %s"]
