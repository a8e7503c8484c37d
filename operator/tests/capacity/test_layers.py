"""Each kind of layer, worked by hand: what it keeps per request, and which share of its weights a rank holds."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from triton_vllm_operator.capacity import ShapeError
from triton_vllm_operator.capacity.model.from_config import derive_shape
from triton_vllm_operator.capacity.model.shape import CacheShape, StateShape

from .samples import Config, config

LETTERS = {"full": "F", "sliding": "S", "chunked": "C", "mla": "L", "mamba": "M", "cross": "X"}


def small(architecture: str, model_type: str, layers: int = 4, **fields: Any) -> Config:
    """A small decoder: 4 heads of 16 with 2 for K and V, width 64, feed-forward 96, 512 tokens, 1024 positions."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": layers, "num_attention_heads": 4,
             "num_key_value_heads": 2, "vocab_size": 512, "max_position_embeddings": 1024}  # fmt: skip
    return config(architecture, model_type, **{**sizes, **fields})


def kinds(model: Config) -> str:
    """One letter per cache of each layer, layers separated by a space, `-` for a layer without one."""
    layers = derive_shape(model).layers
    return " ".join("".join(LETTERS[cache.kind] for cache in layer.caches) or "-" for layer in layers)


MAMBA2 = {"mamba_n_heads": 16, "mamba_d_head": 8, "mamba_d_state": 16}
ZAMBA = {"n_mamba_heads": 16, "mamba_headdim": 8, "mamba_d_state": 16}
NEMOTRON = {"mamba_num_heads": 6, "mamba_head_dim": 8, "ssm_state_size": 16}
DELTA = {"linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_num_value_heads": 4, "linear_value_head_dim": 16}
LATENT = {"kv_lora_rank": 32, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 16}

KIMI: Config = {"linear_attn_config": {"num_heads": 4, "head_dim": 8, "kda_layers": [1, 3], "full_attn_layers": [2, 4]}}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (small("LlamaForCausalLM", "llama"), "F F F F"),
        (small("LlamaForCausalLM", "llama", sliding_window=8), "S S S S"),
        (small("LlamaForCausalLM", "llama", sliding_window=0), "F F F F"),
        (small("LlamaForCausalLM", "llama", sliding_window=8, use_sliding_window=False), "F F F F"),
        (small("LlamaForCausalLM", "llama", 2, layer_types=["attention", "mlp", "full", "full"]), "F -"),
        (small("LlamaForCausalLM", "llama", 2, layers_block_type=["moe", "global_attention"]), "- F"),
        (small("LlamaForCausalLM", "llama", 2, sliding_window=8,
               layer_types=["local_attention", "sliding_window_attention"]), "S S"),
        (small("LlamaForCausalLM", "llama", 2, attention_chunk_size=8,
               layer_types=["chunked_attention", "full_attention"]), "C F"),
        (small("LlamaForCausalLM", "llama", 2, layer_types=["chunked_attention", "none"]), "F -"),
        (small("Gemma2ForCausalLM", "gemma2", sliding_window=8), "S F S F"),
        (small("Gemma3ForCausalLM", "gemma3_text", 8, sliding_window=8), "S S S S S F S S"),
        (small("Gemma3ForCausalLM", "gemma3_text", 8), "F F F F F F F F"),
        (small("Gemma3ForCausalLM", "gemma3_text", sliding_window=8, sliding_window_pattern=3), "S S F S"),
        (small("Gemma3ForCausalLM", "gemma3_text", sliding_window=8, _sliding_window_pattern=2), "S F S F"),
        (small("Gemma3ForCausalLM", "gemma3_text", sliding_window=8, sliding_window_pattern=0), "S S S S"),
        (small("Exaone4ForCausalLM", "exaone4", 8, sliding_window=8), "S S S F S S S F"),
        (small("Exaone4ForCausalLM", "exaone4", 5, sliding_window=8, sliding_window_pattern="LLG"), "S S F S S"),
        (small("Cohere2ForCausalLM", "cohere2", sliding_window=8), "S S S F"),
        (small("Olmo3ForCausalLM", "olmo3", sliding_window=8), "S S S F"),
        (small("Qwen3NextForCausalLM", "qwen3_next", 8, **DELTA), "M M M F M M M F"),
        (small("Qwen3NextForCausalLM", "qwen3_next", full_attention_interval=2, **DELTA), "M F M F"),
        (small("Qwen2ForCausalLM", "qwen2", sliding_window=8), "F F F F"),
        (small("Qwen2ForCausalLM", "qwen2", sliding_window=8, use_sliding_window=True, max_window_layers=3),
         "F F F S"),
        (small("Qwen2ForCausalLM", "qwen2", 29, sliding_window=8, use_sliding_window=True), "F " * 28 + "S"),
        (small("Llama4ForCausalLM", "llama4_text", 5, attention_chunk_size=8), "C C C F C"),
        (small("Llama4ForCausalLM", "llama4_text", attention_chunk_size=8, no_rope_layer_interval=2), "C F C F"),
        (small("Llama4ForCausalLM", "llama4_text", 3, attention_chunk_size=8, no_rope_layers=[1, 0, 1, 0]), "C F C"),
        (small("JambaForCausalLM", "jamba", 13), "M M M M F M M M M M M M F"),
        (small("JambaForCausalLM", "jamba", attn_layer_period=3, attn_layer_offset=0), "F M M F"),
        (small("NemotronHForCausalLM", "nemotron_h", hybrid_override_pattern="M*-EMM", **NEMOTRON), "M F - -"),
        (small("Lfm2ForCausalLM", "lfm2", full_attn_idxs=[1, 2]), "M F F M"),
        (small("Lfm2ForCausalLM", "lfm2"), "F F F F"),
        (small("Zamba2ForCausalLM", "zamba2", 3, layers_block_type=["mamba", "hybrid", "mamba"], **ZAMBA), "M FM M"),
        (small("Zamba2ForCausalLM", "zamba2", 2, **ZAMBA), "M M"),
        (small("FalconH1ForCausalLM", "falcon_h1", 2, **MAMBA2), "FM FM"),
        (small("WhisperForConditionalGeneration", "whisper", 3), "FX FX FX"),
        (small("KimiLinearForCausalLM", "kimi_linear", **LATENT, **KIMI), "M L M L"),
        (small("Exaone4MoeForCausalLM", "exaone_moe", sliding_window=8), "S S S F"),
        (small("WhisperForConditionalGeneration", "whisper", 3, decoder_layers=2), "FX FX"),
        (small("LongcatFlashForCausalLM", "longcat_flash", 3, num_layers=2, **LATENT), "LL LL"),
        (small("LongcatFlashForCausalLM", "longcat_flash", 3, **LATENT), "LL LL LL"),
        (small("DeepseekV2ForCausalLM", "deepseek_v2", 2, **LATENT), "L L"),
        (small("DeepseekV2ForCausalLM", "deepseek_v2", 2), "F F"),
        (small("GptOssForCausalLM", "gpt_oss", 3, sliding_window=8), "S F S"),
        (small("GptOssForCausalLM", "gpt_oss", 3), "F F F"),
    ],
)  # fmt: skip
def test_which_cache_each_layer_keeps(model: Config, expected: str) -> None:
    assert kinds(model) == expected


@pytest.mark.parametrize(
    ("model", "reason", "named"),
    [
        (small("LlamaForCausalLM", "llama", layer_types=["full"] * 3), "ConfigFieldOutOfRange",
         "config.json: layer_types has 3 entries for 4 layers"),
        (small("LlamaForCausalLM", "llama", 1, layer_types=["mamba"]), "LayerTypeUnknown",
         "the planner does not know the state layers of model type 'llama'"),
        (small("LlamaForCausalLM", "llama", num_attention_heads=0, num_key_value_heads=0), "ConfigFieldMissing",
         "config.json gives no attention heads for an attention layer"),
        (small("LlamaForCausalLM", "llama", head_dim=16, num_key_value_heads=0), "ConfigFieldMissing",
         "config.json gives no attention heads for an attention layer"),
        (small("LlamaForCausalLM", "llama", 1, layer_types=["x" * 99]), "LayerTypeUnknown",
         f"config.json: layer type {'x' * 60!r} is not known to the planner"),
        (small("NemotronHForCausalLM", "nemotron_h", hybrid_override_pattern="M*-", **NEMOTRON), "LayerTypeUnknown",
         "config.json: hybrid_override_pattern must name each layer by M, *, - or E"),
        (small("NemotronHForCausalLM", "nemotron_h", hybrid_override_pattern="M*-X", **NEMOTRON), "LayerTypeUnknown",
         "config.json: hybrid_override_pattern must name each layer by M, *, - or E"),
        (small("Llama4ForCausalLM", "llama4_text", no_rope_layers=[1]), "ConfigFieldOutOfRange",
         "config.json: no_rope_layers is shorter than the number of layers"),
        (small("NemotronHForCausalLM", "nemotron_h", 1, hybrid_override_pattern="M", mamba_ssm_cache_dtype="int8",
               **NEMOTRON), "ConfigFieldWrongType",
         "mamba_ssm_cache_dtype is 'int8', not one of auto, bfloat16, float16, float32"),
    ],
)  # fmt: skip
def test_a_layer_that_cannot_be_planned_is_named(model: Config, reason: str, named: str) -> None:
    with pytest.raises(ShapeError) as caught:
        derive_shape(model)
    assert (caught.value.reason, str(caught.value)) == (reason, named)


def caches(model: Config) -> set[CacheShape]:
    """The different caches of a model."""
    return {cache for layer in derive_shape(model).layers for cache in layer.caches}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (small("LlamaForCausalLM", "llama"), {CacheShape("full", 2, 16, 16)}),
        (small("LlamaForCausalLM", "llama", sliding_window=8), {CacheShape("sliding", 2, 16, 16, 8)}),
        (small("Cohere2ForCausalLM", "cohere2", sliding_window=8),  # the token itself is not counted in the file
         {CacheShape("sliding", 2, 16, 16, 9), CacheShape("full", 2, 16, 16)}),
        (small("Llama4ForCausalLM", "llama4_text", 1, attention_chunk_size=8), {CacheShape("chunked", 2, 16, 16, 8)}),
        (small("MiMoV2FlashForCausalLM", "mimo_v2_flash", 1, head_dim=24, v_head_dim=8,
               hybrid_layer_pattern=[0], sliding_window_size=8),
         {CacheShape("full", 2, 24, 8)}),
        (small("DeepseekV2ForCausalLM", "deepseek_v2", 1, **LATENT), {CacheShape("mla", 1, 40)}),
        (small("WhisperForConditionalGeneration", "whisper", 1),
         {CacheShape("full", 2, 16, 16), CacheShape("cross", 2, 16, 16)}),
        (small("FalconForCausalLM", "falcon", 1, multi_query=True), {CacheShape("full", 1, 16, 16)}),
        (small("FalconForCausalLM", "falcon", 1, multi_query=True, new_decoder_architecture=True, num_kv_heads=2),
         {CacheShape("full", 2, 16, 16)}),
        (small("FalconForCausalLM", "falcon", 1), {CacheShape("full", 4, 16, 16)}),
    ],
)  # fmt: skip
def test_the_cache_of_an_attention_layer(model: Config, expected: set[CacheShape]) -> None:
    assert caches(model) == expected


def mamba2(inner: int, taps: int, groups: int, elements: int, dtype: str = "auto") -> StateShape:
    """State of a Mamba 2 layer whose groups have B and C of 16 elements."""
    return StateShape(inner, taps, groups, 32, True, elements, dtype)


MAMBA2_GIVEN = {**MAMBA2, "mamba_expand": 3, "mamba_n_groups": 2, "mamba_d_conv": 5}
MAMBA = {"num_heads": 16, "head_dim": 8, "state_size": 16}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (small("Qwen3NextForCausalLM", "qwen3_next", 1, **DELTA), StateShape(96, 4, 0, 0, True, 512)),
        (small("Qwen3NextForCausalLM", "qwen3_next", 1, **DELTA, linear_conv_kernel_dim=5, mamba_ssm_dtype="float32"),
         StateShape(96, 5, 0, 0, True, 512, "float32")),
        (small("KimiLinearForCausalLM", "kimi_linear", 1, **LATENT, **KIMI),
         StateShape(96, 4, 0, 0, True, 256, "float32")),
        (small("Lfm2ForCausalLM", "lfm2", 1, layer_types=["conv"]), StateShape(64, 3)),
        (small("Lfm2ForCausalLM", "lfm2", 1, layer_types=["conv"], conv_dim=48, conv_L_cache=5), StateShape(48, 5)),
        (small("MambaForCausalLM", "mamba", 1), StateShape(96, 4, state_elements=96 * 16)),
        (small("FalconMambaForCausalLM", "falcon_mamba", 1, state_size=8, conv_kernel=5) | {"intermediate_size": None},
         StateShape(128, 5, state_elements=128 * 8)),
        (small("Mamba2ForCausalLM", "mamba2", 1, **MAMBA), mamba2(128, 4, 8, 2048)),
        (small("Mamba2ForCausalLM", "mamba2", 1, expand=3, n_groups=4, conv_kernel=5, **MAMBA),
         mamba2(192, 5, 4, 2048)),
        (small("NemotronHForCausalLM", "nemotron_h", 1, hybrid_override_pattern="M", **NEMOTRON),
         mamba2(48, 4, 8, 768, "float32")),
        (small("NemotronHForCausalLM", "nemotron_h", 1, hybrid_override_pattern="M", n_groups=2, conv_kernel=3,
               mamba_ssm_cache_dtype="bfloat16", **NEMOTRON), mamba2(48, 3, 2, 768, "bfloat16")),
        (small("JambaForCausalLM", "jamba", 1), StateShape(128, 4, state_elements=128 * 16)),
        (small("JambaForCausalLM", "jamba", 1, mamba_expand=3, mamba_d_state=8, mamba_d_conv=5),
         StateShape(192, 5, state_elements=192 * 8)),
        (small("FalconH1ForCausalLM", "falcon_h1", 1, **MAMBA2), mamba2(128, 4, 1, 2048)),
        (small("FalconH1ForCausalLM", "falcon_h1", 1, **MAMBA2_GIVEN), mamba2(192, 5, 2, 2048)),
        (small("FalconH1ForCausalLM", "falcon_h1", 1, mamba_d_ssm=80, **MAMBA2_GIVEN), mamba2(80, 5, 2, 2048)),
        (small("Zamba2ForCausalLM", "zamba2", 1, **ZAMBA), mamba2(128, 4, 1, 2048)),
        (small("Zamba2ForCausalLM", "zamba2", 1, mamba_expand=3, mamba_ngroups=2, mamba_d_conv=5, **ZAMBA),
         mamba2(192, 5, 2, 2048)),
    ],
)  # fmt: skip
def test_the_state_of_a_recurrent_layer(model: Config, expected: StateShape) -> None:
    assert {cache.state for cache in caches(model) if cache.kind == "mamba"} == {expected}


Shares = dict[tuple[str, int], int]
ANY, COPY = 0, 1
"""Shards of a part: cut over any number of ranks; a copy on each rank. Else the number of pieces, as of KV heads."""


def shares(model: Config) -> Shares:
    """Bytes of the first layer by group and number of shards."""
    total: Counter[tuple[str, int]] = Counter()
    for part in derive_shape(model).layers[0].weights:
        assert part.expert == (part.group == "experts")
        total[part.group, part.shards] += part.size_bytes
    return dict(total)


NORMS: Shares = {("norms", COPY): 2 * 2 * 64}
SCALES: Shares = {("scales", COPY): 16}
ATTENTION: Shares = {("attention", ANY): 2 * 2 * 64 * 64, ("attention", 2): 2 * 2 * 32 * 64}
MLP: Shares = {("mlp", ANY): 2 * 3 * 96 * 64}
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
ROUTED: Shares = {("mlp", COPY): 2 * 8 * 64, ("experts", ANY): 2 * 8 * 3 * 24 * 64}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        pytest.param(small("LlamaForCausalLM", "llama"), {**NORMS, **SCALES, **ATTENTION, **MLP}, id="llama"),
        pytest.param(
            small("LlamaForCausalLM", "llama", attention_bias=True, mlp_bias=True),
            {**NORMS, **SCALES,
             ("attention", ANY): 2 * (2 * 64 * 64 + 64), ("attention", 2): 2 * 2 * (32 * 64 + 32),
             ("attention", COPY): 2 * 64, ("mlp", ANY): 2 * (3 * 96 * 64 + 2 * 96), ("mlp", COPY): 2 * 64},
            id="with biases: those of the output are on every rank",
        ),
        pytest.param(
            small("LlamaForCausalLM", "llama", use_qkv_bias=True, use_qk_norm=True),
            {**SCALES, **MLP, ("norms", COPY): 2 * (2 * 64 + 2 * 16),
             ("attention", ANY): 2 * (2 * 64 * 64 + 64), ("attention", 2): 2 * 2 * (32 * 64 + 32)},
            id="with biases and norms of Q and K",
        ),
        pytest.param(
            small("Olmo2ForCausalLM", "olmo2"),
            {**SCALES, **ATTENTION, **MLP, ("norms", COPY): 2 * (2 * 64 + 64 + 32)},
            id="norms over the width of all heads",
        ),
        pytest.param(
            small("Qwen3MoeForCausalLM", "qwen3_moe", **EXPERTS),
            {**SCALES, **ATTENTION, **ROUTED, ("norms", COPY): 2 * (2 * 64 + 2 * 16)},
            id="experts",
        ),
        pytest.param(
            small("Qwen2MoeForCausalLM", "qwen2_moe", shared_expert_intermediate_size=40, **EXPERTS),
            {**NORMS, **SCALES, **ROUTED,
             ("attention", ANY): 2 * (2 * 64 * 64 + 64), ("attention", 2): 2 * 2 * (32 * 64 + 32),
             ("mlp", ANY): 2 * 3 * 40 * 64, ("mlp", COPY): 2 * (8 * 64 + 64)},
            id="a shared expert with a gate",
        ),
        pytest.param(
            small("GptOssForCausalLM", "gpt_oss", num_local_experts=8, num_experts_per_tok=2),
            {**NORMS, **SCALES,
             ("attention", ANY): 2 * (2 * 64 * 64 + 64 + 4), ("attention", 2): 2 * 2 * (32 * 64 + 32),
             ("attention", COPY): 2 * 64, ("mlp", COPY): 2 * (8 * 64 + 8),
             ("experts", ANY): 2 * 8 * (3 * 96 * 64 + 2 * 96), ("experts", COPY): 2 * 8 * 64},
            id="experts with biases, and sinks",
        ),
        pytest.param(
            small("DeepseekV3ForCausalLM", "deepseek_v3", q_lora_rank=48, n_routed_experts=8, n_shared_experts=2,
                  moe_intermediate_size=24, **LATENT),
            {**SCALES, ("norms", COPY): 2 * (2 * 64 + 48 + 32),
             ("attention", COPY): 2 * (48 * 64 + 40 * 64),
             ("attention", ANY): 2 * (4 * 24 * 48 + 4 * 32 * 32 + 64 * 4 * 16),
             ("mlp", ANY): 2 * 3 * 48 * 64, ("mlp", COPY): 2 * 8 * 64 + 4 * 8,
             ("experts", ANY): 2 * 8 * 3 * 24 * 64},
            id="a latent cache, with a router's correction in 32 bits",
        ),
        pytest.param(
            small("DeepseekV2ForCausalLM", "deepseek_v2", **LATENT),
            {**SCALES, **MLP, ("norms", COPY): 2 * (2 * 64 + 32), ("attention", COPY): 2 * 40 * 64,
             ("attention", ANY): 2 * (4 * 24 * 64 + 4 * 32 * 32 + 64 * 4 * 16)},
            id="a latent cache without a query rank",
        ),
        pytest.param(
            small("Qwen3NextForCausalLM", "qwen3_next", linear_conv_kernel_dim=5, **DELTA),
            {**MLP, ("norms", COPY): 2 * (2 * 64 + 16),
             ("attention", ANY): 2 * (160 * 64 + 8 * 64 + 96 * 5 + 4 + 64 * 64) + 4 * 4},
            id="Gated DeltaNet",
        ),
        pytest.param(
            small("Qwen3NextForCausalLM", "qwen3_next", full_attention_interval=1, **DELTA),
            {**SCALES, **MLP, ("norms", COPY): 2 * (2 * 64 + 2 * 16),
             ("attention", ANY): 2 * 3 * 64 * 64, ("attention", 2): 2 * 2 * 32 * 64},
            id="a query with a gate",
        ),
        pytest.param(
            small("Lfm2ForCausalLM", "lfm2", layer_types=["conv"] * 4, conv_dim=48, conv_L_cache=5),
            {**NORMS, **MLP, ("other", ANY): 2 * (3 * 48 * 64 + 48 * 5 + 64 * 48)},
            id="a short convolution",
        ),
        pytest.param(
            small("MambaForCausalLM", "mamba", state_size=8, conv_kernel=5),
            {("norms", COPY): 2 * 64,
             ("state", ANY): 2 * (192 * 64 + 96 * 5 + 96 + 20 * 96 + 96 * 4 + 96 + 96 + 64 * 96) + 4 * 96 * 8},
            id="Mamba",
        ),
        pytest.param(
            small("MambaForCausalLM", "mamba", state_size=8, conv_kernel=5, time_step_rank=6),
            {("norms", COPY): 2 * 64,
             ("state", ANY): 2 * (192 * 64 + 96 * 5 + 96 + 22 * 96 + 96 * 6 + 96 + 96 + 64 * 96) + 4 * 96 * 8},
            id="Mamba with a rank of its time step",
        ),
        pytest.param(
            small("JambaForCausalLM", "jamba", mamba_d_state=8, mamba_dt_rank=6),
            {**MLP, ("norms", COPY): 2 * (2 * 64 + 6 + 8 + 8),
             ("state", ANY): 2 * (256 * 64 + 128 * 4 + 128 + 22 * 128 + 128 * 6 + 128 + 128 + 64 * 128) + 4 * 128 * 8},
            id="Jamba: its inputs of the recurrence are normalized",
        ),
        pytest.param(
            small("Mamba2ForCausalLM", "mamba2", n_groups=4, conv_kernel=5, **MAMBA),
            {("norms", COPY): 2 * 64, ("norms", ANY): 2 * 128,
             ("state", ANY): 2 * (272 * 64 + 128 * 6 + 16 + 16 + 64 * 128) + 4 * 16,
             ("state", 4): 2 * (128 * 64 + 128 * 6)},
            id="Mamba 2: each rank holds the groups of its heads",
        ),
        pytest.param(
            small("FalconH1ForCausalLM", "falcon_h1", mamba_n_groups=4, **MAMBA2),
            {**NORMS, **SCALES, **MLP, **ATTENTION, ("norms", ANY): 2 * 128,
             ("state", ANY): 2 * (272 * 64 + 128 * 5 + 16 + 16 + 64 * 128 + 272) + 4 * 16,
             ("state", 4): 2 * (128 * 64 + 128 * 5 + 128)},
            id="attention and Mamba 2 side by side, and a multiplier for each input of Mamba",
        ),
    ],
)  # fmt: skip
def test_the_share_of_a_layers_weights_that_a_rank_holds(model: Config, expected: Shares) -> None:
    assert shares(model) == expected
