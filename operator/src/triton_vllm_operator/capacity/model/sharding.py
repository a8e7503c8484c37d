"""How vLLM cuts each tensor of a checkpoint over tensor-parallel ranks, by the tensor's name.

Sources (vLLM 0.25 to 0.32): `model_executor/layers/linear.py` (column and row parallel, `QKVParallelLinear`),
`vocab_parallel_embedding.py` (vocabulary padded to a multiple of 64), `layers/fused_moe` (experts) and the model
files (what stays replicated: norms, routers, MLA down-projections).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from triton_vllm_operator.capacity.model.safetensors import TensorInfo
from triton_vllm_operator.capacity.model.shape import VocabTable, WeightPart

Rule = Literal["any", "replicated", "kv", "fused_qkv", "mamba_groups", "vocab", "output", "skip"]

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block|layer)\.(\d+)\.")
_PARAMETER_SUFFIXES = frozenset(
    [
        "weight",
        "bias",
        "qweight",
        "qzeros",
        "scales",
        "g_idx",
        "weight_scale",
        "weight_scale_inv",
        "input_scale",
        "weight_scale_2",
        "weight_packed",
        "weight_shape",
        "weight_zero_point",
        "weight_g_idx",
        "weight_global_scale",
        "input_global_scale",
        "e_score_correction_bias",
        "k_scale",
        "v_scale",
        "blocks",
    ]
)
_COLUMN = frozenset(
    [
        "q_proj",
        "gate_proj",
        "up_proj",
        "gate_up_proj",
        "fc1",
        "c_fc",
        "dense_h_to_4h",
        "w1",
        "w3",
        "fc_in",
        "q_b_proj",
        "kv_b_proj",
        "in_proj_qkvz",
        "in_proj_ba",
        "in_proj_qkv",
        "in_proj_z",
        "in_proj_a",
        "in_proj_b",
        "dt_proj",
        "input_linear",
        "up_gate_proj",
        "embed_tokens_per_layer",
        "per_layer_model_projection",
        "linear_left",
        "linear_right",
        "a_proj",
        "b_proj",
        "g_proj",
        "f_b_proj",
        "g_b_proj",
    ]
)
_ROW = frozenset(
    [
        "o_proj",
        "down_proj",
        "dense_4h_to_h",
        "fc2",
        "c_proj",
        "w2",
        "wo",
        "out_proj",
        "fc_out",
        "output_linear",
        "x_proj",
        "dense",
    ]
)
_FUSED_QKV = frozenset(["qkv_proj", "query_key_value", "c_attn", "wqkv", "Wqkv", "W_pack"])
_COLUMN_LISTS = ("altup_projections.", "altup_unembed_projections.", "adapter_list.")
_HEAD_VECTORS = frozenset(["A_log", "D", "dt_bias", "A", "sinks"])
_PER_LAYER_TABLE = "embed_tokens_per_layer"
"""Gemma's table of embeddings for each layer, which every pipeline stage holds."""
_VOCAB = frozenset(["embed_tokens", "wte", "word_embeddings", "tok_embeddings", "embed_in", "embeddings"])
_SIDE_MODELS = ("vision", "visual", "audio", "multi_modal_projector", "mm_projector", "image")
_OUTPUT = frozenset(["lm_head", "embed_out", "output"])


@dataclass(frozen=True, slots=True)
class HeadLayout:
    """Head counts that decide how K and V (and Mamba groups) are cut; `router_bytes` 0: as the checkpoint's."""

    attention_heads: int
    kv_heads: int
    head_size: int
    head_size_v: int = 0
    mamba_groups: int = 0
    mamba_group_rows: int = 0
    router_bytes: int = 0

    @property
    def kv_share(self) -> float:
        """Share of a fused QKV tensor that is K and V."""
        value_size = self.head_size_v or self.head_size
        kv = self.kv_heads * (self.head_size + value_size)
        return kv / (self.attention_heads * self.head_size + kv)


@dataclass(slots=True)
class SortedTensors:
    """A checkpoint's tensors sorted into layers, tables and the rest (bytes per group and number of shards)."""

    layers: dict[int, list[WeightPart]] = field(default_factory=lambda: defaultdict(list))
    embedding: VocabTable | None = None
    output: VocabTable | None = None
    first_stage: list[WeightPart] = field(default_factory=list)
    every_stage: list[WeightPart] = field(default_factory=list)
    last_stage: list[WeightPart] = field(default_factory=list)
    bytes_by_dtype: dict[str, int] = field(default_factory=lambda: defaultdict(int))


def layer_index(name: str) -> int | None:
    """Index of the decoder layer a tensor belongs to, or None for tables, final norm and side models."""
    if _is_side_model(name):
        return None
    match = _LAYER.search(name)
    return int(match.group(1)) if match else None


def sort_tensors(tensors: Iterable[TensorInfo], heads: HeadLayout, *, tied: bool) -> SortedTensors:
    """Sort tensors into what each pipeline stage and rank will hold. Draft (MTP) layers keep the indices they have."""
    result = SortedTensors()
    for stored in tensors:
        rule = rule_of(stored.name)
        if rule == "skip":
            continue
        result.bytes_by_dtype[stored.dtype] += stored.size_bytes
        tensor = as_served(stored, heads)
        index = layer_index(tensor.name)
        if index is None and rule in {"vocab", "output"}:
            _place_table(result, tensor, rule, tied=tied)
            continue
        parts = parts_of(tensor, "any" if rule in {"vocab", "output"} else rule, heads)
        _bucket(result, tensor.name, index).extend(parts)
    result.layers = {index: merge(parts) for index, parts in result.layers.items()}
    return result


#: Parameters that the engine keeps in 32 bits whatever it computes in.
_KEPT_WIDE = frozenset({"A_log", "A", "e_score_correction_bias"})


def as_served(tensor: TensorInfo, heads: HeadLayout) -> TensorInfo:
    """The tensor in the dtype in which the engine keeps it: 32-bit weights are served in 16 bits, scales as stored."""
    module, parameter = _module(tensor.name)
    if parameter in _KEPT_WIDE or (module in _KEPT_WIDE and not parameter):
        return TensorInfo(tensor.name, "F32", tensor.shape)
    if heads.router_bytes == 4 and tensor.name.endswith("mlp.gate.weight"):
        return TensorInfo(tensor.name, "F32", tensor.shape)
    if tensor.dtype in {"F32", "F64"} and parameter in {"", "weight", "bias"}:
        return TensorInfo(tensor.name, "BF16", tensor.shape)
    return tensor


def _bucket(result: SortedTensors, name: str, index: int | None) -> list[WeightPart]:
    if index is not None:
        return result.layers[index]
    if _is_side_model(name) or _PER_LAYER_TABLE in name:
        return result.every_stage
    if "embed" in name or "wpe" in name or name.startswith("wte"):
        return result.first_stage
    return result.last_stage


def _place_table(result: SortedTensors, tensor: TensorInfo, rule: Rule, *, tied: bool) -> None:
    rows = tensor.shape[0] if tensor.shape else 0
    table = VocabTable(rows, tensor.size_bytes // max(rows, 1))
    if rule == "vocab":
        result.embedding = table
    elif not tied:  # the weight and, with it, a bias of one element a row
        result.output = VocabTable(rows, table.row_bytes + (result.output.row_bytes if result.output else 0))


def _is_side_model(name: str) -> bool:
    return name.startswith("model.encoder.") or any(part in name for part in _SIDE_MODELS)


def _module(name: str) -> tuple[str, str]:
    """(module, parameter): `a.b.q_proj.weight` -> (`q_proj`, `weight`); bare parameters keep their own name."""
    parts = name.split(".")
    if len(parts) > 1 and parts[-1] in _PARAMETER_SUFFIXES:
        return parts[-2], parts[-1]
    return parts[-1], ""


def rule_of(name: str) -> Rule:
    """The cut that vLLM applies to a tensor of this name."""
    module, parameter = _module(name)
    if _is_side_model(name):
        return _side_rule(name, module, parameter)
    if module.endswith("rotary_emb") or (parameter == "" and module in {"inv_freq", "masked_bias"}):
        return "skip"
    if parameter in {"weight_shape", "k_scale", "v_scale"}:
        return "skip"
    if module in _VOCAB:
        return "vocab"
    if module in _OUTPUT:
        return "output"
    return _module_rule(name, module, parameter)


_SIDE_COLUMN = frozenset({"qkv", "qkv_proj", "k_proj", "v_proj", "q_proj", "linear_fc1"})
_SIDE_ROW = frozenset({"proj", "linear_fc2"})


def _side_rule(name: str, module: str, parameter: str) -> Rule:
    """The cut of an encoder's tensor: it has as many K as Q heads, and none of the text model's tables."""
    if ".encoder.layer." in name and ".attention." in name:  # InternVL's attention is of torch, whole on each rank
        return "replicated"
    if module in _SIDE_COLUMN or module in _COLUMN or ".merger.mlp." in name:
        return "any"
    if module in _SIDE_ROW or module in _ROW:
        return "replicated" if parameter == "bias" else "any"
    return "replicated"


def _module_rule(name: str, module: str, parameter: str) -> Rule:
    if module in {"k_proj", "v_proj"}:
        return "kv"
    if module in _FUSED_QKV:
        return "fused_qkv"
    if ".experts." in name and _is_row_bias(module, parameter):
        return "replicated"
    if ".experts." in name or module in _COLUMN or module in _HEAD_VECTORS or name.endswith(".mamba.norm.weight"):
        return "any"
    if any(part in name for part in _COLUMN_LISTS):
        return "any"
    if module in {"q_conv1d", "k_conv1d", "v_conv1d"}:
        return "any"
    if module in {"in_proj", "conv1d"}:
        return "mamba_groups"
    if module in _ROW:
        return "replicated" if parameter in {"bias", "g_idx"} else "any"
    return "replicated"


def _is_row_bias(module: str, parameter: str) -> bool:
    return module == "down_proj_bias" or (parameter == "bias" and module in _ROW)


def parts_of(tensor: TensorInfo, rule: Rule, heads: HeadLayout) -> list[WeightPart]:
    """The tensor's bytes, split into parts by the number of distinct shards."""
    group, size, expert = group_of(tensor.name), tensor.size_bytes, is_routed_expert(tensor.name)
    if rule == "kv":
        return [WeightPart(group, heads.kv_heads, size)]
    if rule == "fused_qkv":
        kv = round(size * heads.kv_share)
        return [WeightPart(group, 0, size - kv), WeightPart(group, heads.kv_heads, kv)]
    if rule == "mamba_groups" and heads.mamba_groups and tensor.shape and tensor.shape[0] > heads.mamba_group_rows:
        kept = size * heads.mamba_group_rows // tensor.shape[0]
        return [WeightPart(group, 0, size - kept), WeightPart(group, heads.mamba_groups, kept)]
    shards = 1 if rule == "replicated" or _is_scalar(tensor) else 0
    return [WeightPart(group, shards, size, expert)]


def _is_scalar(tensor: TensorInfo) -> bool:
    return all(size == 1 for size in tensor.shape)


def is_routed_expert(name: str) -> bool:
    """Whether the tensor belongs to a routed expert (not a shared one, not the router)."""
    return ".experts." in name


def group_of(name: str) -> str:
    """The part of the model a tensor belongs to, for reports."""
    if is_routed_expert(name):
        return "experts"
    if "norm" in name.rsplit(".", 2)[-2] if "." in name else False:
        return "norms"
    if any(part in name for part in ("attn", "attention")):
        return "attention"
    if any(part in name for part in ("mamba", "mixer", "ssm")):
        return "state"
    if any(part in name for part in ("mlp", "feed_forward", "ffn", "moe", "fc")):
        return "mlp"
    return "vision" if _is_side_model(name) else "other"


def merge(parts: Iterable[WeightPart]) -> list[WeightPart]:
    """Add up the parts that share group, shards and expert flag."""
    total: dict[tuple[str, int, bool], int] = defaultdict(int)
    for part in parts:
        total[(part.group, part.shards, part.expert)] += part.size_bytes
    return [WeightPart(group, shards, size, expert) for (group, shards, expert), size in total.items() if size]
