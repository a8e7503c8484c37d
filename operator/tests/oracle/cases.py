"""Generated model shapes and settings for the oracle: every family, drawn from a fixed seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
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
         ("GraniteForCausalLM", "granite"), ("Phi3ForCausalLM", "phi3"), ("InternLM2ForCausalLM", "internlm2")]
    )  # fmt: skip
    extra: Config = {"bias": False} if kind == "internlm2" else {}
    return _decoder(draw, architecture, kind, 16, draw.choice([2, 4, 8]), **extra)


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
                      "rope_type": "yarn", "truncate": False}, num_hidden_layers=draw.choice([6, 8]),
        attention_bias=True, swiglu_limit=7.0, tie_word_embeddings=False,
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
        num_hidden_layers=layers, layer_types=["attention" if i % 5 == 4 else "mamba" for i in range(layers)],
        mamba_n_heads=32, mamba_d_head=64, mamba_n_groups=draw.choice([1, 8]), mamba_d_state=128, mamba_d_conv=4,
        mamba_expand=2, mamba_chunk_size=256,
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


FAMILIES: dict[str, Callable[[random.Random], Config]] = {
    "mha": _mha, "gqa": _gqa, "mqa": _mqa, "sliding": _sliding, "alternating": _alternating, "gemma3": _gemma3,
    "cohere2": _cohere2, "chunked": _chunked, "moe": _moe, "gpt_oss": _gpt_oss, "mla": _mla, "delta": _delta,
    "granite_hybrid": _granite_hybrid, "jamba": _jamba, "mamba2": _mamba2,
}  # fmt: skip


def _tensor_sizes(config: Config) -> list[int]:
    heads, kv_heads = config.get("num_attention_heads", 8), config.get("num_key_value_heads", 1)
    vocab = -(-int(config["vocab_size"]) // 64) * 64
    widths = [config.get("moe_intermediate_size") or config.get("intermediate_size") or 64]
    largest = 8 if config["model_type"] == "gpt_oss" else 16  # one KV head a rank at most, for its sinks
    sizes = [
        n for n in (1, 2, 4, 8, 16) if n <= largest and heads % n == 0 and (kv_heads % n == 0 or n % kv_heads == 0)
    ]
    return [n for n in sizes if vocab % n == 0 and all(width % n == 0 for width in widths)]


#: Stage counts of families in which a stage without attention would have no block size to align to.
_STAGES: dict[str, list[int]] = {
    "chunked": [1],
    "delta": [1, 2],
    "granite_hybrid": [1, 2],
    "jamba": [1, 2],
    "gemma3": [1, 2],
}


def _question(draw: random.Random, family: str) -> dict[str, Any]:
    length = draw.choice([1024, 4096, 8192, 32768, 131072, draw.randint(500, 100000)])
    prefix = draw.random() < 0.5
    return {
        "max_model_len": length,
        "batched": draw.choice([512, 2048, 8192, 16384]),
        "block_size": 16 if family == "mla" else draw.choice([32, 64, 128]),
        "available": draw.choice([2**21, 2**25, 2**28, 2**30]) * draw.randint(1, 16) + draw.randint(0, 2**20),
        "in_flight": draw.choice([1, 2, 3]),
        "no_hybrid": False if family in {"delta", "granite_hybrid", "jamba"} else draw.random() < 0.25,
        "prefix": prefix,
    }


def cases(count: int, questions: int, seed: int = 20261124) -> Iterator[dict[str, Any]]:
    """``count`` models with ``questions`` settings each, over all families in turn."""
    draw = random.Random(seed)
    names = list(FAMILIES)
    for number in range(count):
        family = names[number % len(names)]
        config = FAMILIES[family](draw)
        quantized_cache = family not in {"mla", "mamba2"} and draw.random() < 0.25
        yield {
            "id": f"{family}-{number}",
            "family": family,
            "config": config,
            "tp": draw.choice(_tensor_sizes(config)),
            "pp": draw.choice(_STAGES.get(family, [1, 1, 2, 3, 4])),
            "kv_dtype": "fp8" if quantized_cache else "auto",
            "questions": [_question(draw, family) for _ in range(questions)],
        }
