"""Derives a `ModelShape` from `config.json` and, where they are known, safetensors headers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity.errors import ShapeError
from triton_vllm_operator.capacity.model.checkpoint import expert_count, expert_width, tensors_of
from triton_vllm_operator.capacity.model.config import ModelConfig
from triton_vllm_operator.capacity.model.consistency import check_consistency
from triton_vllm_operator.capacity.model.encoders import encoder_bytes
from triton_vllm_operator.capacity.model.families import family_of, find_family
from triton_vllm_operator.capacity.model.family import Caches, EngineClass, Family
from triton_vllm_operator.capacity.model.layers import layer_caches, mla_cache
from triton_vllm_operator.capacity.model.safetensors import TensorInfo, bounded
from triton_vllm_operator.capacity.model.shape import (
    CacheShape,
    ExpertShape,
    LayerShape,
    ModelShape,
    Quantization,
    VocabTable,
    WeightPart,
)
from triton_vllm_operator.capacity.model.sharding import (
    HeadLayout,
    Rule,
    SortedTensors,
    merge,
    parts_of,
    rule_of,
    sort_tensors,
)
from triton_vllm_operator.catalog import architectures, pooling
from triton_vllm_operator.catalog.architectures import Proof


def shape_from_config(config: Mapping[str, Any], tensors: Iterable[TensorInfo] | None = None) -> ModelShape:
    """Derive a model's shape from its parsed `config.json` and, where known, the tensors of its safetensors headers.

    Raises:
        ShapeError: the model cannot be planned; its reason says why.
    """
    view = ModelConfig.parse(config)
    _require_generative(view, find_family(view.model_type))
    proof = _require_proof(view)
    table = architectures.table()
    shape = derive_shape(config, tensors, table.defaults.get(view.model_type, {}))
    shape = replace(shape, pipeline_parallel=view.architecture not in table.one_stage)
    return (
        replace(shape, weights_source="estimate") if proof == "headers" and shape.weights_source == "config" else shape
    )


def _require_proof(view: ModelConfig) -> Proof:
    """Return from what the plan is proven to equal the engine's."""
    proven = architectures.table().planned.get(view.architecture, {})
    if view.model_type not in proven:
        raise ShapeError(
            Reason.ARCHITECTURE_UNKNOWN,
            f"no plan of {view.architecture[:80]} with model type {view.model_type[:80]!r} is proven to equal the "
            "engine's; set the fields of spec.engine yourself, and compare status.actual",
        )
    return proven[view.model_type]


def derive_shape(
    config: Mapping[str, Any], tensors: Iterable[TensorInfo] | None = None, defaults: Mapping[str, Any] | None = None
) -> ModelShape:
    """Derive a model's shape as `shape_from_config` does, whether or not its architecture is proven.

    Args:
        defaults: values of fields of the text model that `config.json` leaves out.
    """
    view = ModelConfig.parse(config)
    family = family_of(view.model_type)
    view = replace(view, traits=family.config)
    view = view.with_defaults(defaults or {})
    caches = layer_caches(view, family)
    quantization = view.quantization()
    known = bounded(tensors) if tensors is not None else ()
    check_consistency(view, caches, known)
    sorted_tensors = _sorted(view, family, caches, known, quantization)
    if not known:
        sorted_tensors.every_stage.append(WeightPart("vision", 0, encoder_bytes(view)))
    table = sorted_tensors.embedding or VocabTable(view.vocab_size, view.hidden_size * 2)
    if family.engine.whole_embedding:
        sorted_tensors.first_stage.append(WeightPart("embedding", 1, table.rows * table.row_bytes))
    ends = _ends(view, family.engine, sorted_tensors)
    layers = tuple(
        LayerShape(layer, tuple(sorted_tensors.layers.get(index, ())) + _engine_buffers(view, family, layer))
        for index, layer in enumerate(caches)
    )
    return ModelShape(
        architecture=view.architecture,
        model_type=view.model_type,
        hidden_size=view.hidden_size,
        intermediate_size=view.intermediate_size,
        vocab_size=view.vocab_size,
        attention_heads=view.attention_heads,
        kv_heads=view.kv_heads,
        head_size=view.head_size,
        max_position=view.max_position(),
        default_max_len=view.default_max_len(),
        dtype=view.dtype,
        layers=layers,
        embedding=None if family.engine.whole_embedding else table,
        output=None if view.tied_embeddings else sorted_tensors.output,
        first_stage=ends.first,
        last_stage=ends.last,
        every_stage=ends.every,
        tables_on_every_stage="tables" in family.engine.every_stage,
        embedding_on_every_stage="embedding" in family.engine.every_stage,
        experts=_expert_shape(view),
        quantization=quantization,
        draft_layers=_draft_layers(view, caches, sorted_tensors),
        multimodal=view.multimodal,
        bytes_by_dtype=tuple(sorted(sorted_tensors.bytes_by_dtype.items())),
        weights_source="safetensors" if known else "config",
    )


_SCALE_BYTES = 16
"""Four 32-bit scale scalars that the engine registers with each attention layer."""


def _engine_buffers(view: ModelConfig, family: Family, caches: tuple[CacheShape, ...]) -> tuple[WeightPart, ...]:
    """Return what the engine adds to a layer and no checkpoint holds."""
    attending = sum(cache.kind != "mamba" for cache in caches)
    parts = [WeightPart("scales", 1, attending * _SCALE_BYTES)] if attending else []
    if family.engine.layer_buffers is not None:
        heads = _head_layout(view, family, (caches,))
        rule: Rule
        for tensor in family.engine.layer_buffers(view, caches):
            rule = "mamba_groups" if tensor.name.startswith("mamba.") else rule_of(tensor.name)
            parts += parts_of(tensor, rule, heads)
    return tuple(parts)


_CLASSIFIER = ("ForSequenceClassification", "ForTokenClassification")


def _require_generative(view: ModelConfig, family: Family | None) -> None:
    architecture = view.architecture
    may_generate = family is None or family.generates_text
    generative = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ChatGLMModel", "MTP", "Model")
    # vLLM makes a classifier of every decoder, and of some an embedding model that has the decoder's shape.
    classifies = may_generate and architecture.endswith(_CLASSIFIER)
    is_decoder = family is not None and family.generates_text and architecture.endswith(generative)
    if classifies or (architecture in pooling.table().architectures and not is_decoder):
        raise ShapeError(
            Reason.POOLING_NOT_PLANNED,
            f"{architecture} embeds or classifies and generates no text, for which no plan is made",
        )
    if not may_generate or architecture.endswith(("ForMaskedLM", *_CLASSIFIER)):
        raise ShapeError(
            Reason.NOT_A_CAUSAL_MODEL,
            f"{architecture} generates no text, and vLLM does not embed or classify with it; use a model whose "
            "architecture ends in ForCausalLM, or an architecture of vLLM's list of pooling models",
        )
    if not architecture.endswith(generative):
        raise ShapeError(
            Reason.ARCHITECTURE_UNKNOWN, f"{architecture[:80]} is not an architecture the planner can derive a size for"
        )


def _head_layout(view: ModelConfig, family: Family, caches: Caches) -> HeadLayout:
    states = [c.state for layer in caches for c in layer if c.state is not None]
    state = states[0] if states else None
    return HeadLayout(
        attention_heads=max(view.attention_heads, 1),
        kv_heads=max(view.kv_heads, 1),
        head_size=max(view.head_size, 1),
        mamba_groups=state.groups if state else 0,
        mamba_group_rows=state.groups * state.group_width if state else 0,
        router_bytes=family.engine.router_bytes,
    )


def _sorted(
    view: ModelConfig,
    family: Family,
    caches: Caches,
    known: tuple[TensorInfo, ...],
    quantization: Quantization | None,
) -> SortedTensors:
    heads = _head_layout(view, family, caches)
    if known:
        return _complete(sort_tensors(known, heads, tied=view.tied_embeddings), len(caches))
    result = sort_tensors(tensors_of(view, family, caches), heads, tied=view.tied_embeddings)
    if quantization is not None and quantization.weight_bits < 16:
        result.layers = {
            index: [_quantized(part, quantization) for part in parts] for index, parts in result.layers.items()
        }
    return result


def _complete(tensors: SortedTensors, layers: int) -> SortedTensors:
    """The tensors, if each layer has some: fewer means a download that is not complete, and a plan that promises."""
    missing = [index for index in range(layers) if index not in tensors.layers]
    if missing:
        raise ShapeError(
            Reason.CHECKPOINT_INCOMPLETE,
            f"the safetensors headers hold no weights of {len(missing)} of {layers} layers, such as layer "
            f"{missing[0]}; give the headers of every file of the model",
        )
    return tensors


def _quantized(part: WeightPart, quantization: Quantization) -> WeightPart:
    """Bytes of a 16-bit part after weight quantization, with a 16-bit scale (and zero point) per group."""
    if part.group == "norms" or (quantization.method == "mxfp4" and not part.expert):
        return part
    bits = float(quantization.weight_bits)
    if quantization.method == "mxfp4":
        bits += 8 / 32
    elif quantization.group_size:
        bits += (16 + quantization.weight_bits) / quantization.group_size
    return WeightPart(part.group, part.shards, int(part.size_bytes * bits / 16), part.expert)


@dataclass(frozen=True, slots=True)
class _Ends:
    """Parts outside the layers, by the pipeline stages that hold them."""

    first: tuple[WeightPart, ...]
    last: tuple[WeightPart, ...]
    every: tuple[WeightPart, ...]


def _ends(view: ModelConfig, engine_class: EngineClass, tensors: SortedTensors) -> _Ends:
    first, last = tuple(merge(tensors.first_stage)), tuple(merge(tensors.last_stage))
    every = _rotary(view, engine_class) + tuple(merge(tensors.every_stage))  # encoders are on each stage
    if "positions" in engine_class.every_stage:
        first, every = (), every + first
    if "norm" in engine_class.every_stage:
        last, every = (), every + last
    of_config = engine_class.config_parts(view) if engine_class.config_parts is not None else ()
    return _Ends(first, last, every + engine_class.parts_on_every_stage + of_config)


def _rotary(view: ModelConfig, engine_class: EngineClass) -> tuple[WeightPart, ...]:
    """Cos/sin tables, which a stage holds when it has a layer that uses them (see `weights.held_by`)."""
    width, sets = view.rotary_size(), engine_class.rotary_sets
    if engine_class.rotary == "none" or not view.attention_heads or not width:
        return ()
    if engine_class.rotary == "frequencies":
        return (WeightPart("frequencies", 1, sets * width * 4),)
    row = width * engine_class.rotary_bytes
    if sets == 1:
        return (WeightPart("rotary", 1, view.rope_rows() * row),)
    sliding_rows = view.text.integer("max_position_embeddings", 8192)  # sliding layers rotate without scaling
    return (WeightPart("rotary-full", 1, view.rope_rows() * row), WeightPart("rotary-sliding", 1, sliding_rows * row))


def _expert_shape(view: ModelConfig) -> ExpertShape | None:
    count = expert_count(view)
    if count <= 1:
        return None
    key = view.text.first(
        "num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_topk", "moe_top_k", "moe_k"
    )
    return ExpertShape(count, view.text.integer(key, low=0) if key else 0, expert_width(view))


def _draft_layers(
    view: ModelConfig, caches: tuple[tuple[CacheShape, ...], ...], tensors: SortedTensors
) -> tuple[LayerShape, ...]:
    """MTP layers that the checkpoint carries; they cost memory only when speculative decoding uses them."""
    key = view.text.first("num_nextn_predict_layers", "mtp_num_hidden_layers")
    count = view.text.integer(key, low=0, high=64) if key else 0
    if not count or not caches:
        return ()
    attention = next((c for layer in caches for c in layer if c.kind in {"full", "mla"}), None)
    cache = mla_cache(view) if view.is_mla else attention
    if cache is None:
        return ()
    first = len(caches)
    weights = tensors.layers.get(first) or tensors.layers.get(first - 1) or []
    return (LayerShape((cache,), tuple(weights)),) * count
