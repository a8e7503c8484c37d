"""The description of a model family: what the planner must know of its models that `config.json` does not say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from triton_vllm_operator.capacity.model.config import ConfigTraits, ModelConfig
from triton_vllm_operator.capacity.model.layer_writer import LayerWriter
from triton_vllm_operator.capacity.model.safetensors import TensorInfo
from triton_vllm_operator.capacity.model.shape import CacheShape, StateShape, WeightPart

Caches = tuple[tuple[CacheShape, ...], ...]
"""For each decoder layer, in order, the caches that it registers with the engine."""
_LLAMA_CONFIG = ConfigTraits()


@dataclass(frozen=True, slots=True)
class StateLayer:
    """A recurrent layer (Mamba, Gated DeltaNet, short convolution): the shape of its state, and its tensors."""

    shape: Callable[[ModelConfig], StateShape]
    write_tensors: Callable[[LayerWriter, ModelConfig, StateShape], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointTraits:
    """What a decoder layer's checkpoint holds. The defaults are Llama's.

    Attributes:
        norms: normalizations of the hidden size per layer.
        norm_bias: normalizations have a bias.
        qk_norm: Q and K are normalized: by one vector of the head size, by one of the width of all heads, or
            by none.
        qkv_bias, o_bias, mlp_bias: the projections have a bias whatever `config.json` says.
        key_bias: K's projection has a bias where those of Q and V have one.
        attention_bias_on_output: `attention_bias` in `config.json` gives the output projection a bias too.
        gated: the feed-forward layer has a gate projection.
        output_bias: the output table has a bias.
        query_gate: Q's projection also makes a gate of the same width.
        position_table: there is a table of learned positions, with this many rows more than positions.
        feed_forward: which layers have a feed-forward part: every one, none, or those of type `mlp` and `moe`.
        dense_width: field with the width of a dense layer, where `intermediate_size` is that of an expert.
        expert_bias: the router and the experts have biases.
        router_correction: the router has a correction bias (`e_score_correction_bias`) whatever `config.json` says.
        shared_expert_is_dense: the shared expert has the width of a dense layer, where `config.json` gives no other.
        shared_expert_gate: the shared expert has a gate.
    """

    norms: int = 2
    norm_bias: bool = False
    qk_norm: Literal["", "head", "width", "weightless"] = ""
    qkv_bias: bool = False
    key_bias: bool = True
    o_bias: bool = False
    mlp_bias: bool = False
    attention_bias_on_output: bool = True
    gated: bool = True
    output_bias: bool = False
    query_gate: bool = False
    position_table: int | None = None
    feed_forward: Literal["every", "none", "typed"] = "every"
    dense_width: str = ""
    expert_bias: bool = False
    router_correction: bool = False
    shared_expert_is_dense: bool = False
    shared_expert_gate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineClass:
    """What vLLM's model class keeps on each rank. Found by comparison with the classes (`operator/tests/oracle`).

    Attributes:
        every_stage: built on each pipeline stage, not only on the first or last: embedding and output `tables`, the
            `embedding` table alone, the final `norm`, the table of learned `positions`.
        whole_embedding: each rank keeps the embedding table whole and without padding.
        rotary: `table` of cosines and sines up to the longest position; `frequencies`, which the Transformers backend
            keeps: two vectors of half the rotary size in 32 bits; or `none`.
        rotary_bytes: bytes per element of that table.
        rotary_sets: number of tables: 2 where full and sliding layers rotate differently.
        router_bytes: bytes per weight of the router; 0 for the checkpoint's.
        one_expert_per_rank: the class rejects more tensor-parallel ranks than experts.
        parts_on_every_stage: small buffers that are in no checkpoint.
        config_parts: buffers on every stage whose sizes follow from `config.json`.
        layer_buffers: tensors that the class adds to a layer and that are in no checkpoint.
        attention_sinks: attention has one learned sink per head. FlashAttention does not split its decode.
        largest_capture_size: largest batch that CUDA graphs are captured for by default.
    """

    every_stage: frozenset[Literal["tables", "embedding", "norm", "positions"]] = frozenset()
    whole_embedding: bool = False
    rotary: Literal["table", "frequencies", "none"] = "table"
    rotary_bytes: int = 2
    rotary_sets: int = 1
    router_bytes: int = 0
    one_expert_per_rank: bool = False
    parts_on_every_stage: tuple[WeightPart, ...] = ()
    config_parts: Callable[[ModelConfig], tuple[WeightPart, ...]] | None = None
    layer_buffers: Callable[[ModelConfig, Sequence[CacheShape]], tuple[TensorInfo, ...]] | None = None
    attention_sinks: bool = False
    largest_capture_size: int = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Models that one set of rules describes. The defaults are Llama's: equal layers of attention and feed-forward.

    Attributes:
        model_types: values of `model_type` in `config.json` that these rules are known to describe.
        config: how to read `config.json`.
        default_layer_types: the type of each layer where `config.json` has no `layer_types`; None where all are alike.
        layer_caches: the caches of all layers, where they do not follow from the types of the layers.
        window_without_query: the sliding window in `config.json` does not count the token itself, the engine's does.
        state: the recurrent layers of the family.
        encoder_tensors: the tensors of an encoder whose output the layers attend to, for when the headers of the
            checkpoint are not known.
        checkpoint: the tensors of a layer, for when the headers of the checkpoint are not known.
        engine: what vLLM's model class keeps in addition to the checkpoint.
        generates_text: False for encoders, which vLLM serves for embedding or classification only.
    """

    model_types: tuple[str, ...]
    config: ConfigTraits = _LLAMA_CONFIG
    default_layer_types: Callable[[ModelConfig], Sequence[str] | None] | None = None
    layer_caches: Callable[[ModelConfig], Caches] | None = None
    window_without_query: bool = False
    state: StateLayer | None = None
    encoder_tensors: Callable[[ModelConfig], Iterable[TensorInfo]] | None = None
    checkpoint: CheckpointTraits = CheckpointTraits()
    engine: EngineClass = EngineClass()
    generates_text: bool = True
