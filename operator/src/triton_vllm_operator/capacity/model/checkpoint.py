"""The tensors that a checkpoint of this `config.json` holds, for when its safetensors headers are not known.

Names follow the families' Hugging Face checkpoints, so that one set of rules (`sharding`) splits both. Quantized
checkpoints need their headers: their layout is not derived here beyond the width of a weight.
"""

from collections.abc import Iterator
from dataclasses import replace

from triton_vllm_operator.capacity.dtypes import safetensors_name
from triton_vllm_operator.capacity.model.config import ModelConfig
from triton_vllm_operator.capacity.model.family import CheckpointTraits, Family
from triton_vllm_operator.capacity.model.layer_writer import LayerWriter
from triton_vllm_operator.capacity.model.layers import layer_types
from triton_vllm_operator.capacity.model.safetensors import TensorInfo
from triton_vllm_operator.capacity.model.shape import CacheShape


def tensors_of(config: ModelConfig, family: Family, caches: tuple[tuple[CacheShape, ...], ...]) -> Iterator[TensorInfo]:
    """Yield every tensor of the checkpoint, in no particular order."""
    dtype = safetensors_name(config.dtype)
    hidden, vocab = config.hidden_size, config.vocab_size
    traits = _traits(config, family.checkpoint)
    yield TensorInfo("model.embed_tokens.weight", dtype, (vocab, hidden))
    if not config.tied_embeddings:
        yield TensorInfo("lm_head.weight", dtype, (vocab, hidden))
        if traits.output_bias:
            yield TensorInfo("lm_head.bias", dtype, (vocab,))
    yield TensorInfo("model.norm.weight", dtype, (hidden,))
    if traits.norm_bias:
        yield TensorInfo("model.norm.bias", dtype, (hidden,))
    if traits.position_table is not None:
        yield TensorInfo("model.wpe.weight", dtype, (config.max_position() + traits.position_table, hidden))
    types = layer_types(config, family) or ()
    for index, layer in enumerate(caches):
        writer = LayerWriter(f"model.layers.{index}.", dtype)
        for number in range(traits.norms):
            writer.norm(f"norm{number}_layernorm", hidden, bias=traits.norm_bias)
        for cache in layer:
            _mixer(writer, config, family, traits, cache)
        _feed_forward(writer, config, traits, index, types[index] if index < len(types) else "")
        yield from writer.tensors
    if family.encoder_tensors is not None:
        yield from family.encoder_tensors(config)


def _traits(config: ModelConfig, family: CheckpointTraits) -> CheckpointTraits:
    """Return the family's traits with what `config.json` adds to them."""
    text = config.text
    attention_bias = text.boolean("attention_bias", False)
    return replace(
        family,
        qk_norm=family.qk_norm or ("head" if text.boolean("use_qk_norm", False) else ""),
        qkv_bias=family.qkv_bias or attention_bias or text.boolean("use_qkv_bias", False),
        o_bias=family.o_bias or (attention_bias and family.attention_bias_on_output),
        mlp_bias=family.mlp_bias or text.boolean("mlp_bias", False),
    )


def _mixer(out: LayerWriter, config: ModelConfig, family: Family, traits: CheckpointTraits, cache: CacheShape) -> None:
    if cache.state is not None and family.state is not None:
        family.state.write_tensors(out, config, cache.state)
    elif cache.element_bytes:
        _indexer(out, config)
    elif cache.kind == "mla":
        _mla(out, config)
    else:
        _attention(out, config, traits, cache, sinks=family.engine.attention_sinks)


def _attention(
    out: LayerWriter, config: ModelConfig, traits: CheckpointTraits, cache: CacheShape, *, sinks: bool
) -> None:
    hidden, size, heads = config.hidden_size, cache.head_size, config.attention_heads
    gate = 2 if traits.query_gate else 1
    out.linear("self_attn.q_proj", gate * heads * size, hidden, bias=traits.qkv_bias)
    out.linear("self_attn.k_proj", cache.kv_heads * size, hidden, bias=traits.qkv_bias and traits.key_bias)
    out.linear("self_attn.v_proj", cache.kv_heads * cache.head_size_v, hidden, bias=traits.qkv_bias)
    out.linear("self_attn.o_proj", hidden, heads * cache.head_size_v, bias=traits.o_bias)
    if sinks:
        out.add("self_attn.sinks", heads)
    if traits.qk_norm in {"head", "width"}:
        wide = traits.qk_norm == "width"
        out.norm("self_attn.q_norm", heads * size if wide else size)
        out.norm("self_attn.k_norm", cache.kv_heads * size if wide else size)


def _mla(out: LayerWriter, config: ModelConfig) -> None:
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


def _indexer(out: LayerWriter, config: ModelConfig) -> None:
    text, hidden = config.text, config.hidden_size
    heads, size = text.integer("index_n_heads", 64), text.integer("index_head_dim", 128)
    out.linear("self_attn.indexer.wq_b", heads * size, text.integer("q_lora_rank"))
    out.linear("self_attn.indexer.wk", size, hidden)
    out.linear("self_attn.indexer.weights_proj", heads, hidden)
    out.norm("self_attn.indexer.k_norm", size, bias=True)


def _feed_forward(out: LayerWriter, config: ModelConfig, traits: CheckpointTraits, index: int, layer_type: str) -> None:
    if traits.feed_forward == "none" or (traits.feed_forward == "typed" and layer_type not in {"mlp", "moe"}):
        return
    experts = expert_count(config)
    if experts and _is_sparse(config, index, layer_type):
        _experts(out, config, traits, experts)
        return
    width = config.text.optional_integer(traits.dense_width) if traits.dense_width else None
    _mlp(out, "mlp", config.hidden_size, width or config.intermediate_size, traits)


def _mlp(out: LayerWriter, name: str, hidden: int, width: int, traits: CheckpointTraits) -> None:
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


def _is_sparse(config: ModelConfig, index: int, layer_type: str) -> bool:
    text = config.text
    if layer_type in {"moe", "mlp"}:
        return layer_type == "moe"
    if text.is_list("moe_layer_freq"):
        sparse = text.integers("moe_layer_freq", high=1)
        return index < len(sparse) and sparse[index] == 1
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


def _experts(out: LayerWriter, config: ModelConfig, traits: CheckpointTraits, experts: int) -> None:
    hidden, width = config.hidden_size, expert_width(config)
    out.linear("mlp.gate", experts, hidden, bias=traits.expert_bias)
    if traits.router_correction or config.text.text("topk_method") == "noaux_tc":
        out.add("mlp.gate.e_score_correction_bias", experts, dtype="F32")
    out.add("mlp.experts.gate_up_proj", experts, 2 * width, hidden)
    out.add("mlp.experts.down_proj", experts, hidden, width)
    if traits.expert_bias:
        out.add("mlp.experts.gate_up_proj_bias", experts, 2 * width)
        out.add("mlp.experts.down_proj_bias", experts, hidden)
    shared = _shared_width(config, traits, width)
    if shared:
        _mlp(out, "mlp.shared_expert", hidden, shared, CheckpointTraits())
    if shared and traits.shared_expert_gate:
        out.linear("mlp.shared_expert_gate", 1, hidden)


def _shared_width(config: ModelConfig, traits: CheckpointTraits, expert_width_: int) -> int:
    text = config.text
    if text.has("shared_expert_intermediate_size"):
        return text.integer("shared_expert_intermediate_size", low=0)
    if text.has("shared_intermediate_size"):
        return text.integer("shared_intermediate_size", low=0)
    if traits.shared_expert_is_dense:
        return config.intermediate_size
    key = text.first("n_shared_experts", "num_shared_experts", "moe_num_shared_experts")
    return text.integer(key, low=0) * expert_width_ if key else 0
