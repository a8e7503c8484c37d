"""Model configurations for the oracle: one writer a family, with the dimensions that matter drawn at random."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Config = dict[str, Any]

_BASE: Config = {"torch_dtype": "bfloat16", "hidden_act": "silu", "rms_norm_eps": 1e-5, "bos_token_id": 1,
                 "eos_token_id": 2, "pad_token_id": 0}  # fmt: skip


def _decoder(
    draw: random.Random, architecture: str, model_type: str, heads: int, kv_heads: int, **extra: Any
) -> Config:
    size = extra.pop("head_dim", draw.choice([64, 128]))
    layers = extra.pop("num_hidden_layers", draw.randint(4, 10))
    return {
        **_BASE,
        "architectures": [architecture],
        "model_type": model_type,
        "hidden_size": extra.pop("hidden_size", heads * size),
        "intermediate_size": draw.choice([512, 1024, 2048]),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": size,
        "vocab_size": draw.choice([1000, 4096, 32000, 50257]),
        "max_position_embeddings": 131072,
        "tie_word_embeddings": draw.random() < 0.5,
        "rope_theta": 10000.0,
        **extra,
    }


def _mha(draw: random.Random) -> Config:
    return _decoder(draw, "LlamaForCausalLM", "llama", 16, 16)


def _gqa(draw: random.Random) -> Config:
    architecture, kind = draw.choice(
        [("LlamaForCausalLM", "llama"), ("Qwen2ForCausalLM", "qwen2"), ("Qwen3ForCausalLM", "qwen3"),
         ("GraniteForCausalLM", "granite"), ("Phi3ForCausalLM", "phi3")]
    )  # fmt: skip
    return _decoder(draw, architecture, kind, 16, draw.choice([2, 4, 8]))


def _mqa(draw: random.Random) -> Config:
    return _decoder(draw, "LlamaForCausalLM", "llama", 16, 1)


def _sliding(draw: random.Random) -> Config:
    return _decoder(
        draw, "MistralForCausalLM", "mistral", 16, draw.choice([2, 4, 8]), sliding_window=draw.choice([512, 4096])
    )


def _alternating(draw: random.Random) -> Config:
    window = draw.choice([128, 512, 4096])
    if draw.random() < 0.5:
        return _decoder(
            draw, "Gemma2ForCausalLM", "gemma2", 16, 8, sliding_window=window, hidden_activation="gelu_pytorch_tanh",
            query_pre_attn_scalar=256, attn_logit_softcapping=50.0, final_logit_softcapping=30.0,
            tie_word_embeddings=True,
        )  # fmt: skip
    layers = draw.choice([6, 8, 12])
    kinds = ["full_attention" if (i + 1) % draw.choice([2, 3, 4]) == 0 else "sliding_attention" for i in range(layers)]
    kinds[-1] = "full_attention"
    return _decoder(
        draw, "LlamaForCausalLM", "llama", 16, 4, num_hidden_layers=layers, layer_types=kinds, sliding_window=window
    )


def _gemma3(draw: random.Random) -> Config:
    return _decoder(
        draw, "Gemma3ForCausalLM", "gemma3_text", 16, 4, sliding_window=draw.choice([512, 1024]),
        sliding_window_pattern=6, num_hidden_layers=draw.choice([7, 12, 13]), query_pre_attn_scalar=168,
        hidden_activation="gelu_pytorch_tanh", rope_local_base_freq=10000.0, rope_theta=1e6, tie_word_embeddings=True,
    )  # fmt: skip


def _cohere2(draw: random.Random) -> Config:
    return _decoder(
        draw, "Cohere2ForCausalLM", "cohere2", 16, 4, sliding_window=draw.choice([512, 4096]), layer_norm_eps=1e-5,
        logit_scale=0.25, num_hidden_layers=8, tie_word_embeddings=True,
    )  # fmt: skip


def _chunked(draw: random.Random) -> Config:
    return _decoder(
        draw, "Llama4ForCausalLM", "llama4_text", 16, 8, num_hidden_layers=8, attention_chunk_size=8192,
        num_local_experts=4, num_experts_per_tok=1, interleave_moe_layer_step=2, intermediate_size_mlp=1024,
        use_qk_norm=False, attn_temperature_tuning=False, no_rope_layer_interval=4, for_llm_compressor=False,
        moe_layers=[1, 3, 5, 7], no_rope_layers=[1, 1, 1, 0, 1, 1, 1, 0], tie_word_embeddings=False,
    )  # fmt: skip


def _moe(draw: random.Random) -> Config:
    kind = draw.choice(["mixtral", "qwen3_moe", "qwen2_moe", "olmoe"])
    common: Config = {"num_experts": 8, "num_experts_per_tok": 2, "num_local_experts": 8}
    if kind == "mixtral":
        return _decoder(draw, "MixtralForCausalLM", kind, 16, 4, **common, tie_word_embeddings=False)
    if kind == "qwen3_moe":
        return _decoder(
            draw, "Qwen3MoeForCausalLM", kind, 16, 4, **common, moe_intermediate_size=256, norm_topk_prob=True,
            decoder_sparse_step=1, mlp_only_layers=[], tie_word_embeddings=False,
        )  # fmt: skip
    if kind == "qwen2_moe":
        return _decoder(
            draw, "Qwen2MoeForCausalLM", kind, 16, 4, **common, moe_intermediate_size=256, norm_topk_prob=True,
            shared_expert_intermediate_size=512, decoder_sparse_step=1, mlp_only_layers=[], tie_word_embeddings=False,
        )  # fmt: skip
    return _decoder(draw, "OlmoeForCausalLM", kind, 16, 4, **common, norm_topk_prob=False, tie_word_embeddings=False)


def _gpt_oss(draw: random.Random) -> Config:
    return _decoder(
        draw, "GptOssForCausalLM", "gpt_oss", 16, 8, head_dim=64, sliding_window=128, num_local_experts=4,
        num_experts_per_tok=2, experts_per_token=2, initial_context_length=4096,
        rope_scaling={"beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0, "original_max_position_embeddings": 4096,
                      "rope_type": "yarn", "truncate": False},
        num_hidden_layers=draw.choice([6, 8]), attention_bias=True, swiglu_limit=7.0, tie_word_embeddings=False,
    )  # fmt: skip


def _mla(draw: random.Random) -> Config:
    deep = draw.random() < 0.5
    return _decoder(
        draw, "DeepseekV3ForCausalLM" if deep else "DeepseekV2ForCausalLM", "deepseek_v3" if deep else "deepseek_v2",
        16, 16, kv_lora_rank=draw.choice([256, 512]), q_lora_rank=draw.choice([None, 384]), qk_nope_head_dim=128,
        qk_rope_head_dim=64, v_head_dim=128, head_dim=64, hidden_size=1024, n_routed_experts=8, n_shared_experts=1,
        num_experts_per_tok=2, moe_intermediate_size=256, first_k_dense_replace=1, moe_layer_freq=1, n_group=1,
        topk_group=1, topk_method="noaux_tc" if deep else "greedy", scoring_func="sigmoid" if deep else "softmax",
        norm_topk_prob=True, routed_scaling_factor=1.0, tie_word_embeddings=False,
    )  # fmt: skip


def _delta(draw: random.Random) -> Config:
    return _decoder(
        draw, "Qwen3NextForCausalLM", "qwen3_next", 16, draw.choice([2, 4]), head_dim=draw.choice([128, 256]),
        hidden_size=1024, num_hidden_layers=draw.choice([8, 12]), full_attention_interval=4, num_experts=8,
        num_experts_per_tok=2, moe_intermediate_size=256, shared_expert_intermediate_size=256, decoder_sparse_step=1,
        mlp_only_layers=[], norm_topk_prob=True, partial_rotary_factor=0.25, linear_conv_kernel_dim=4,
        linear_key_head_dim=128, linear_value_head_dim=128, linear_num_key_heads=16, linear_num_value_heads=32,
        tie_word_embeddings=False,
    )  # fmt: skip


def _granite_hybrid(draw: random.Random) -> Config:
    layers = draw.choice([6, 10])
    return _decoder(
        draw, "GraniteMoeHybridForCausalLM", "granitemoehybrid", 16, 4, head_dim=64, hidden_size=1024,
        num_hidden_layers=layers,
        layer_types=["attention" if i % 5 == 4 else "mamba" for i in range(layers)], mamba_n_heads=32, mamba_d_head=64,
        mamba_n_groups=draw.choice([1, 8]), mamba_d_state=128, mamba_d_conv=4, mamba_expand=2, mamba_chunk_size=256,
        num_local_experts=8, num_experts_per_tok=2, shared_intermediate_size=512, position_embedding_type="rope",
        embedding_multiplier=1.0, logits_scaling=1.0, residual_multiplier=1.0, attention_multiplier=0.1,
    )  # fmt: skip


def _jamba(draw: random.Random) -> Config:
    return _decoder(
        draw, "JambaForCausalLM", "jamba", 16, 4, hidden_size=1024, num_hidden_layers=8, attn_layer_period=4,
        attn_layer_offset=2, expert_layer_period=2, expert_layer_offset=1, num_experts=4, num_experts_per_tok=2,
        mamba_d_state=16, mamba_d_conv=4, mamba_expand=2, mamba_dt_rank=64, tie_word_embeddings=False, head_dim=64,
    )  # fmt: skip


def _mamba2(draw: random.Random) -> Config:
    return {**_BASE, "architectures": ["Mamba2ForCausalLM"], "model_type": "mamba2", "hidden_size": 1024,
            "num_hidden_layers": draw.choice([4, 6]), "state_size": 128, "expand": 2, "conv_kernel": 4, "n_groups": 8,
            "head_dim": 64, "num_heads": 32, "vocab_size": 4096, "tie_word_embeddings": True, "chunk_size": 256,
            "layer_norm_epsilon": 1e-5, "max_position_embeddings": 131072}  # fmt: skip


def _mamba1(draw: random.Random) -> Config:
    return {**_BASE, "architectures": ["MambaForCausalLM"], "model_type": "mamba", "hidden_size": 1024,
            "intermediate_size": 2048, "num_hidden_layers": draw.choice([4, 6]), "state_size": 16, "expand": 2,
            "conv_kernel": 4, "time_step_rank": 64, "vocab_size": 4096, "tie_word_embeddings": True,
            "layer_norm_epsilon": 1e-5, "use_bias": False, "use_conv_bias": True}  # fmt: skip


def _falcon_h1(draw: random.Random) -> Config:
    return _decoder(
        draw, "FalconH1ForCausalLM", "falcon_h1", 16, 4, hidden_size=1024, num_hidden_layers=4, head_dim=64,
        mamba_d_ssm=1024, mamba_n_heads=16, mamba_d_head=64, mamba_n_groups=draw.choice([1, 2]), mamba_d_state=128,
        mamba_d_conv=4, mamba_expand=2, mamba_chunk_size=128, attention_in_multiplier=1.0, ssm_in_multiplier=1.0,
        ssm_multipliers=[1.0] * 5, mlp_multipliers=[1.0, 1.0], mamba_rms_norm=True, tie_word_embeddings=False,
    )  # fmt: skip


def _nemotron_h(draw: random.Random) -> Config:
    pattern = draw.choice(["M-M*M-M*-M", "MM-*MM-*"])
    return _decoder(
        draw, "NemotronHForCausalLM", "nemotron_h", 16, 4, hidden_size=1024, num_hidden_layers=len(pattern),
        head_dim=64, hybrid_override_pattern=pattern, mamba_num_heads=16, mamba_head_dim=64, ssm_state_size=128,
        n_groups=8, conv_kernel=4, expand=2, chunk_size=128, mlp_hidden_act="relu2", layer_norm_epsilon=1e-5,
        use_conv_bias=True, use_bias=False, mlp_bias=False, attention_bias=False, tie_word_embeddings=False,
        mamba_ssm_cache_dtype="float32", residual_in_fp32=False,
    )  # fmt: skip


def _lfm2(draw: random.Random) -> Config:
    layers = draw.choice([6, 8])
    return _decoder(
        draw, "Lfm2ForCausalLM", "lfm2", 16, 4, hidden_size=1024, num_hidden_layers=layers, head_dim=64,
        layer_types=["full_attention" if i % 3 == 2 else "conv" for i in range(layers)], conv_L_cache=3,
        conv_bias=False, conv_dim=1024, block_dim=1024, block_ff_dim=2048, block_auto_adjust_ff_dim=False,
        block_multiple_of=256, norm_eps=1e-5, tie_word_embeddings=True, intermediate_size=2048,
    )  # fmt: skip


def _whisper(draw: random.Random) -> Config:
    layers = draw.choice([2, 4])
    return {**_BASE, "architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper", "d_model": 512,
            "encoder_layers": layers, "decoder_layers": layers, "encoder_attention_heads": 8,
            "decoder_attention_heads": 8, "encoder_ffn_dim": 1024, "decoder_ffn_dim": 1024, "vocab_size": 4096,
            "max_source_positions": 1500, "max_target_positions": 448, "num_mel_bins": 80, "num_hidden_layers": layers,
            "is_encoder_decoder": True, "decoder_start_token_id": 1, "activation_function": "gelu",
            "scale_embedding": False}  # fmt: skip


def _mtp_mla(draw: random.Random) -> Config:
    return {**_mla(draw), "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3",
            "topk_method": "noaux_tc", "scoring_func": "sigmoid", "num_nextn_predict_layers": 1}  # fmt: skip


def _mtp_delta(draw: random.Random) -> Config:
    return {**_delta(draw), "num_nextn_predict_layers": 1}


#: Families of the KV comparison: every kind of cache that the planner knows.
FAMILIES: dict[str, Callable[[random.Random], Config]] = {
    "mha": _mha, "gqa": _gqa, "mqa": _mqa, "sliding": _sliding, "alternating": _alternating, "gemma3": _gemma3,
    "cohere2": _cohere2, "chunked": _chunked, "moe": _moe, "gpt_oss": _gpt_oss, "mla": _mla, "delta": _delta,
    "granite_hybrid": _granite_hybrid, "jamba": _jamba, "mamba2": _mamba2, "mamba1": _mamba1,
    "falcon_h1": _falcon_h1, "nemotron_h": _nemotron_h,
    "lfm2": _lfm2, "cross": _whisper, "mtp_mla": _mtp_mla, "mtp_delta": _mtp_delta,
}  # fmt: skip


def _dense(architecture: str, model_type: str, **extra: Any) -> Callable[[random.Random], Config]:
    return lambda draw: _decoder(draw, architecture, model_type, 16, extra.get("kv", 4), **{
        key: value for key, value in extra.items() if key != "kv"})  # fmt: skip


_GPT2_NAMES: Config = {"n_embd": 1024, "n_head": 16, "n_layer": 4, "n_positions": 2048, "n_ctx": 2048, "n_inner": None}
_EXPERTS: Config = {"num_local_experts": 8, "num_experts": 8, "num_experts_per_tok": 2}

#: Architectures of the weights comparison beyond the families above.
MORE_ARCHITECTURES: dict[str, Callable[[random.Random], Config]] = {
    "mistral": _dense("MistralForCausalLM", "mistral"),
    "qwen2": _dense("Qwen2ForCausalLM", "qwen2"),
    "qwen3": _dense("Qwen3ForCausalLM", "qwen3"),
    "gemma": _dense("GemmaForCausalLM", "gemma", hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=True),
    "cohere": _dense("CohereForCausalLM", "cohere", layer_norm_eps=1e-5, logit_scale=0.25, tie_word_embeddings=True),
    "olmo2": _dense("Olmo2ForCausalLM", "olmo2"),
    "olmo3": _dense("Olmo3ForCausalLM", "olmo3", sliding_window=512, num_hidden_layers=8),
    "exaone4": _dense("Exaone4ForCausalLM", "exaone4", sliding_window=512, sliding_window_pattern=4,
                      num_hidden_layers=8),
    "glm4": _dense("Glm4ForCausalLM", "glm4", attention_bias=True, partial_rotary_factor=0.5),
    "stablelm": _dense("StableLmForCausalLM", "stablelm", layer_norm_eps=1e-5, partial_rotary_factor=0.25,
                       use_qkv_bias=False),
    "starcoder2": _dense("Starcoder2ForCausalLM", "starcoder2", norm_epsilon=1e-5, use_bias=True,
                         tie_word_embeddings=True, hidden_act="gelu_pytorch_tanh", sliding_window=None),
    "nemotron": _dense("NemotronForCausalLM", "nemotron", norm_eps=1e-5, partial_rotary_factor=0.5,
                       hidden_act="relu2"),
    "gpt2": lambda draw: {**_BASE, "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 4096,
                          "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new", **_GPT2_NAMES},
    "gpt_neox": _dense("GPTNeoXForCausalLM", "gpt_neox", kv=16, hidden_act="gelu", rotary_pct=0.25,
                       layer_norm_eps=1e-5, use_parallel_residual=True, tie_word_embeddings=False),
    "opt": lambda draw: {**_BASE, "architectures": ["OPTForCausalLM"], "model_type": "opt", "vocab_size": 4096,
                         "hidden_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 16, "ffn_dim": 2048,
                         "max_position_embeddings": 2048, "word_embed_proj_dim": 1024, "do_layer_norm_before": True,
                         "activation_function": "relu", "enable_bias": True},
    "phimoe": _dense("PhiMoEForCausalLM", "phimoe", **_EXPERTS, attention_bias=True, lm_head_bias=True,
                     tie_word_embeddings=False),
    "granitemoe": _dense("GraniteMoeForCausalLM", "granitemoe", **_EXPERTS, embedding_multiplier=1.0,
                         logits_scaling=1.0, residual_multiplier=1.0, attention_multiplier=0.1),
    "mixtral": _dense("MixtralForCausalLM", "mixtral", **_EXPERTS, tie_word_embeddings=False),
    "qwen2_moe": _dense("Qwen2MoeForCausalLM", "qwen2_moe", **_EXPERTS, moe_intermediate_size=256,
                        shared_expert_intermediate_size=512, decoder_sparse_step=1, mlp_only_layers=[],
                        norm_topk_prob=True, tie_word_embeddings=False),
    "qwen3_moe": _dense("Qwen3MoeForCausalLM", "qwen3_moe", **_EXPERTS, moe_intermediate_size=256,
                        decoder_sparse_step=1, mlp_only_layers=[], norm_topk_prob=True, tie_word_embeddings=False),
    "olmoe": _dense("OlmoeForCausalLM", "olmoe", **_EXPERTS, norm_topk_prob=False, tie_word_embeddings=False),
    "glm4_moe": _dense("Glm4MoeForCausalLM", "glm4_moe", n_routed_experts=8, n_shared_experts=1,
                       num_experts_per_tok=2, moe_intermediate_size=256, first_k_dense_replace=1, n_group=1,
                       topk_group=1, norm_topk_prob=True, routed_scaling_factor=1.0, use_qk_norm=True,
                       attention_bias=True, partial_rotary_factor=0.5, tie_word_embeddings=False),
}  # fmt: skip
