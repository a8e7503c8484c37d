"""Configurations of published models, by architecture: compared beside the default of each class."""

from typing import Any

_QWEN_VISION = {"depth": 32, "num_heads": 16, "in_chans": 3, "patch_size": 14, "spatial_merge_size": 2,
                "spatial_patch_size": 14, "temporal_patch_size": 2}  # fmt: skip
_QWEN2_7B = {"hidden_act": "silu", "hidden_size": 3584, "intermediate_size": 18944, "max_window_layers": 28,
             "num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4, "rms_norm_eps": 1e-6,
             "rope_theta": 1000000.0, "sliding_window": 32768, "use_sliding_window": False, "vocab_size": 152064,
             "tie_word_embeddings": False, "torch_dtype": "bfloat16", "bos_token_id": 151643, "eos_token_id": 151645,
             "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}}  # fmt: skip

CONFIGS: dict[str, list[dict[str, Any]]] = {
    "Qwen2VLForConditionalGeneration": [
        {"architectures": ["Qwen2VLForConditionalGeneration"], "model_type": "qwen2_vl", **_QWEN2_7B,
         "max_position_embeddings": 32768,
         "vision_config": {**_QWEN_VISION, "embed_dim": 1280, "hidden_size": 3584, "mlp_ratio": 4}},
    ],
    "Qwen2_5_VLForConditionalGeneration": [
        {"architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl", **_QWEN2_7B,
         "max_position_embeddings": 128000,
         "vision_config": {**_QWEN_VISION, "hidden_act": "silu", "hidden_size": 1280, "intermediate_size": 3420,
                           "out_hidden_size": 3584, "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31],
                           "tokens_per_second": 2}},
    ],
    "Gemma3ForConditionalGeneration": [
        {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "torch_dtype": "bfloat16",
         "boi_token_index": 255999, "eoi_token_index": 256000, "image_token_index": 262144, "mm_tokens_per_image": 256,
         "text_config": {"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
                         "num_hidden_layers": 34, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
                         "sliding_window": 1024},
         "vision_config": {"hidden_size": 1152, "image_size": 896, "intermediate_size": 4304,
                           "model_type": "siglip_vision_model", "num_attention_heads": 16, "num_hidden_layers": 27,
                           "patch_size": 14, "vision_use_head": False}},
    ],
    "DeepseekV3ForCausalLM": [
        {"architectures": ["DeepseekV3ForCausalLM"], "model_type": "kimi_k2", "torch_dtype": "bfloat16",
         "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048, "num_hidden_layers": 61,
         "num_attention_heads": 64, "num_key_value_heads": 64, "n_routed_experts": 384, "n_shared_experts": 1,
         "num_experts_per_tok": 8, "first_k_dense_replace": 1, "moe_layer_freq": 1, "n_group": 1, "topk_group": 1,
         "topk_method": "noaux_tc", "scoring_func": "sigmoid", "norm_topk_prob": True, "kv_lora_rank": 512,
         "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
         "routed_scaling_factor": 2.827, "rms_norm_eps": 1e-6, "rope_theta": 50000.0, "hidden_act": "silu",
         "rope_scaling": {"type": "yarn", "factor": 32.0, "beta_fast": 1.0, "beta_slow": 1.0, "mscale": 1.0,
                          "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096},
         "max_position_embeddings": 131072, "vocab_size": 163840, "tie_word_embeddings": False,
         "num_nextn_predict_layers": 0, "bos_token_id": 163584, "eos_token_id": 163585},
    ],
}  # fmt: skip
_EXPERTS = {"norm_topk_prob": True}
_INDEXER = {"index_topk": 2048, "index_head_dim": 128, "index_n_heads": 64}
FIELDS: dict[str, dict[str, Any]] = {
    "Qwen3VLMoeForConditionalGeneration": _EXPERTS,
    "Qwen3OmniMoeForConditionalGeneration": _EXPERTS,
    "Glm4MoeForCausalLM": {"head_dim": 128},
    "Glm4MoeLiteForCausalLM": {"first_k_dense_replace": 1},
    "DeepseekV32ForCausalLM": _INDEXER,
    "MiniMaxM2ForCausalLM": {"rotary_dim": 64, "scoring_func": "sigmoid"},
    "Glm4vMoeForConditionalGeneration": {"head_dim": 128},
    "NemotronHForCausalLM": {"hybrid_override_pattern": "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-",
                             "num_hidden_layers": 52, "layers_block_type": None},
    "KimiLinearForCausalLM": {
        "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 27, "num_attention_heads": 32,
        "num_key_value_heads": 32, "head_dim": 72, "kv_lora_rank": 512, "q_lora_rank": None, "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64, "v_head_dim": 128, "mla_use_nope": True, "num_experts": 256,
        "num_experts_per_token": 8, "num_shared_experts": 1, "moe_intermediate_size": 1024, "moe_layer_freq": 1,
        "first_k_dense_replace": 1, "num_expert_group": 1, "topk_group": 1, "use_grouped_topk": True,
        "moe_renormalize": True, "moe_router_activation_func": "sigmoid", "routed_scaling_factor": 2.446,
        "vocab_size": 163840, "model_max_length": 1048576, "tie_word_embeddings": False,
        "linear_attn_config": {
            "full_attn_layers": [4, 8, 12, 16, 20, 24, 27], "head_dim": 128, "num_heads": 32,
            "short_conv_kernel_size": 4,
            "kda_layers": [1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19, 21, 22, 23, 25, 26]},
    },
    "MiMoV2FlashForCausalLM": {
        "hybrid_layer_pattern": [0, 1, 1, 1, 1, *[0, 1, 1, 1, 1, 1] * 7, 0],
        "swa_num_attention_heads": 64, "swa_num_key_value_heads": 8,
        "swa_head_dim": 192, "swa_v_head_dim": 128, "sliding_window_size": 128, "moe_layer_freq": [0] + [1] * 47,
        "layernorm_epsilon": 1e-5, "scoring_func": "sigmoid", "add_swa_attention_sink_bias": True,
    },
}  # fmt: skip
"""Fields of the text model that published models have and the class has no default for, by architecture."""
