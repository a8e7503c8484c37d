"""The engine's rules by version: a table kept as data, because the same settings plan differently in each version."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity.errors import ShapeError

RunnerPolicy = Literal["off", "listed_dense_unquantized", "listed", "dense_or_listed", "all"]

#: Triton's releases are named by year and month (26.06): such a name is no engine version.
_FIRST_YEAR = 20
_VERSION = re.compile(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?")


@dataclass(frozen=True, slots=True)
class EngineRules:
    """What one vLLM version does where versions differ.

    ``v2_runner``: which models run on the V2 model runner by default, together with ``v2_architectures``.
    ``v2_estimates_graphs``: whether that runner subtracts an estimate of its CUDA graphs from the KV budget.
    ``v1_sorts_logits``: the V1 runner's sampler sorts all logits for top-k and top-p.
    ``v2_bytes_per_logit``: bytes alive per logit when the V2 runner's sampler is profiled.
    ``keeps_expert_workspace``: the buffers for routed experts outlive the forward pass.
    ``counts_flight``: sliding and chunked layers are charged for every batch in flight, not for one.
    ``group_padding_factor``: pad the smaller layer type when the larger has fewer than this factor more; 0 never.
    ``hybrid_prefix_caching``: prefix caching (and with it the aligned state cache) is on by default for hybrids.
    ``mamba2_checkpoint_blocks``: blocks more that a Mamba 2 layer holds per request when states are aligned.
    ``large_gpu_batch_gib``: cards from this size on get 16,384 batched tokens by default; 0 means no such class.
    """

    version: tuple[int, int, int]
    default_gpu_memory_utilization: float
    graph_estimate_subtracted: bool
    v2_runner: RunnerPolicy
    v2_architectures: tuple[str, ...]
    v2_estimates_graphs: bool
    v1_sorts_logits: bool
    v2_bytes_per_logit: int
    keeps_expert_workspace: bool
    tokens_from_concurrency: bool
    counts_flight: bool
    reserves_null_block: bool
    group_padding_factor: float
    merges_full_attention: bool
    pads_uneven_pages: bool
    hybrid_prefix_caching: bool
    mamba2_checkpoint_blocks: int
    async_scheduling: bool
    large_gpu_batch_gib: int
    excludes_gb10_from_large_batches: bool


def parse_version(version: str) -> tuple[int, int, int]:
    """``0.25.1``, ``v0.25.1`` or ``0.11.0+nv25.11`` as three numbers; raises :class:`ShapeError` otherwise."""
    match = _VERSION.match(version.strip())
    if not match or int(match.group(1)) >= _FIRST_YEAR:
        raise ShapeError(Reason.ENGINE_VERSION_UNKNOWN, f"{version!r:.60} is not a vLLM version such as 0.25.1")
    return int(match.group(1)), int(match.group(2)), int(match.group(3) or 0)


@cache
def _table() -> dict[str, Any]:
    text = files("triton_vllm_operator.capacity").joinpath("data/engine_rules.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


@cache
def rules_for(version: str) -> EngineRules:
    """Rules of a vLLM version. Newer than the table: the newest rules. Older than the table: an error."""
    wanted = parse_version(version)
    table = _table()
    if wanted < parse_version(table["oldest"]):
        raise ShapeError(
            Reason.ENGINE_VERSION_UNSUPPORTED,
            f"vLLM {version} is older than {table['oldest']}: its V0 engine profiles memory differently; "
            "use a newer Triton release",
        )
    merged: dict[str, Any] = {}
    for entry in table["rules"]:
        if parse_version(entry["from"]) <= wanted:
            merged.update(entry)
    merged.pop("from")
    merged["v2_architectures"] = tuple(merged["v2_architectures"])
    return EngineRules(version=wanted, **{f.name: merged[f.name] for f in fields(EngineRules) if f.name != "version"})


def newest_known() -> str:
    """The newest version whose rules were read."""
    newest: str = _table()["newest"]
    return newest
