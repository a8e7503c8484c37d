"""Our side of the oracle's questions, and the engine's side in its own environment."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triton_vllm_operator.capacity import shape_from_config
from triton_vllm_operator.capacity.memory.kv_cache import KVSettings, capacity, layout
from triton_vllm_operator.capacity.memory.weights import Parallelism, stage_weights
from triton_vllm_operator.capacity.model.safetensors import TensorInfo
from triton_vllm_operator.capacity.model.shape import ModelShape
from triton_vllm_operator.catalog.engine_rules import rules_for

ORACLE = Path(__file__).with_name("vllm_oracle.py")


@dataclass(frozen=True, slots=True)
class Answered:
    """One case and what the engine says to it."""

    case: dict[str, Any]
    answer: dict[str, Any]


def ask_engine(python: str, cases: Sequence[dict[str, Any]], timeout_seconds: float) -> list[Answered]:
    """Each case with the engine's answer, in order."""
    lines = "\n".join(json.dumps(case) for case in cases) + "\n"
    done = subprocess.run(
        [python, str(ORACLE)], input=lines, capture_output=True, text=True, timeout=timeout_seconds, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the oracle failed: {done.stderr[-2000:]}")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return [Answered(case, answer) for case, answer in zip(cases, answers, strict=True)]


def our_weights(case: dict[str, Any]) -> list[int]:
    """Bytes per stage by our rules, from `config.json` alone."""
    return list(stage_weights(shape_from_config(case["config"]), Parallelism(case["tp"], case["pp"])))


def our_weights_of_tensors(case: dict[str, Any], tensors: list[list[Any]]) -> list[int]:
    """Bytes per stage by our rules, from `config.json` and the checkpoint's tensors."""
    infos = [TensorInfo(name, dtype, tuple(shape)) for name, dtype, shape in tensors]
    return list(stage_weights(shape_from_config(case["config"], infos), Parallelism(case["tp"], case["pp"])))


def our_answers(case: dict[str, Any], version: str) -> list[dict[str, Any]]:
    """Our answers to the case's questions, in the oracle's form."""
    return answers_of_shape(shape_from_config(case["config"]), case, version)


def answers_of_shape(shape: ModelShape, case: dict[str, Any], version: str) -> list[dict[str, Any]]:
    """Our answers for a shape to the case's questions, in the oracle's form."""
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
        encoder_len=question["batched"],
        speculative_tokens=case["mtp"],
        kernel_block=32,
    )
    plan = layout(shape.layers, settings, shape.draft_layers if case["mtp"] else ())
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
