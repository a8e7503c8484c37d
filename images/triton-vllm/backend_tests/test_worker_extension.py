"""The phases that only a worker sees: each second counts once, rank 0 speaks, and what was cached is not a download."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from backend.container import report
from backend.engine import worker_extension
from backend.engine.worker_extension import PhasedWorker
from backend.patches import spin_condition, worker_phases
from backend.patches.spin_condition import SPIN_SECONDS
from backend.patches.worker_phases import DOWNLOAD, Stopwatch
from testing.server import script_lines

SPENT = 3.0


class Clock:
    """Stands still unless something takes time."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return time.time()

    def pass_by(self) -> None:
        self.now += SPENT


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(worker_phases, "time", made)
    return made


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = []
    monkeypatch.setattr(report, "write", written.append)
    return written


def engine(clock: Clock, watch: Stopwatch, folder: Path, *, fetched: bool = True, rank: int = 0) -> Any:
    """A worker like vLLM's: a subclass calls its parent's method, and the weights are fetched while they are loaded."""

    def download(_name: str) -> str:
        clock.pass_by()
        if fetched:
            (folder / "weights").write_bytes(b"12345")
        return str(folder)

    loader = SimpleNamespace(**{DOWNLOAD: download})

    class Base:
        def __init__(self) -> None:
            self.rank = rank

    class Worker(Base):
        def load_model(self) -> str:
            clock.pass_by()
            return str(getattr(loader, DOWNLOAD)("org/model"))

        def determine_available_memory(self) -> None:
            clock.pass_by()

        def initialize_from_config(self, config: int) -> int:
            clock.pass_by()
            return config

        def compile_or_warm_up_model(self) -> None:
            clock.pass_by()

    class Child(Worker):
        def load_model(self) -> str:
            return super().load_model()

    worker_phases.install(Base, [loader, SimpleNamespace()], watch)
    return Child()


def start(worker: Any) -> None:
    worker.load_model()
    worker.determine_available_memory()
    assert worker.initialize_from_config(7) == 7
    worker.compile_or_warm_up_model()


def test_each_second_counts_in_one_phase(clock: Clock, tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    watch = Stopwatch()
    start(engine(clock, watch, tmp_path))
    assert watch.spent == {"Download": SPENT, "WeightsLoaded": SPENT, "KVCache": 2 * SPENT, "Warmup": SPENT}
    assert [line["phase"] for line in lines] == ["Download", "WeightsLoaded"]
    assert lines[0]["bytes"] == 5
    assert [line["seconds"] for line in lines] == [SPENT, SPENT]


def test_what_lay_in_the_cache_is_no_download(clock: Clock, tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    (tmp_path / "weights").write_bytes(b"12345")
    os.utime(tmp_path / "weights", (1, 1))
    start(engine(clock, Stopwatch(), tmp_path, fetched=False))
    assert [line["phase"] for line in lines] == ["WeightsLoaded"]


def test_other_ranks_are_silent(clock: Clock, tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    watch = Stopwatch()
    start(engine(clock, watch, tmp_path, rank=1))
    assert lines == []
    assert watch.spent["Download"] > 0


def test_a_method_that_fails_is_timed_again(tmp_path: Path) -> None:
    watch = Stopwatch()

    class Base:
        rank = 0

    class Broken(Base):
        def load_model(self) -> None:
            raise RuntimeError("no weights")

    worker_phases.install(Base, [], watch)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no weights"):
            Broken().load_model()
    assert watch.spent == {}


def test_the_engine_finds_nothing_of_its_own_under_our_names() -> None:
    """vLLM refuses an extension that has a name of its worker's."""
    ours = [name for name in dir(PhasedWorker) if not name.startswith("__")]
    assert all(name.startswith("triton_vllm_") for name in ours)
    assert "vllm" not in sys.modules, "the module is for the workers' processes only"


def test_a_worker_sleeps_soon_after_a_message() -> None:
    class Condition:
        def __init__(self, is_reader: bool, busy_loop_s: float = 1) -> None:
            self.read, self.spins = is_reader, busy_loop_s

    spin_condition.install(Condition)
    assert (Condition(is_reader=True).spins, Condition(True).read) == (SPIN_SECONDS, True)


def test_another_engines_queue_is_left_alone() -> None:
    class Condition:
        def __init__(self, is_reader: bool) -> None:
            self.read = is_reader

    spin_condition.install(Condition)
    spin_condition.install(None)
    assert Condition(True).read


INSTALLED = """
import json
import vllm.v1.worker.gpu_worker as gpu_worker
import backend.engine.worker_extension
from vllm.v1.worker import startup_plan as plans
from vllm.v1.worker.gpu.cudagraph_utils import CudaGraphManager
ours = [gpu_worker.maybe_save_startup_plan, gpu_worker.maybe_apply_startup_plan, CudaGraphManager._init_candidates]
theirs = [plans.maybe_save_startup_plan, plans.maybe_apply_startup_plan]
print(json.dumps([[one.__globals__["__name__"] for one in some] for some in (ours, theirs)]))
"""


@pytest.mark.engine
@pytest.mark.parametrize("variant", ["cpu", "cpu-previous"])
def test_a_gpus_worker_keeps_what_it_measured_and_has_fewer_graphs(tmp_path: Path, variant: str) -> None:
    ours, theirs = json.loads(script_lines(tmp_path, INSTALLED, variant=variant)[-1])
    assert ours == ["backend.patches.startup_plan", "backend.patches.startup_plan", "backend.patches.cuda_graph_sizes"]
    assert theirs == ["vllm.v1.worker.startup_plan"] * 2


def test_a_stand_in_version_that_has_other_modules_starts_as_it_does_by_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", ModuleType("vllm"))
    gpu_worker = ModuleType("vllm.v1.worker.gpu_worker")
    worker_extension._install_on_gpu(gpu_worker)
    assert "the start is not shortened for this version of vLLM: " in caplog.text
    assert not hasattr(gpu_worker, "maybe_save_startup_plan")
