"""``config.json`` and safetensors headers to a :class:`~.shape.ModelShape`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .checkpoint import expert_count, expert_width, tensors_of
from .config import ModelConfig
from .errors import ShapeError
from .layers import layer_caches, mla_cache
from .safetensors import TensorInfo, bounded
from .shape import CacheShape, ExpertShape, LayerShape, ModelShape, Quantization, VocabTable, WeightPart
from .sharding import HeadLayout, SortedTensors, merge, sort_tensors

#: Model types that are not causal language models: the engine would serve them for embedding or classification only.
_NOT_CAUSAL = ("bert", "roberta", "t5", "bart", "vit", "clip", "siglip", "dinov2", "distilbert", "electra", "deberta")


def shape_from_config(config: Mapping[str, Any], tensors: Iterable[TensorInfo] | None = None) -> ModelShape:
    """The model's shape; see :meth:`ModelShape.from_config`."""
    view = ModelConfig(config)
    _require_causal(view)
    caches = layer_caches(view)
    quantization = view.quantization()
    known = bounded(tensors) if tensors is not None else ()
    sorted_tensors = _sorted(view, caches, known, quantization)
    norm_everywhere = view.model_type in _NORM_EVERYWHERE
    layers = tuple(
        LayerShape(layer, tuple(sorted_tensors.layers.get(index, ())) + _scales(layer))
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
        embedding=sorted_tensors.embedding or VocabTable(view.vocab_size, view.hidden_size * 2),
        output=None if view.tied_embeddings else sorted_tensors.output,
        first_stage=tuple(merge(sorted_tensors.first_stage)),
        last_stage=() if norm_everywhere else tuple(merge(sorted_tensors.last_stage)),
        every_stage=_tables(view) + (tuple(merge(sorted_tensors.last_stage)) if norm_everywhere else ()),
        tables_on_every_stage=view.model_type in _TABLES_EVERYWHERE,
        experts=_expert_shape(view),
        quantization=quantization,
        draft_layers=_draft_layers(view, caches, sorted_tensors),
        encoder_len=view.text.integer("max_source_positions", 0, low=0) if view.model_type == "whisper" else 0,
        multimodal=view.multimodal,
        trust_remote_code=view.top.has("auto_map"),
        bytes_by_dtype=tuple(sorted(sorted_tensors.bytes_by_dtype.items())),
        weights_source="safetensors" if known else "config",
        notes=() if known or quantization is None else (_QUANTIZED_NOTE,),
    )


#: Model classes that build both vocabulary tables, or the final norm, on every pipeline stage (found by the oracle).
_TABLES_EVERYWHERE = frozenset(
    {
        "qwen3_moe",
        "mixtral",
        "qwen3_next",
        "olmoe",
        "gpt_oss",
        "cohere",
        "cohere2",
        "mamba2",
        "jamba",
        "granitemoehybrid",
    }
)
_NORM_EVERYWHERE = frozenset(
    {
        "qwen3_moe",
        "mixtral",
        "gemma2",
        "gemma3_text",
        "cohere",
        "cohere2",
        "olmoe",
        "gpt_oss",
        "mamba2",
        "jamba",
        "granitemoehybrid",
    }
)
#: Four 32-bit scale scalars that the engine registers with each attention layer.
_SCALE_BYTES = 16


def _scales(caches: tuple[CacheShape, ...]) -> tuple[WeightPart, ...]:
    count = sum(cache.kind != "mamba" for cache in caches)
    return (WeightPart("scales", 1, count * _SCALE_BYTES),) if count else ()


_QUANTIZED_NOTE = "the weights' size is derived from config.json alone; quantized checkpoints need their headers"


def _require_causal(view: ModelConfig) -> None:
    kind, architecture = view.model_type, view.architecture
    generative = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ChatGLMModel", "MTP", "Model")
    if kind in _NOT_CAUSAL or architecture.endswith(
        ("ForMaskedLM", "ForSequenceClassification", "ForTokenClassification")
    ):
        raise ShapeError(
            "NotACausalModel",
            f"{architecture} does not generate text; use a model whose architecture ends in ForCausalLM",
        )
    if not architecture.endswith(generative):
        raise ShapeError(
            "ArchitectureUnknown", f"{architecture[:80]} is not an architecture the planner can derive a size for"
        )


def _head_layout(view: ModelConfig, caches: tuple[tuple[CacheShape, ...], ...]) -> HeadLayout:
    states = [c.state for layer in caches for c in layer if c.state is not None]
    state = states[0] if states else None
    return HeadLayout(
        attention_heads=max(view.attention_heads, 1),
        kv_heads=max(view.kv_heads, 1),
        head_size=max(view.head_size, 1),
        mamba_groups=state.groups if state else 0,
        mamba_group_rows=state.groups * state.group_width if state else 0,
    )


def _sorted(
    view: ModelConfig,
    caches: tuple[tuple[CacheShape, ...], ...],
    known: tuple[TensorInfo, ...],
    quantization: Quantization | None,
) -> SortedTensors:
    heads = _head_layout(view, caches)
    if known:
        return sort_tensors(known, heads, tied=view.tied_embeddings, layer_count=len(caches))
    result = sort_tensors(tensors_of(view, caches), heads, tied=view.tied_embeddings, layer_count=len(caches))
    if quantization is not None and quantization.weight_bits < 16:
        result.layers = {
            index: [_quantized(part, quantization) for part in parts] for index, parts in result.layers.items()
        }
    return result


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


def _tables(view: ModelConfig) -> tuple[WeightPart, ...]:
    """The cos/sin tables of rotary embeddings, which every stage keeps in 16 bits."""
    size = view.rope_rows() * view.rotary_size() * (4 if view.model_type == "gpt_oss" else 2)
    if view.model_type.startswith("gemma3"):  # sliding layers have a table of their own, without scaling
        size += view.text.integer("max_position_embeddings", 8192) * view.rotary_size() * 2
    normalizer = 2 if view.model_type.startswith("gemma") else 0
    return (WeightPart("rotary", 1, size + normalizer),) if size and _uses_rotary(view) else ()


def _uses_rotary(view: ModelConfig) -> bool:
    absolute = view.model_type in {"jamba", "gpt2", "opt", "bloom", "mpt", "whisper", "nemotron_h"}
    return bool(view.attention_heads) and not absolute


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
