"""Published model configurations (facts) for the starts on a GPU; some with fewer layers, so that they start fast."""

from __future__ import annotations

from tests.capacity.samples import Config, config, decoder

_ROPE3 = {"rope_type": "llama3", "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
          "original_max_position_embeddings": 8192}  # fmt: skip
_YARN = {"rope_type": "yarn", "type": "yarn", "beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 0.707,
         "mscale_all_dim": 0.707, "original_max_position_embeddings": 4096}  # fmt: skip
_FP8 = {"quant_method": "compressed-tensors", "format": "float-quantized", "quantization_status": "compressed",
        "ignore": ["lm_head"], "config_groups": {"group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True, "dynamic": False},
            "input_activations": {"num_bits": 8, "type": "float", "strategy": "token", "symmetric": True,
                                  "dynamic": True}}}}  # fmt: skip
_FP8_TENSOR = {**_FP8, "config_groups": {"group_0": {
    "targets": ["Linear"],
    "weights": {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True, "dynamic": False},
    "input_activations": {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True,
                          "dynamic": False}}}}  # fmt: skip
_FP8_BLOCKS = {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": [128, 128]}
_AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
_MXFP4 = {"quant_method": "mxfp4", "modules_to_not_convert": [
    "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]}  # fmt: skip


def _common(**fields: object) -> Config:
    return {"hidden_act": "silu", "rms_norm_eps": 1e-6, "bos_token_id": 1, "eos_token_id": 2, "rope_theta": 1e6,
            "attention_bias": False, "initializer_range": 0.02, **fields}  # fmt: skip


def _llama(
    hidden: int, inner: int, layers: int, heads: int, kv: int, vocab: int, length: int, **more: object
) -> Config:
    return decoder("LlamaForCausalLM", "llama", hidden, inner, layers, heads, kv, vocab, length,
                   **_common(mlp_bias=False, **more))  # fmt: skip


def _llama3(hidden: int, inner: int, layers: int, heads: int, **more: object) -> Config:
    return _llama(hidden, inner, layers, heads, 8, 128256, 131072, rope_scaling=_ROPE3, **more)


def _qwen2(hidden: int, inner: int, layers: int, heads: int, kv: int, vocab: int, **more: object) -> Config:
    return decoder("Qwen2ForCausalLM", "qwen2", hidden, inner, layers, heads, kv, vocab, 32768,
                   **_common(use_sliding_window=False, **more))  # fmt: skip


def _qwen3(hidden: int, inner: int, layers: int, heads: int, **more: object) -> Config:
    return decoder("Qwen3ForCausalLM", "qwen3", hidden, inner, layers, heads, 8, 151936, 40960,
                   **_common(head_dim=128, **more))  # fmt: skip


def _qwen3_moe(layers: int, **more: object) -> Config:
    return decoder(
        "Qwen3MoeForCausalLM", "qwen3_moe", 2048, 6144, layers, 32, 4, 151936, 40960,
        **_common(head_dim=128, num_experts=128, num_experts_per_tok=8, moe_intermediate_size=768, norm_topk_prob=True,
                  decoder_sparse_step=1, mlp_only_layers=[], **more),
    )  # fmt: skip


def _gemma(architecture: str, model_type: str, *sizes: int, **more: object) -> Config:
    fields = {"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True}
    return decoder(architecture, model_type, *sizes, **_common(**{**fields, "pad_token_id": 0, **more}))


MODELS: dict[str, Config] = {
    "llama-3.1-8b": _llama3(4096, 14336, 32, 32),
    "llama-3.1-8b, 8 layers": _llama3(4096, 14336, 8, 32),
    "llama-3.1-8b, 64 layers": _llama3(4096, 14336, 64, 32),
    "llama-3.1-8b fp8": _llama3(4096, 14336, 32, 32, quantization_config=_FP8),
    "llama-3.1-8b fp8 tensor": _llama3(4096, 14336, 32, 32, quantization_config=_FP8_TENSOR),
    "llama-3.2-1b": _llama3(2048, 8192, 16, 32, head_dim=64, tie_word_embeddings=True),
    "llama-3.3-70b, 12 layers": _llama3(8192, 28672, 12, 64),
    "llama-3.3-70b fp8": _llama3(8192, 28672, 80, 64, quantization_config=_FP8),
    "mistral-7b": decoder("MistralForCausalLM", "mistral", 4096, 14336, 32, 32, 8, 32768, 32768,
                          **_common(sliding_window=None)),
    "qwen2.5-0.5b": _qwen2(896, 4864, 24, 14, 2, 151936, tie_word_embeddings=True),
    "qwen2.5-7b": _qwen2(3584, 18944, 28, 28, 4, 152064),
    "qwen2.5-32b awq": _qwen2(5120, 27648, 64, 40, 8, 152064, quantization_config=_AWQ),
    "qwen3-8b": _qwen3(4096, 12288, 36, 32),
    "qwen3-8b fp8 blocks": _qwen3(4096, 12288, 36, 32, quantization_config=_FP8_BLOCKS),
    "phi-4": decoder("Phi3ForCausalLM", "phi3", 5120, 17920, 40, 40, 10, 100352, 16384,
                     **_common(rope_scaling=None, original_max_position_embeddings=16384, pad_token_id=0)),
    "gemma-2-9b": _gemma("Gemma2ForCausalLM", "gemma2", 3584, 14336, 42, 16, 8, 256000, 8192, head_dim=256,
                         query_pre_attn_scalar=256, sliding_window=4096, attn_logit_softcapping=50.0,
                         final_logit_softcapping=30.0),
    "gemma-3-1b": _gemma("Gemma3ForCausalLM", "gemma3_text", 1152, 6912, 26, 4, 1, 262144, 32768, head_dim=256,
                         query_pre_attn_scalar=256, sliding_window=512, sliding_window_pattern=6,
                         rope_local_base_freq=10000.0),
    "gemma-3-27b": _gemma("Gemma3ForCausalLM", "gemma3_text", 5376, 21504, 62, 32, 16, 262208, 131072, head_dim=128,
                          query_pre_attn_scalar=168, sliding_window=1024, sliding_window_pattern=6,
                          rope_local_base_freq=10000.0, rope_scaling={"rope_type": "linear", "factor": 8.0}),
    "mixtral-8x7b, 16 layers": decoder(
        "MixtralForCausalLM", "mixtral", 4096, 14336, 16, 32, 8, 32000, 32768,
        **_common(num_local_experts=8, num_experts_per_tok=2, sliding_window=None, output_router_logits=False,
                  router_aux_loss_coef=0.02)),
    "qwen3-30b-a3b": _qwen3_moe(48),
    "qwen3-30b-a3b, 16 layers": _qwen3_moe(16),
    "qwen3-30b-a3b fp8 blocks": _qwen3_moe(24, quantization_config=_FP8_BLOCKS),
    "qwen1.5-moe-a2.7b": decoder(
        "Qwen2MoeForCausalLM", "qwen2_moe", 2048, 5632, 24, 16, 16, 151936, 8192,
        **_common(num_experts=60, num_experts_per_tok=4, moe_intermediate_size=1408,
                  shared_expert_intermediate_size=5632, decoder_sparse_step=1, norm_topk_prob=False,
                  mlp_only_layers=[])),
    "deepseek-v2-lite": decoder(
        "DeepseekV2ForCausalLM", "deepseek_v2", 2048, 10944, 27, 16, 16, 102400, 163840,
        **_common(moe_intermediate_size=1408, kv_lora_rank=512, q_lora_rank=None, qk_nope_head_dim=128,
                  qk_rope_head_dim=64, v_head_dim=128, n_routed_experts=64, n_shared_experts=2, num_experts_per_tok=6,
                  first_k_dense_replace=1, moe_layer_freq=1, n_group=1, topk_group=1, topk_method="greedy",
                  scoring_func="softmax", norm_topk_prob=False, routed_scaling_factor=1.0, ep_size=1,
                  aux_loss_alpha=0.001, seq_aux=True, rope_scaling=_YARN, rope_theta=10000)),
    "deepseek-v3, 6 layers": decoder(
        "DeepseekV3ForCausalLM", "deepseek_v3", 7168, 18432, 6, 128, 128, 129280, 163840,
        **_common(moe_intermediate_size=2048, kv_lora_rank=512, q_lora_rank=1536, qk_nope_head_dim=128,
                  qk_rope_head_dim=64, v_head_dim=128, n_routed_experts=256, n_shared_experts=1, num_experts_per_tok=8,
                  first_k_dense_replace=3, moe_layer_freq=1, n_group=8, topk_group=4, topk_method="noaux_tc",
                  scoring_func="sigmoid", norm_topk_prob=True, routed_scaling_factor=2.5, ep_size=1,
                  rope_scaling={**_YARN, "mscale": 1.0, "mscale_all_dim": 1.0}, rope_theta=10000,
                  quantization_config=_FP8_BLOCKS)),
    "gpt-oss-20b": decoder(
        "GptOssForCausalLM", "gpt_oss", 2880, 2880, 24, 64, 8, 201088, 131072,
        **{**_common(head_dim=64, sliding_window=128, layer_types=["sliding_attention", "full_attention"] * 12,
                     num_local_experts=32, num_experts_per_tok=4, experts_per_token=4, swiglu_limit=7.0,
                     initial_context_length=4096, rope_theta=150000, pad_token_id=0, quantization_config=_MXFP4,
                     rope_scaling={"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0,
                                   "original_max_position_embeddings": 4096, "truncate": False}),
           "attention_bias": True}),
    "qwen3-next, 24 layers, 128 experts": decoder(
        "Qwen3NextForCausalLM", "qwen3_next", 2048, 5120, 24, 16, 2, 151936, 262144,
        **_common(head_dim=256, partial_rotary_factor=0.25, linear_conv_kernel_dim=4, linear_key_head_dim=128,
                  linear_value_head_dim=128, linear_num_key_heads=16, linear_num_value_heads=32,
                  full_attention_interval=4, decoder_sparse_step=1, moe_intermediate_size=512,
                  shared_expert_intermediate_size=512, num_experts=128, num_experts_per_tok=10, norm_topk_prob=True,
                  mlp_only_layers=[])),
    "mamba-codestral-7b": config(
        "Mamba2ForCausalLM", "mamba2", hidden_size=4096, num_hidden_layers=64, state_size=128, expand=2, conv_kernel=4,
        n_groups=8, head_dim=64, num_heads=128, vocab_size=32768, tie_word_embeddings=False, use_bias=False,
        use_conv_bias=True, hidden_act="silu", rms_norm=True, layer_norm_epsilon=1e-5, chunk_size=256,
        max_position_embeddings=32768, bos_token_id=0, eos_token_id=0, pad_token_id=0),
}  # fmt: skip
