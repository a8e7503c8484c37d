"""The tensors a checkpoint of this ``config.json`` holds, for when its safetensors headers are not at hand.

Names follow the families' Hugging Face checkpoints, so that one set of rules (:mod:`.sharding`) cuts both. Quantized
checkpoints need their headers: their layout is not derived here beyond the width of a weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from triton_vllm_operator.capacity.model.config import ModelConfig
from triton_vllm_operator.capacity.model.layers import layer_types
from triton_vllm_operator.capacity.model.safetensors import TensorInfo
from triton_vllm_operator.capacity.model.shape import CacheShape

_DTYPES = {"bfloat16": "BF16", "float16": "F16", "half": "F16", "float32": "F32", "float": "F32"}


@dataclass(frozen=True, slots=True)
class _Traits:
    """What a family's decoder layer has besides the common parts."""

    norms: int = 2
    norm_bias: bool = False
    qk_norm: str = ""  # "", "head" (one vector of head size), "width" (one vector of all heads)
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    gated: bool = True
    output_bias: bool = False


_TRAITS: dict[str, _Traits] = {
    "qwen2": _Traits(qkv_bias=True),
    "qwen2_moe": _Traits(qkv_bias=True),
    "qwen3": _Traits(qk_norm="head"),
    "qwen3_moe": _Traits(qk_norm="head"),
    "qwen3_next": _Traits(qk_norm="head"),
    "gemma2": _Traits(norms=4),
    "gemma3": _Traits(norms=4, qk_norm="head"),
    "gemma3_text": _Traits(norms=4, qk_norm="head"),
    "cohere": _Traits(norms=1),
    "cohere2": _Traits(norms=1),
    "olmo2": _Traits(qk_norm="width"),
    "olmo3": _Traits(qk_norm="width"),
    "olmoe": _Traits(qk_norm="width"),
    "exaone4": _Traits(qk_norm="head"),
    "glm4": _Traits(norms=4),
    "phimoe": _Traits(norm_bias=True, qkv_bias=True, o_bias=True, output_bias=True),
    "stablelm": _Traits(norm_bias=True),
    "starcoder2": _Traits(norm_bias=True, qkv_bias=True, o_bias=True, mlp_bias=True, gated=False),
    "nemotron": _Traits(norm_bias=True, gated=False),
    "gpt_oss": _Traits(qkv_bias=True, o_bias=True),
    "gpt2": _Traits(norm_bias=True, qkv_bias=True, o_bias=True, mlp_bias=True, gated=False),
    "opt": _Traits(norm_bias=True, qkv_bias=True, o_bias=True, mlp_bias=True, gated=False),
    "bloom": _Traits(norm_bias=True, qkv_bias=True, o_bias=True, mlp_bias=True, gated=False),
    "gpt_neox": _Traits(norm_bias=True, qkv_bias=True, o_bias=True, mlp_bias=True, gated=False),
    "falcon": _Traits(norm_bias=True, gated=False),
    "mamba": _Traits(norms=1),
    "mamba2": _Traits(norms=1),
    "falcon_mamba": _Traits(norms=1),
    "nemotron_h": _Traits(norms=1, gated=False),
    "lfm2": _Traits(qk_norm="head"),
    "lfm2_moe": _Traits(qk_norm="head"),
}


class _Writer:
    """Collects tensors of one layer under a prefix, in the checkpoint's dtype."""

    def __init__(self, prefix: str, dtype: str) -> None:
        self.prefix = prefix
        self.dtype = dtype
        self.tensors: list[TensorInfo] = []

    def add(self, name: str, *shape: int, dtype: str = "") -> None:
        """Add one tensor."""
        self.tensors.append(TensorInfo(self.prefix + name, dtype or self.dtype, shape))

    def linear(self, name: str, rows: int, columns: int, *, bias: bool = False) -> None:
        """Add a linear layer's weight [rows, columns] and, if it has one, its bias [rows]."""
        self.add(f"{name}.weight", rows, columns)
        if bias:
            self.add(f"{name}.bias", rows)

    def norm(self, name: str, size: int, *, bias: bool = False) -> None:
        """Add a normalization's weight and, if it has one, its bias."""
        self.add(f"{name}.weight", size)
        if bias:
            self.add(f"{name}.bias", size)


def tensors_of(config: ModelConfig, caches: tuple[tuple[CacheShape, ...], ...]) -> Iterator[TensorInfo]:
    """Every tensor of the checkpoint, in no particular order."""
    dtype = _DTYPES.get(config.dtype, "BF16")
    hidden, vocab = config.hidden_size, config.vocab_size
    traits = _traits(config)
    yield TensorInfo("model.embed_tokens.weight", dtype, (vocab, hidden))
    if not config.tied_embeddings:
        yield TensorInfo("lm_head.weight", dtype, (vocab, hidden))
        if traits.output_bias:
            yield TensorInfo("lm_head.bias", dtype, (vocab,))
    yield TensorInfo("model.norm.weight", dtype, (hidden,))
    if traits.norm_bias:
        yield TensorInfo("model.norm.bias", dtype, (hidden,))
    yield from _position_tables(config, dtype)
    kinds = layer_types(config) or ()
    for index, layer in enumerate(caches):
        writer = _Writer(f"model.layers.{index}.", dtype)
        _layer(writer, config, traits, layer, index, kinds[index] if index < len(kinds) else "")
        yield from writer.tensors


def _traits(config: ModelConfig) -> _Traits:
    traits = _TRAITS.get(config.model_type, _Traits())
    text = config.text
    attention = text.boolean("attention_bias", False) or text.boolean("use_qkv_bias", False)
    qk_norm = traits.qk_norm or ("head" if text.boolean("use_qk_norm", False) else "")
    return _Traits(
        norms=traits.norms,
        norm_bias=traits.norm_bias,
        qk_norm=qk_norm,
        qkv_bias=traits.qkv_bias or attention,
        o_bias=traits.o_bias or (text.boolean("attention_bias", False) and _biases_output(config)),
        mlp_bias=traits.mlp_bias or text.boolean("mlp_bias", False),
        gated=traits.gated,
        output_bias=traits.output_bias,
    )


def _biases_output(config: ModelConfig) -> bool:
    return config.model_type not in {"glm4", "glm4_moe", "deepseek_v2", "deepseek_v3", "cohere"}


def _position_tables(config: ModelConfig, dtype: str) -> Iterator[TensorInfo]:
    if config.model_type in {"gpt2", "opt"}:
        extra = 2 if config.model_type == "opt" else 0
        yield TensorInfo("model.wpe.weight", dtype, (config.max_position() + extra, config.hidden_size))


def _layer(
    out: _Writer, config: ModelConfig, traits: _Traits, caches: tuple[CacheShape, ...], index: int, kind: str
) -> None:
    for number in range(traits.norms):
        out.norm(f"norm{number}_layernorm", config.hidden_size, bias=traits.norm_bias)
    for cache in caches:
        if cache.kind == "mla":
            _mla(out, config)
        elif cache.kind == "mamba":
            _STATE_LAYERS.get(config.model_type, _mamba2)(out, config, cache)
        else:
            _attention(out, config, traits, cache)
    if config.model_type == "nemotron_h" and kind not in {"mlp", "moe"}:
        return
    if config.model_type in {"mamba", "mamba2", "falcon_mamba"}:
        return
    _feed_forward(out, config, traits, index, kind)


def _attention(out: _Writer, config: ModelConfig, traits: _Traits, cache: CacheShape) -> None:
    hidden, size, heads = config.hidden_size, cache.head_size, config.attention_heads
    gate = 2 if config.model_type in {"qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"} else 1
    out.linear("self_attn.q_proj", gate * heads * size, hidden, bias=traits.qkv_bias)
    out.linear("self_attn.k_proj", cache.kv_heads * size, hidden, bias=traits.qkv_bias)
    out.linear("self_attn.v_proj", cache.kv_heads * cache.head_size_v, hidden, bias=traits.qkv_bias)
    out.linear("self_attn.o_proj", hidden, heads * cache.head_size_v, bias=traits.o_bias)
    if config.model_type == "gpt_oss":
        out.add("self_attn.sinks", heads)
    if traits.qk_norm:
        wide = traits.qk_norm == "width"
        out.norm("self_attn.q_norm", heads * size if wide else size)
        out.norm("self_attn.k_norm", cache.kv_heads * size if wide else size)


def _mla(out: _Writer, config: ModelConfig) -> None:
    text, hidden, heads = config.text, config.hidden_size, config.attention_heads
    rank, rope = text.integer("kv_lora_rank"), text.integer("qk_rope_head_dim", 0, low=0)
    nope, value = text.integer("qk_nope_head_dim"), text.integer("v_head_dim")
    if text.has("q_lora_rank"):
        query = text.integer("q_lora_rank")
        out.linear("self_attn.q_a_proj", query, hidden)
        out.norm("self_attn.q_a_layernorm", query)
        out.linear("self_attn.q_b_proj", heads * (nope + rope), query)
    else:
        out.linear("self_attn.q_proj", heads * (nope + rope), hidden)
    out.linear("self_attn.kv_a_proj_with_mqa", rank + rope, hidden)
    out.norm("self_attn.kv_a_layernorm", rank)
    out.linear("self_attn.kv_b_proj", heads * (nope + value), rank)
    out.linear("self_attn.o_proj", hidden, heads * value)


def _gated_delta(out: _Writer, config: ModelConfig, cache: CacheShape) -> None:
    text, hidden = config.text, config.hidden_size
    values = text.integer("linear_num_value_heads")
    value = values * text.integer("linear_value_head_dim")
    width = cache.state.conv_width if cache.state else 0
    out.linear("linear_attn.in_proj_qkvz", width + value, hidden)
    out.linear("linear_attn.in_proj_ba", 2 * values, hidden)
    out.add("linear_attn.conv1d.weight", width, 1, text.integer("linear_conv_kernel_dim", 4))
    out.add("linear_attn.A_log", values, dtype="F32")
    out.add("linear_attn.dt_bias", values)
    out.norm("linear_attn.norm", text.integer("linear_value_head_dim"))
    out.linear("linear_attn.out_proj", hidden, value)


def _mamba2_heads(config: ModelConfig) -> int:
    key = config.text.first("mamba_n_heads", "mamba_num_heads", "n_mamba_heads", "num_heads") or "num_heads"
    return config.text.integer(key)


def mamba_multipliers(config: ModelConfig, caches: tuple[CacheShape, ...]) -> TensorInfo:
    """The engine's vector of multipliers in a Falcon-H1 layer: one for each output of ``in_proj``."""
    state = next(cache.state for cache in caches if cache.state is not None)
    rows = 2 * state.conv_width + state.groups * state.group_width + _mamba2_heads(config)
    return TensorInfo("mamba.mup_vector", _DTYPES.get(config.dtype, "BF16"), (rows,))


def _mamba2(out: _Writer, config: ModelConfig, cache: CacheShape) -> None:
    state = cache.state
    if state is None:
        return
    heads, inner, grouped = _mamba2_heads(config), state.conv_width, state.groups * state.group_width
    out.linear("mamba.in_proj", 2 * inner + grouped + heads, config.hidden_size)
    out.add("mamba.conv1d.weight", inner + grouped, 1, state.conv_taps)
    out.add("mamba.conv1d.bias", inner + grouped)
    out.add("mamba.A_log", heads, dtype="F32")
    out.add("mamba.D", heads)
    out.add("mamba.dt_bias", heads)
    out.add("mamba.norm.weight", inner)
    out.linear("mamba.out_proj", config.hidden_size, inner)


def _mamba1(out: _Writer, config: ModelConfig, cache: CacheShape) -> None:
    if cache.state is None:
        return
    text, inner = config.text, cache.state.conv_width
    size = cache.state.state_elements // inner
    key = text.first("mamba_dt_rank", "time_step_rank")
    rank = text.integer(key) if key else -(-config.hidden_size // 16)
    out.linear("mamba.in_proj_qkv", 2 * inner, config.hidden_size)
    out.add("mamba.conv1d.weight", inner, 1, cache.state.conv_taps)
    out.add("mamba.conv1d.bias", inner)
    out.linear("mamba.x_proj", rank + 2 * size, inner)
    out.linear("mamba.dt_proj", inner, rank, bias=True)
    out.add("mamba.A_log", inner, size, dtype="F32")
    out.add("mamba.D", inner)
    out.linear("mamba.out_proj", config.hidden_size, inner)
    if config.model_type == "jamba":
        out.norm("mamba.dt_layernorm", rank)
        out.norm("mamba.b_layernorm", size)
        out.norm("mamba.c_layernorm", size)


def _short_conv(out: _Writer, config: ModelConfig, cache: CacheShape) -> None:
    width = cache.state.conv_width if cache.state else 0
    out.linear("conv.in_proj_qkv", 3 * width, config.hidden_size)
    out.add("conv.conv1d.weight", width, 1, config.text.integer("conv_L_cache", 3))
    out.linear("conv.out_proj", config.hidden_size, width)


_STATE_LAYERS: dict[str, Callable[[_Writer, ModelConfig, CacheShape], None]] = {
    **dict.fromkeys(("qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"), _gated_delta),
    **dict.fromkeys(("mamba", "falcon_mamba", "jamba"), _mamba1),
    **dict.fromkeys(("lfm2", "lfm2_moe"), _short_conv),
}


def _feed_forward(out: _Writer, config: ModelConfig, traits: _Traits, index: int, kind: str) -> None:
    experts = expert_count(config)
    if experts and _is_sparse(config, index, kind):
        _experts(out, config, experts)
        return
    width = config.intermediate_size
    if config.model_type == "llama4_text" and config.text.has("intermediate_size_mlp"):
        width = config.text.integer("intermediate_size_mlp")
    _mlp(out, "mlp", config.hidden_size, width, traits)


def _mlp(out: _Writer, name: str, hidden: int, width: int, traits: _Traits) -> None:
    if not width:
        return
    if traits.gated:
        out.linear(f"{name}.gate_proj", width, hidden, bias=traits.mlp_bias)
    out.linear(f"{name}.up_proj", width, hidden, bias=traits.mlp_bias)
    out.linear(f"{name}.down_proj", hidden, width, bias=traits.mlp_bias)


def expert_count(config: ModelConfig) -> int:
    """Routed experts of the model; 0 when it is dense."""
    key = config.text.first("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts")
    return config.text.integer(key, low=0, high=65536) if key else 0


def expert_width(config: ModelConfig) -> int:
    """Intermediate size of one routed expert."""
    key = config.text.first("moe_intermediate_size", "expert_ffn_hidden_size")
    return config.text.integer(key) if key else config.intermediate_size


def _is_sparse(config: ModelConfig, index: int, kind: str) -> bool:
    text = config.text
    if kind in {"moe", "mlp"}:
        return kind == "moe"
    if text.has("first_k_dense_replace") and index < text.integer("first_k_dense_replace", low=0):
        return False
    if index in set(text.integers("mlp_only_layers")):
        return False
    if text.has("expert_layer_period"):
        return index % text.integer("expert_layer_period") == text.integer("expert_layer_offset", 0, low=0)
    if text.has("interleave_moe_layer_step"):
        return (index + 1) % text.integer("interleave_moe_layer_step") == 0
    step = text.integer("decoder_sparse_step", 1) if text.has("decoder_sparse_step") else 1
    return (index + 1) % step == 0


def _experts(out: _Writer, config: ModelConfig, experts: int) -> None:
    hidden, width = config.hidden_size, expert_width(config)
    bias = config.model_type == "gpt_oss"
    out.linear("mlp.gate", experts, hidden, bias=bias)
    if config.text.text("topk_method") == "noaux_tc" or config.model_type in {"deepseek_v3", "glm4_moe"}:
        out.add("mlp.gate.e_score_correction_bias", experts, dtype="F32")
    out.add("mlp.experts.gate_up_proj", experts, 2 * width, hidden)
    out.add("mlp.experts.down_proj", experts, hidden, width)
    if bias:
        out.add("mlp.experts.gate_up_proj_bias", experts, 2 * width)
        out.add("mlp.experts.down_proj_bias", experts, hidden)
    shared = _shared_width(config, width)
    if shared:
        _mlp(out, "mlp.shared_expert", hidden, shared, _Traits())
    if config.model_type.startswith(("qwen2_moe", "qwen3_next", "qwen3_5_moe")) and shared:
        out.linear("mlp.shared_expert_gate", 1, hidden)


def _shared_width(config: ModelConfig, width: int) -> int:
    text = config.text
    if text.has("shared_expert_intermediate_size"):
        return text.integer("shared_expert_intermediate_size", low=0)
    if text.has("shared_intermediate_size"):
        return text.integer("shared_intermediate_size", low=0)
    if config.model_type == "llama4_text":
        return config.intermediate_size
    key = text.first("n_shared_experts", "num_shared_experts", "moe_num_shared_experts")
    return text.integer(key, low=0) * width if key else 0
