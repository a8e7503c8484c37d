"""What vLLM does differently from version to version, for the planner: data/engine_rules.json."""

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal

from packaging.version import Version
from pydantic import ConfigDict, TypeAdapter

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog import loader
from triton_vllm_operator.catalog.versions import (
    InvalidVersionError,
    VLLMVersion,
    parse_vllm_version,
    vllm_release,
)

RunnerPolicy = Literal["off", "listed_dense_unquantized", "listed", "dense_or_listed", "all"]


class EngineVersionError(ValueError):
    """A vLLM version without rules. `reason` is that of a condition; the text says what to do."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class EngineRules:
    """What one vLLM version does where versions differ.

    `v2_runner`: which models run on the V2 model runner by default, together with `v2_architectures`.
    `v2_estimates_graphs`: whether that runner subtracts an estimate of its CUDA graphs from the KV budget.
    `v1_sorts_logits`: the V1 runner's sampler sorts all logits for top-k and top-p.
    `v2_bytes_per_logit`: bytes alive per logit when the V2 runner's sampler is profiled.
    `keeps_expert_workspace`: the buffers for routed experts outlive the forward pass.
    `counts_flight`: sliding and chunked layers are charged for every batch in flight, not for one.
    `group_padding_factor`: pad the smaller layer type when the larger has fewer than this factor more; 0 never.
    `pads_uneven_pages`: attention pages that do not divide the largest page are padded; before, the engine stops.
    `hybrid_prefix_caching`: prefix caching (and with it the aligned state cache) is on by default for hybrids.
    `mamba2_checkpoint_blocks`: blocks more that a Mamba 2 layer holds per request when states are aligned.
    `large_gpu_batch_gib`: cards from this size on get 16,384 batched tokens by default; 0 means no such class.
    """

    __pydantic_config__: ClassVar[ConfigDict] = {**loader.SNAKE, "arbitrary_types_allowed": True}

    version: Version
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


@dataclass(frozen=True, slots=True)
class EngineRuleTable:
    """The data file. `rules`: each holds from the version in its `from` on, until a later one changes the field."""

    __pydantic_config__: ClassVar[ConfigDict] = loader.SNAKE

    about: str
    oldest: VLLMVersion
    newest: VLLMVersion
    rules: tuple[dict[str, Any], ...]


def _table() -> EngineRuleTable:
    return loader.load_json("engine_rules.json", EngineRuleTable)


@cache
def rules_for(version: str) -> EngineRules:
    """Rules of a vLLM version; of a version newer than the table, the newest rules.

    Raises:
        EngineVersionError: `EngineVersionUnknown` for text that is not a vLLM version, `EngineVersionUnsupported` for
            a version older than the table.
    """
    table = _table()
    try:
        release = vllm_release(parse_vllm_version(version))
    except InvalidVersionError as error:
        known = f"Use a version from {table.oldest} to {table.newest}, or a newer one."
        raise EngineVersionError(Reason.ENGINE_VERSION_UNKNOWN, f"{error} {known}") from None
    if release < Version(table.oldest):
        raise EngineVersionError(
            Reason.ENGINE_VERSION_UNSUPPORTED,
            f"vLLM {version} is older than {table.oldest}: its V0 engine profiles memory differently. "
            "Use a newer Triton release.",
        )
    merged: dict[str, Any] = {"version": release}
    for entry in table.rules:
        if Version(entry["from"]) <= release:
            merged |= {key: value for key, value in entry.items() if key != "from"}
    return TypeAdapter(EngineRules).validate_python(merged)


def has_rules(version: str) -> bool:
    """Whether the planner knows the rules of a vLLM version."""
    try:
        rules_for(version)
    except EngineVersionError:
        return False
    return True


def newest_known() -> str:
    """The newest version whose rules were read."""
    return _table().newest
