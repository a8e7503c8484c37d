"""Values for the fields of `spec.engine` that the spec leaves open, and the record of them that is kept.

They are computed once and kept on the Deployment that runs with them; they are computed again only when a part of the
spec that they depend on changes. See docs/adr/0002-choices.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from triton_vllm_operator.api.autoconfig import AutoConfig
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.capacity import EngineSettings, GPUClass, ModelShape, choose, plan

_VERDICTS = ("Fits", "Tight", "DoesNotFit")


def configure(
    llm: LLMDeployment, shape: ModelShape, settings: EngineSettings, classes: Sequence[GPUClass]
) -> AutoConfig:
    """Values for the class that serves the longest requests with the fewest GPUs, of those the smallest.

    Where the model fits on none of them, for the largest.
    """
    parallel = _is_open(llm, "tensor_parallel_size")
    candidates = [(gpu, choose(shape, settings, gpu, choose_parallel=parallel)) for gpu in classes]

    def rank(candidate: tuple[GPUClass, EngineSettings]) -> tuple[int, int, int, int]:
        gpu, configured = candidate
        verdict = plan(shape, configured, gpu).verdict
        memory = -gpu.memory_bytes if verdict == "DoesNotFit" else gpu.memory_bytes
        return _VERDICTS.index(verdict), -(configured.max_model_len or 0), configured.gpus, memory

    _, best = min(candidates, key=rank)
    names = ["tensor_parallel_size", "max_model_len"]
    if not shape.multimodal:  # the engine raises its batch to hold a whole image, whose tokens are not known here
        names += ["max_num_batched_tokens", "max_num_seqs"]
    return AutoConfig(basis=basis(llm), **{name: getattr(best, name) for name in names if _is_open(llm, name)})


def with_autoconfig(settings: EngineSettings, llm: LLMDeployment, config: AutoConfig) -> EngineSettings:
    """The planner's settings with the computed values in the fields that the spec leaves open."""
    return replace(settings, **{name: value for name, value in config.values.items() if _is_open(llm, name)})


def empty_autoconfig(llm: LLMDeployment) -> AutoConfig:
    """The record without a value: nothing is known of the model or the GPUs."""
    return AutoConfig(basis=basis(llm))


def recorded(llm: LLMDeployment, record: str | Mapping[str, Any] | None) -> AutoConfig | None:
    """The values that an annotation or `status.chosen` holds; None where they were computed for another spec."""
    try:
        found = json.loads(record) if isinstance(record, str) else record
        known = {key: found[key] for key in map(_alias, AutoConfig.model_fields) if key in found} if found else {}
        config = AutoConfig.model_validate(known) if known else None
    except (ValueError, TypeError):
        return None
    return config if config is not None and config.basis == basis(llm) else None


def basis(llm: LLMDeployment) -> str:
    """Sixteen hexadecimal digits that change with everything in the spec that the values depend on.

    Fields that equal their default count as absent, so that a newer operator with more fields finds the same digits.
    """
    spec = llm.spec
    parts = {
        "model": llm.spec.model.source.identity(),
        "engine": spec.engine.model_dump(mode="json", exclude_defaults=True),
        "gpu": spec.resources.gpu.model_dump(mode="json", exclude_defaults=True),
        "nodes": spec.scheduling.node_selector,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _is_open(llm: LLMDeployment, name: str) -> bool:
    return getattr(llm.spec.engine, name) is None


def _alias(name: str) -> str:
    return str(AutoConfig.model_fields[name].alias)
