"""Published model configurations (facts), and headers made like the ones of their checkpoints."""

from __future__ import annotations

import json
from typing import Any

Config = dict[str, Any]


def config(architecture: str, model_type: str, **fields: Any) -> Config:
    """A `config.json` with the fields that every family has."""
    return {"architectures": [architecture], "model_type": model_type, "torch_dtype": "bfloat16", **fields}


def decoder(
    architecture: str, model_type: str, hidden: int, inner: int, layers: int, heads: int, kv: int, vocab: int,
    length: int, **fields: Any,
) -> Config:  # fmt: skip
    """A decoder's `config.json`."""
    return config(
        architecture, model_type, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv, vocab_size=vocab, max_position_embeddings=length,
        **{"tie_word_embeddings": False, **fields},
    )  # fmt: skip


LLAMA_3_8B = decoder("LlamaForCausalLM", "llama", 4096, 14336, 32, 32, 8, 128256, 8192)
LLAMA_31_8B = {**LLAMA_3_8B, "max_position_embeddings": 131072}
LLAMA_33_70B = decoder("LlamaForCausalLM", "llama", 8192, 28672, 80, 64, 8, 128256, 131072)
MISTRAL_7B = decoder("MistralForCausalLM", "mistral", 4096, 14336, 32, 32, 8, 32768, 32768, sliding_window=None)
QWEN25_7B = decoder("Qwen2ForCausalLM", "qwen2", 3584, 18944, 28, 28, 4, 152064, 32768, use_sliding_window=False)
QWEN25_7B_AWQ = {**QWEN25_7B, "torch_dtype": "float16",
                 "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}  # fmt: skip
QWEN25_32B = decoder("Qwen2ForCausalLM", "qwen2", 5120, 27648, 64, 40, 8, 152064, 32768)
QWEN3_14B = decoder("Qwen3ForCausalLM", "qwen3", 5120, 17408, 40, 40, 8, 151936, 40960, head_dim=128)
MIXTRAL_8X7B = decoder("MixtralForCausalLM", "mixtral", 4096, 14336, 32, 32, 8, 32000, 32768, num_local_experts=8,
                       num_experts_per_tok=2)  # fmt: skip
GEMMA3_27B = decoder("Gemma3ForCausalLM", "gemma3_text", 5376, 21504, 62, 32, 16, 262208, 131072, head_dim=128,
                     sliding_window=1024, sliding_window_pattern=6, tie_word_embeddings=True)  # fmt: skip
GPT_OSS_20B = decoder("GptOssForCausalLM", "gpt_oss", 2880, 2880, 24, 64, 8, 201088, 131072, head_dim=64,
                      sliding_window=128, num_local_experts=32, num_experts_per_tok=4)  # fmt: skip
DEEPSEEK_V2_LITE = decoder(
    "DeepseekV2ForCausalLM", "deepseek_v2", 2048, 10944, 27, 16, 16, 102400, 163840, moe_intermediate_size=1408,
    kv_lora_rank=512, q_lora_rank=None, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128,
    n_routed_experts=64, n_shared_experts=2, num_experts_per_tok=6, first_k_dense_replace=1,
)  # fmt: skip
QWEN38_27B = decoder(
    "Qwen3_5ForCausalLM", "qwen3_5_text", 5120, 17408, 64, 24, 4, 248320, 262144, head_dim=256,
    linear_num_key_heads=16, linear_num_value_heads=48, linear_key_head_dim=128, linear_value_head_dim=128,
    linear_conv_kernel_dim=4, full_attention_interval=4, mamba_ssm_dtype="float32",
)  # fmt: skip
QWEN36_35B_A3B = decoder(
    "Qwen3_5MoeForCausalLM", "qwen3_5_moe_text", 2048, 0, 40, 16, 2, 248320, 262144, head_dim=256, num_experts=256,
    num_experts_per_tok=8, moe_intermediate_size=512, shared_expert_intermediate_size=512, linear_num_key_heads=16,
    linear_num_value_heads=32, linear_key_head_dim=128, linear_value_head_dim=128, linear_conv_kernel_dim=4,
    full_attention_interval=4, mamba_ssm_dtype="float32",
)  # fmt: skip
QWEN35_122B_A10B = {**QWEN36_35B_A3B, "hidden_size": 3072, "num_hidden_layers": 48, "num_attention_heads": 32,
                    "linear_num_value_heads": 64, "moe_intermediate_size": 1024,
                    "shared_expert_intermediate_size": 1024, "num_nextn_predict_layers": 1}  # fmt: skip
MAMBA2 = config("Mamba2ForCausalLM", "mamba2", hidden_size=1024, num_hidden_layers=4, state_size=128, expand=2,
                conv_kernel=4, n_groups=8, head_dim=64, num_heads=32, vocab_size=4096, tie_word_embeddings=True,
                max_position_embeddings=8192)  # fmt: skip


def header(entries: dict[str, Any]) -> bytes:
    """The beginning of a safetensors file: 8 bytes of length, then the JSON header."""
    body = json.dumps(entries).encode()
    return len(body).to_bytes(8, "little") + body


def entry(dtype: str, *shape: int) -> Config:
    """One tensor of a header."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [0, 0]}
