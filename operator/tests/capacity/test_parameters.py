"""The tensors that are derived from `config.json` alone have the number of parameters that the model's card states."""

from __future__ import annotations

import pytest

from triton_vllm_operator.capacity import shape_from_config

from . import samples
from .samples import Config, config, decoder

FAMILY_DEFAULT = None
"""`tie_word_embeddings` is not in the file: the family says whether the output table is the embedding table."""

PUBLISHED: dict[str, tuple[int, Config]] = {
    "Llama 3 8B": (8_030_261_248, samples.LLAMA_3_8B),
    "Llama 3.3 70B": (70_553_706_496, samples.LLAMA_33_70B),
    "Mistral 7B v0.3": (7_248_023_552, samples.MISTRAL_7B),
    "Qwen2.5 7B": (7_615_616_512, samples.QWEN25_7B),
    "Qwen2.5 32B": (32_763_876_352, samples.QWEN25_32B),
    "Qwen3 14B": (14_768_307_200, samples.QWEN3_14B),
    "Mixtral 8x7B": (46_702_792_704, samples.MIXTRAL_8X7B),
    "DeepSeek V2 Lite": (15_706_484_224, samples.DEEPSEEK_V2_LITE),
    "gpt-oss 20B": (20_914_757_184, samples.GPT_OSS_20B),
    "Qwen1.5 MoE A2.7B": (14_315_784_192, decoder(
        "Qwen2MoeForCausalLM", "qwen2_moe", 2048, 5632, 24, 16, 16, 151936, 8192, num_experts=60,
        num_experts_per_tok=4, moe_intermediate_size=1408, shared_expert_intermediate_size=5632, decoder_sparse_step=1,
    )),
    "Qwen3 30B A3B": (30_532_122_624, decoder(
        "Qwen3MoeForCausalLM", "qwen3_moe", 2048, 6144, 48, 32, 4, 151936, 40960, head_dim=128, num_experts=128,
        num_experts_per_tok=8, moe_intermediate_size=768, decoder_sparse_step=1, mlp_only_layers=[],
    )),
    "Qwen3 Next 80B A3B": (79_674_391_296, decoder(
        "Qwen3NextForCausalLM", "qwen3_next", 2048, 5120, 48, 16, 2, 151936, 262144, head_dim=256, num_experts=512,
        num_experts_per_tok=10, moe_intermediate_size=512, shared_expert_intermediate_size=512,
        linear_num_key_heads=16, linear_num_value_heads=32, linear_key_head_dim=128, linear_value_head_dim=128,
        linear_conv_kernel_dim=4, full_attention_interval=4, decoder_sparse_step=1,
    )),
    "DeepSeek V3, without its draft layer": (671_026_419_200, decoder(
        "DeepseekV3ForCausalLM", "deepseek_v3", 7168, 18432, 61, 128, 128, 129280, 163840, moe_intermediate_size=2048,
        kv_lora_rank=512, q_lora_rank=1536, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128,
        n_routed_experts=256, n_shared_experts=1, num_experts_per_tok=8, first_k_dense_replace=3,
        topk_method="noaux_tc",
    )),
    "GLM 4.5 Air, without its draft layer": (106_852_251_264, decoder(
        "Glm4MoeForCausalLM", "glm4_moe", 4096, 10944, 46, 96, 8, 151552, 131072, head_dim=128, attention_bias=True,
        n_routed_experts=128, n_shared_experts=1, moe_intermediate_size=1408, first_k_dense_replace=1,
        num_experts_per_tok=8,
    )),
    "GLM 4 9B": (9_400_279_040, decoder(
        "Glm4ForCausalLM", "glm4", 4096, 13696, 40, 32, 2, 151552, 32768, head_dim=128, attention_bias=True,
    )),
    "Llama 4 Scout, the text model": (107_769_861_120, decoder(
        "Llama4ForCausalLM", "llama4_text", 5120, 8192, 48, 40, 8, 202048, 10485760, head_dim=128,
        intermediate_size_mlp=16384, num_local_experts=16, num_experts_per_tok=1, interleave_moe_layer_step=1,
    )),
    "Granite 3 8B": (8_170_848_256, decoder(
        "GraniteForCausalLM", "granite", 4096, 12800, 40, 32, 8, 49155, 4096, tie_word_embeddings=True,
    )),
    "EXAONE 4 1.2B": (1_279_391_488, decoder(
        "Exaone4ForCausalLM", "exaone4", 2048, 4096, 30, 32, 8, 102400, 65536, head_dim=64, tie_word_embeddings=True,
    )),
    "OLMo 2 7B": (7_298_617_344, decoder("Olmo2ForCausalLM", "olmo2", 4096, 11008, 32, 32, 32, 100352, 4096)),
    "OLMoE 1B 7B": (6_919_161_856, decoder(
        "OlmoeForCausalLM", "olmoe", 2048, 1024, 16, 16, 16, 50304, 4096, num_experts=64, num_experts_per_tok=8,
    )),
    "Phi 3 mini": (3_821_079_552, decoder("Phi3ForCausalLM", "phi3", 3072, 8192, 32, 32, 32, 32064, 4096)),
    "Gemma 7B": (8_537_680_896, decoder(
        "GemmaForCausalLM", "gemma", 3072, 24576, 28, 16, 16, 256000, 8192, head_dim=256,
        tie_word_embeddings=FAMILY_DEFAULT,
    )),
    "Gemma 2 9B": (9_241_705_984, decoder(
        "Gemma2ForCausalLM", "gemma2", 3584, 14336, 42, 16, 8, 256000, 8192, head_dim=256, sliding_window=4096,
        tie_word_embeddings=FAMILY_DEFAULT,
    )),
    "Gemma 3 1B": (999_885_952, decoder(
        "Gemma3ForCausalLM", "gemma3_text", 1152, 6912, 26, 4, 1, 262144, 32768, head_dim=256, sliding_window=512,
        sliding_window_pattern=6, tie_word_embeddings=FAMILY_DEFAULT,
    )),
    "Command R": (34_980_831_232, decoder(
        "CohereForCausalLM", "cohere", 8192, 22528, 40, 64, 64, 256000, 131072, tie_word_embeddings=FAMILY_DEFAULT,
    )),
    "Command R7B": (8_028_033_024, decoder(
        "Cohere2ForCausalLM", "cohere2", 4096, 14336, 32, 32, 8, 256000, 132096, head_dim=128, sliding_window=4096,
        tie_word_embeddings=FAMILY_DEFAULT,
    )),
    "StarCoder 2 7B": (7_173_923_840, decoder(
        "Starcoder2ForCausalLM", "starcoder2", 4608, 18432, 32, 36, 4, 49152, 16384, tie_word_embeddings=True,
    )),
    "GPT-2": (124_439_808, config(
        "GPT2LMHeadModel", "gpt2", n_embd=768, n_layer=12, n_head=12, n_positions=1024, vocab_size=50257,
    )),
    "OPT 125M": (125_239_296, config(
        "OPTForCausalLM", "opt", hidden_size=768, ffn_dim=3072, num_hidden_layers=12, num_attention_heads=12,
        max_position_embeddings=2048, vocab_size=50272,
    )),
    "Pythia 1.4B": (1_414_647_808, config(
        "GPTNeoXForCausalLM", "gpt_neox", hidden_size=2048, intermediate_size=8192, num_hidden_layers=24,
        num_attention_heads=16, vocab_size=50304, max_position_embeddings=2048,
    )),
    "Mamba 130M": (129_135_360, config(
        "MambaForCausalLM", "mamba", hidden_size=768, num_hidden_layers=24, state_size=16, expand=2,
        intermediate_size=1536, conv_kernel=4, time_step_rank=48, vocab_size=50280, tie_word_embeddings=True,
    )),
    "LFM2 1.2B": (1_170_340_608, config(
        "Lfm2ForCausalLM", "lfm2", hidden_size=2048, intermediate_size=8192, num_hidden_layers=16,
        num_attention_heads=32, num_key_value_heads=8, vocab_size=65536, conv_L_cache=3, conv_dim=2048,
        layer_types=["full_attention" if i in {2, 5, 8, 10, 12, 14} else "conv" for i in range(16)],
        max_position_embeddings=128000, tie_word_embeddings=True,
    )),
}  # fmt: skip


@pytest.mark.parametrize("model", PUBLISHED)
def test_the_tensors_add_up_to_the_published_number_of_parameters(model: str) -> None:
    published, config_json = PUBLISHED[model]
    sizes = {"BF16": 2, "F32": 4}
    assert sum(size // sizes[dtype] for dtype, size in shape_from_config(config_json).bytes_by_dtype) == published
