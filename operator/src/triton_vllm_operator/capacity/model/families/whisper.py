"""Whisper: an encoder, and a decoder whose layers attend to its output too. K's projections have no bias in files."""

from collections.abc import Iterator, Sequence

from triton_vllm_operator.capacity.dtypes import safetensors_name
from triton_vllm_operator.capacity.model.config import ConfigTraits, ModelConfig
from triton_vllm_operator.capacity.model.family import Caches, CheckpointTraits, EngineClass, Family
from triton_vllm_operator.capacity.model.json_reader import MAX_LAYERS
from triton_vllm_operator.capacity.model.layer_writer import LayerWriter
from triton_vllm_operator.capacity.model.layers import attention_cache
from triton_vllm_operator.capacity.model.safetensors import TensorInfo
from triton_vllm_operator.capacity.model.shape import CacheShape, WeightPart


def _own_and_cross(config: ModelConfig) -> Caches:
    own = attention_cache(config)
    cross = CacheShape("cross", own.kv_heads, own.head_size, own.head_size_v)
    return ((own, cross),) * config.text.integer("decoder_layers", config.layer_count, high=MAX_LAYERS)


def _encoder_layers(config: ModelConfig) -> int:
    return config.text.integer("encoder_layers", config.layer_count, high=MAX_LAYERS)


def _encoder(config: ModelConfig) -> Iterator[TensorInfo]:
    """Yield the encoder's tensors: two convolutions over the spectrum, and layers of attention and feed-forward."""
    width, text = config.hidden_size, config.text
    inner = text.integer("encoder_ffn_dim", config.intermediate_size)
    ends = LayerWriter("model.encoder.", safetensors_name(config.dtype))
    for number, channels in enumerate((text.integer("num_mel_bins", 80), width), 1):
        ends.add(f"conv{number}.weight", width, channels, 3)
        ends.add(f"conv{number}.bias", width)
    ends.add("embed_positions.weight", text.integer("max_source_positions", 1500), width)
    ends.norm("layer_norm", width, bias=True)
    yield from ends.tensors
    for index in range(_encoder_layers(config)):
        layer = LayerWriter(f"model.encoder.layers.{index}.", ends.dtype)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            layer.linear(f"self_attn.{name}", width, width, bias=name != "k_proj")
        layer.linear("fc1", inner, width, bias=True)
        layer.linear("fc2", width, inner, bias=True)
        layer.norm("self_attn_layer_norm", width, bias=True)
        layer.norm("final_layer_norm", width, bias=True)
        yield from layer.tensors


def _encoder_key_biases(config: ModelConfig) -> tuple[WeightPart, ...]:
    """Return the biases of K that the engine adds to the encoder, where it keeps Q, K and V as one projection."""
    return (WeightPart("attention", 0, _encoder_layers(config) * config.hidden_size * 2),)


def _key_biases(config: ModelConfig, caches: Sequence[CacheShape]) -> tuple[TensorInfo, ...]:
    """Return the biases of K that the engine adds to a layer of the decoder: one for each of its attentions."""
    bias = TensorInfo("self_attn.k_proj.bias", safetensors_name(config.dtype), (config.hidden_size,))
    return (bias,) * len(caches)


FAMILIES = (
    Family(
        model_types=("whisper",),
        config=ConfigTraits(ties_embeddings=True),
        layer_caches=_own_and_cross,
        encoder_tensors=_encoder,
        checkpoint=CheckpointTraits(
            norms=3,
            norm_bias=True,
            qkv_bias=True,
            key_bias=False,
            o_bias=True,
            mlp_bias=True,
            gated=False,
            position_table=0,
        ),
        engine=EngineClass(
            rotary="none", whole_embedding=True, config_parts=_encoder_key_biases, layer_buffers=_key_biases
        ),
    ),
)
