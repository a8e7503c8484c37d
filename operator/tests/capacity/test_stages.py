"""What stands on the first, the last and every pipeline stage; tables, experts, draft layers, and names of tensors."""

from __future__ import annotations

from typing import Any

import pytest

from triton_vllm_operator.capacity import ModelShape, ShapeError, TensorInfo, shape_from_config
from triton_vllm_operator.capacity.model.config import ModelConfig
from triton_vllm_operator.capacity.model.encoders import encoder_bytes
from triton_vllm_operator.capacity.model.from_config import derive_shape
from triton_vllm_operator.capacity.model.shape import CacheShape, ExpertShape, VocabTable, WeightPart
from triton_vllm_operator.capacity.model.sharding import HeadLayout, as_served, group_of, rule_of, sort_tensors

from .samples import Config
from .test_layers import DELTA, EXPERTS, LATENT, small

HEADS = HeadLayout(attention_heads=4, kv_heads=2, head_size=16)


def ends(model: Config) -> dict[str, int]:
    """Bytes by stage and group, as `first norms`, without what is empty."""
    shape = derive_shape(model)
    stages = {"first": shape.first_stage, "last": shape.last_stage, "every": shape.every_stage}
    found = {f"{stage} {part.group}": part.size_bytes for stage, parts in stages.items() for part in parts}
    return {name: size for name, size in found.items() if size}


ROTARY = 2 * 1024 * 16
"""Bytes of the rotary table: 1,024 positions of a head of 16 elements in 16 bits."""
LINEAR: Config = {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (small("LlamaForCausalLM", "llama"), {"last norms": 128, "every rotary": ROTARY}),
        (small("LlamaForCausalLM", "llama", **LINEAR), {"last norms": 128, "every rotary": 2 * ROTARY}),
        (small("LlamaForCausalLM", "llama", partial_rotary_factor=0.5),
         {"last norms": 128, "every rotary": ROTARY // 2}),
        (small("MixtralForCausalLM", "mixtral"), {"every norms": 128, "every rotary": ROTARY}),
        (small("GptOssForCausalLM", "gpt_oss"), {"every norms": 128, "every rotary": 2 * ROTARY}),  # in 32 bits
        (small("GPTJForCausalLM", "gptj"), {"every norms": 256, "every rotary": ROTARY}),
        (small("PhiForCausalLM", "phi"), {"last norms": 256, "every frequencies": 16 * 4}),
        (small("BloomForCausalLM", "bloom"), {"last norms": 256}),  # with a bias, and without rotary embedding
        (small("GPT2LMHeadModel", "gpt2"), {"every norms": 256, "every other": 2 * 1024 * 64}),  # learned positions
        (small("OPTForCausalLM", "opt"), {"every norms": 256, "every other": 2 * 1026 * 64}),
        (small("GPTNeoXForCausalLM", "gpt_neox"), {"last norms": 256, "every frequencies": 16 * 4}),
        (small("Olmo3ForCausalLM", "olmo3"), {"last norms": 128, "every frequencies": 2 * 16 * 4}),
        (small("GemmaForCausalLM", "gemma"), {"every norms": 128, "every rotary": ROTARY, "every normalizer": 2}),
        (small("Gemma3ForCausalLM", "gemma3_text", **LINEAR),
         {"every norms": 128, "every normalizer": 2, "every rotary-full": 2 * ROTARY, "every rotary-sliding": ROTARY}),
        (small("MambaForCausalLM", "mamba"), {"every norms": 128}),
        (small("LlamaForCausalLM", "llama", vision_config={"width": 8}),
         {"last norms": 128, "every rotary": ROTARY, "every vision": 2 * (8 * 3 * 14 * 14 + 8 * 64 + 64 * 64)}),
    ],
)  # fmt: skip
def test_what_stands_outside_the_layers(model: Config, expected: dict[str, int]) -> None:
    assert ends(model) == expected


def test_sliding_layers_rotate_over_the_length_without_scaling() -> None:
    model = small("Gemma3ForCausalLM", "gemma3_text")
    del model["max_position_embeddings"]
    assert ends(model)["every rotary-sliding"] == 2 * 8192 * 16
    assert "every rotary-full" not in ends(model)


@pytest.mark.parametrize(
    ("model", "embedding", "output", "everywhere"),
    [
        (small("LlamaForCausalLM", "llama"), VocabTable(512, 128), VocabTable(512, 128), False),
        (small("LlamaForCausalLM", "llama", tie_word_embeddings=True), VocabTable(512, 128), None, False),
        (small("MixtralForCausalLM", "mixtral"), VocabTable(512, 128), VocabTable(512, 128), True),
        (small("PhiMoEForCausalLM", "phimoe"), VocabTable(512, 128), VocabTable(512, 130), True),  # a bias per row
    ],
)
def test_the_tables_of_the_vocabulary(
    model: Config, embedding: VocabTable, output: VocabTable | None, everywhere: bool
) -> None:
    shape = derive_shape(model)
    assert (shape.embedding, shape.output, shape.tables_on_every_stage) == (embedding, output, everywhere)


def test_headers_without_a_table_get_one_of_the_vocabulary() -> None:
    tensors = [TensorInfo(f"model.layers.{i}.mlp.up_proj.weight", "BF16", (4, 4)) for i in range(4)]
    shape = derive_shape(small("LlamaForCausalLM", "llama"), tensors)
    assert (shape.embedding, shape.output, shape.weights_source) == (VocabTable(512, 128), None, "safetensors")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"num_experts": 0}, None),
        ({"num_experts": 1}, None),
        ({"num_experts": 2}, ExpertShape(2, 0, 96)),
        ({"moe_num_experts": 8, "moe_k": 1, "moe_intermediate_size": 24}, ExpertShape(8, 1, 24)),
        ({"n_routed_experts": 8, "moe_topk": 2, "expert_ffn_hidden_size": 24}, ExpertShape(8, 2, 24)),
        ({"num_local_experts": 8, "moe_top_k": 3}, ExpertShape(8, 3, 96)),
        ({"num_experts": 8, "num_experts_per_tok": 4}, ExpertShape(8, 4, 96)),
        ({"num_experts": 8, "num_experts_per_token": 5}, ExpertShape(8, 5, 96)),
        ({"num_experts": 8, "top_k_experts": 6}, ExpertShape(8, 6, 96)),
        ({"num_experts": 8, "num_experts_per_tok": 0}, ExpertShape(8, 0, 96)),
    ],
)
def test_the_experts_of_a_model(fields: dict[str, Any], expected: ExpertShape | None) -> None:
    assert derive_shape(small("LlamaForCausalLM", "llama", **fields)).experts == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "EEEE"),
        ({"first_k_dense_replace": 2}, "DDEE"),
        ({"first_k_dense_replace": 0}, "EEEE"),
        ({"mlp_only_layers": [0, 3]}, "DEED"),
        ({"moe_layer_freq": [0, 1, 0]}, "DEDD"),
        ({"decoder_sparse_step": 2}, "DEDE"),
        ({"interleave_moe_layer_step": 2}, "DEDE"),
        ({"interleave_moe_layer_step": 3, "decoder_sparse_step": 2}, "DDED"),
        ({"expert_layer_period": 2}, "EDED"),
        ({"expert_layer_period": 2, "expert_layer_offset": 1}, "DEDE"),
        ({"first_k_dense_replace": 1, "decoder_sparse_step": 3, "mlp_only_layers": [2]}, "DDDD"),
    ],
)
def test_which_layers_have_experts(fields: dict[str, Any], expected: str) -> None:
    layers = derive_shape(small("LlamaForCausalLM", "llama", num_experts=8, **fields)).layers
    assert "".join("E" if any(part.expert for part in layer.weights) else "D" for layer in layers) == expected


def test_a_pattern_says_which_layers_are_feed_forward_and_which_are_experts() -> None:
    model = small("NemotronHForCausalLM", "nemotron_h", hybrid_override_pattern="-E**", num_local_experts=8)
    groups = [{part.group for part in layer.weights} for layer in derive_shape(model).layers]
    assert groups == [{"norms", "mlp"}, {"norms", "mlp", "experts"}, *[{"norms", "attention", "scales"}] * 2]


@pytest.mark.parametrize(
    ("fields", "width"),
    [
        ({}, 0),
        ({"shared_expert_intermediate_size": 40}, 40),
        ({"shared_intermediate_size": 40}, 40),
        ({"shared_expert_intermediate_size": 0, "n_shared_experts": 2}, 0),
        ({"n_shared_experts": 2}, 48),
        ({"num_shared_experts": 3}, 72),
        ({"moe_num_shared_experts": 1}, 24),
    ],
)
def test_the_width_of_shared_experts(fields: dict[str, Any], width: int) -> None:
    model = small("Qwen3MoeForCausalLM", "qwen3_moe", **EXPERTS, **fields)
    parts = derive_shape(model).layers[0].weights
    assert sum(part.size_bytes for part in parts if (part.group, part.shards) == ("mlp", 0)) == 2 * 3 * width * 64


def drafts(**fields: Any) -> tuple[int, set[CacheShape]]:
    """Number of draft layers, and their caches."""
    layers = derive_shape(small(**fields)).draft_layers
    return len(layers), {cache for layer in layers for cache in layer.caches}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model_type": "llama"}, (0, set())),
        ({"model_type": "llama", "num_nextn_predict_layers": 0}, (0, set())),
        ({"model_type": "llama", "num_nextn_predict_layers": 2}, (2, {CacheShape("full", 2, 16, 16)})),
        ({"model_type": "llama", "mtp_num_hidden_layers": 64}, (64, {CacheShape("full", 2, 16, 16)})),
        ({"model_type": "llama", "num_nextn_predict_layers": 1, "sliding_window": 8}, (0, set())),
        ({"model_type": "qwen3_next", "num_nextn_predict_layers": 1, **DELTA}, (1, {CacheShape("full", 2, 16, 16)})),
        ({"model_type": "deepseek_v3", "num_nextn_predict_layers": 1, **LATENT}, (1, {CacheShape("mla", 1, 40)})),
    ],
)
def test_the_draft_layers_that_a_checkpoint_carries(
    fields: dict[str, Any], expected: tuple[int, set[CacheShape]]
) -> None:
    assert drafts(architecture="LlamaForCausalLM", **fields) == expected


def test_a_draft_layer_weighs_what_its_headers_say_or_as_much_as_the_last_layer() -> None:
    model = small("LlamaForCausalLM", "llama", 2, num_nextn_predict_layers=1)
    tensors = [TensorInfo(f"model.layers.{i}.mlp.up_proj.weight", "BF16", (4, 4 + i)) for i in range(3)]
    [with_own] = derive_shape(model, tensors).draft_layers
    [like_the_last] = derive_shape(model, tensors[:2]).draft_layers
    assert with_own.weights == (WeightPart("mlp", 0, 2 * 4 * 6),)
    assert like_the_last.weights == (WeightPart("mlp", 0, 2 * 4 * 5),)
    with pytest.raises(ShapeError):
        derive_shape({**model, "num_nextn_predict_layers": 65})


@pytest.mark.parametrize(
    ("architecture", "model_type", "reason"),
    [
        ("LlamaForCausalLM", "llama", ""),
        ("Qwen3_5ForConditionalGeneration", "qwen3", "ArchitectureUnknown"),
        ("GPT2LMHeadModel", "gpt2", ""),
        ("DeepSeekMTP", "deepseek_v2", "ArchitectureUnknown"),
        ("LlamaModel", "llama", "ArchitectureUnknown"),  # a decoder, although the engine can embed with it
        ("LlamaForSequenceClassification", "llama", "PoolingNotPlanned"),
        ("LlamaForTokenClassification", "llama", "PoolingNotPlanned"),
        ("BertModel", "bert", "PoolingNotPlanned"),
        ("BertForMaskedLM", "llama", "PoolingNotPlanned"),
        ("BertForSequenceClassification", "bert", "PoolingNotPlanned"),
        ("T5Model", "t5", "NotACausalModel"),
        ("SomethingForMaskedLM", "llama", "NotACausalModel"),
        ("SomethingElse", "llama", "ArchitectureUnknown"),
    ],
)
def test_which_architectures_are_planned(architecture: str, model_type: str, reason: str) -> None:
    model = small(architecture, model_type)
    if not reason:
        assert isinstance(shape_from_config(model), ModelShape)
        return
    with pytest.raises(ShapeError) as caught:
        shape_from_config(model)
    assert caught.value.reason == reason
    assert architecture in str(caught.value)


LAYER = "model.layers.0."


@pytest.mark.parametrize(
    ("name", "rule", "group"),
    [
        (f"{LAYER}self_attn.qkv_proj.weight", "fused_qkv", "attention"),
        (f"{LAYER}self_attn.q_norm.weight", "replicated", "norms"),
        (f"{LAYER}self_attn.k_proj.k_scale", "skip", "attention"),
        (f"{LAYER}self_attn.v_proj.v_scale", "skip", "attention"),
        (f"{LAYER}self_attn.sinks", "any", "attention"),
        (f"{LAYER}mlp.down_proj.weight_shape", "skip", "mlp"),
        (f"{LAYER}mlp.down_proj.weight_packed", "any", "mlp"),
        (f"{LAYER}mlp.down_proj.bias", "replicated", "mlp"),
        (f"{LAYER}mlp.experts.0.w2.bias", "replicated", "experts"),
        (f"{LAYER}mlp.experts.0.w2.weight", "any", "experts"),
        (f"{LAYER}mlp.experts.gate_up_proj_bias", "any", "experts"),
        (f"{LAYER}block_sparse_moe.experts.0.w1.weight", "any", "experts"),
        (f"{LAYER}block_sparse_moe.gate.weight", "replicated", "mlp"),
        (f"{LAYER}mlp.shared_expert.down_proj.weight", "any", "mlp"),
        (f"{LAYER}feed_forward.w1.weight", "any", "mlp"),
        (f"{LAYER}ffn.w3.weight", "any", "mlp"),
        (f"{LAYER}fc1.weight", "any", "mlp"),
        (f"{LAYER}attention.dense.weight", "any", "attention"),
        (f"{LAYER}mixer.in_proj.weight", "mamba_groups", "state"),
        (f"{LAYER}ssm.conv1d.bias", "mamba_groups", "state"),
        (f"{LAYER}mamba.norm.weight", "any", "norms"),
        (f"{LAYER}mamba.A_log", "any", "state"),
        (f"{LAYER}post_norm.bias", "replicated", "norms"),
        ("model.norm.weight", "replicated", "norms"),
        ("model.rotary_emb.inv_freq", "skip", "other"),
        (f"{LAYER}attn.masked_bias", "skip", "attention"),
        (f"{LAYER}self_attn.rotary_emb.weight", "skip", "attention"),
        ("transformer.wte.weight", "vocab", "other"),
        ("embed_out.weight", "output", "other"),
        ("visual.merger.weight", "replicated", "vision"),
        ("visual.patch.image.weight", "replicated", "vision"),
        ("weight", "replicated", "other"),
        ("norm", "replicated", "other"),
    ],
)
def test_the_cut_and_the_group_of_a_tensor(name: str, rule: str, group: str) -> None:
    assert (rule_of(name), group_of(name)) == (rule, group)


@pytest.mark.parametrize(
    ("name", "dtype", "router_bytes", "served"),
    [
        (f"{LAYER}mlp.up_proj.weight", "F32", 0, "BF16"),
        (f"{LAYER}mlp.up_proj.weight", "F64", 0, "BF16"),
        (f"{LAYER}mlp.up_proj.bias", "F32", 0, "BF16"),
        (f"{LAYER}mlp.up_proj.weight", "F16", 0, "F16"),
        (f"{LAYER}mlp.up_proj.weight_scale", "F32", 0, "F32"),
        (f"{LAYER}mamba.D", "F32", 0, "BF16"),
        (f"{LAYER}mamba.A_log", "F32", 0, "F32"),
        (f"{LAYER}mamba.A", "F32", 0, "F32"),
        (f"{LAYER}mamba.A_log", "BF16", 0, "F32"),
        (f"{LAYER}mlp.gate.e_score_correction_bias", "BF16", 0, "F32"),
        (f"{LAYER}adapter.A.weight", "BF16", 0, "BF16"),
        (f"{LAYER}mlp.gate.e_score_correction_bias", "F32", 0, "F32"),
        (f"{LAYER}mlp.gate.weight", "BF16", 0, "BF16"),
        (f"{LAYER}mlp.gate.weight", "BF16", 4, "F32"),
        (f"{LAYER}mlp.up_proj.weight", "BF16", 4, "BF16"),
    ],
)
def test_the_dtype_in_which_the_engine_keeps_a_tensor(name: str, dtype: str, router_bytes: int, served: str) -> None:
    heads = HeadLayout(4, 2, 16, router_bytes=router_bytes)
    assert as_served(TensorInfo(name, dtype, (4, 4)), heads) == TensorInfo(name, served, (4, 4))


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("model.embed_positions.weight", "first"),
        ("transformer.wpe.weight", "first"),
        ("vision_tower.layers.0.mlp.fc1.weight", "every"),
        ("visual.blocks.0.weight", "every"),
        ("audio_tower.conv1.weight", "every"),
        ("multi_modal_projector.linear.weight", "every"),
        ("mm_projector.linear.weight", "every"),
        ("image_newline", "every"),
        ("model.norm.weight", "last"),
        ("score.weight", "last"),
    ],
)
def test_the_stage_of_a_tensor_outside_the_layers(name: str, stage: str) -> None:
    result = sort_tensors([TensorInfo(name, "BF16", (4, 4))], HEADS, tied=False)
    found = {"first": result.first_stage, "last": result.last_stage, "every": result.every_stage}
    assert {where: sum(part.size_bytes for part in parts) for where, parts in found.items() if parts} == {stage: 32}


def test_a_scalar_is_on_every_rank() -> None:
    tensors = [TensorInfo(f"{LAYER}mlp.up_proj.input_scale", "F32", shape) for shape in ((), (1,), (1, 1))]
    assert sort_tensors(tensors, HEADS, tied=False).layers[0] == [WeightPart("mlp", 1, 12)]


@pytest.mark.parametrize(
    ("block", "text_width", "elements"),
    [
        ({}, 64, 0),
        ({"hidden_size": 8}, 64, 8 * 3 * 14 * 14 + 8 * 64 + 64 * 64),
        ({"embed_dim": 8, "patch_size": 2, "in_channels": 1}, 64, 8 * 4 + 8 * 64 + 64 * 64),
        ({"width": 8, "patch_size": 2, "num_channels": 1, "temporal_patch_size": 3}, 64, 8 * 12 + 8 * 64 + 64 * 64),
        ({"width": 8, "patch_size": 2, "out_hidden_size": 16}, 64, 8 * 12 + 8 * 16 + 16 * 16),
        ({"width": 8, "patch_size": 2, "spatial_merge_size": 2}, 64, 8 * 12 + 32 * 32 + 32 * 64),
        ({"width": 8, "patch_size": 2, "image_size": 7}, 64, 8 * (12 + 9) + 8 * 64 + 64 * 64),
        ({"width": 8, "patch_size": 2, "image_size": 7, "num_position_embeddings": 5}, 64,
         8 * (12 + 5) + 8 * 64 + 64 * 64),
        ({"width": 8, "patch_size": 0, "image_size": 3}, 64, 8 * 9 + 8 * 64 + 64 * 64),
        ({"width": 8, "image_size": 30}, 64, 8 * (3 * 14 * 14 + 4) + 8 * 64 + 64 * 64),
        ({"width": 8, "patch_size": 2, "depth": 3}, 64,
         3 * (4 * 8 * 8 + 2 * 8 * 32) + 8 * 12 + 8 * 64 + 64 * 64),
        ({"width": 8, "patch_size": 2, "num_hidden_layers": 3, "mlp_ratio": 2.5}, 64,
         3 * (4 * 8 * 8 + 2 * 8 * 20) + 8 * 12 + 8 * 64 + 64 * 64),
        ({"width": 8, "patch_size": 2, "layers": 1, "intermediate_size": 12, "hidden_act": "silu"}, 64,
         4 * 8 * 8 + 3 * 8 * 12 + 8 * 12 + 8 * 64 + 64 * 64),
    ],
)  # fmt: skip
def test_the_size_of_an_image_encoder(block: dict[str, Any], text_width: int, elements: int) -> None:
    view = ModelConfig.parse({"hidden_size": text_width, "vision_config": block})
    assert encoder_bytes(view) == 2 * elements


@pytest.mark.parametrize(
    ("block", "elements"),
    [
        ({"hidden_size": 8}, 8 * 64),
        ({"d_model": 8, "encoder_layers": 2, "encoder_ffn_dim": 12}, 2 * (4 * 8 * 8 + 2 * 8 * 12) + 8 * 64),
    ],
)
def test_the_size_of_an_audio_encoder(block: dict[str, Any], elements: int) -> None:
    assert encoder_bytes(ModelConfig.parse({"hidden_size": 64, "audio_config": block})) == 2 * elements


@pytest.mark.parametrize(
    "block",
    [
        {"width": 2**20 + 1},
        {"width": 8, "depth": 4097},
        {"width": 8, "mlp_ratio": 65.0},
        {"width": 8, "image_size": 65537},
        {"width": -1},
    ],
)
def test_a_size_that_no_encoder_has_is_refused(block: dict[str, Any]) -> None:
    with pytest.raises(ShapeError):
        encoder_bytes(ModelConfig.parse({"hidden_size": 64, "vision_config": block}))


def test_the_largest_sizes_of_an_encoder_are_read() -> None:
    block = {"width": 2**20, "depth": 4096, "mlp_ratio": 64.0, "image_size": 65536}
    assert encoder_bytes(ModelConfig.parse({"hidden_size": 64, "vision_config": block})) > 0


def test_shapes_with_groups_cut_the_rows_of_the_groups_only() -> None:
    heads = HeadLayout(4, 2, 16, mamba_groups=4, mamba_group_rows=8)
    tensors = [TensorInfo(f"{LAYER}mamba.conv1d.weight", "BF16", (24, 1, 4))]
    assert sort_tensors(tensors, heads, tied=False).layers[0] == [
        WeightPart("state", 0, 2 * 16 * 4), WeightPart("state", 4, 2 * 8 * 4),
    ]  # fmt: skip
    narrow = [TensorInfo(f"{LAYER}mamba.conv1d.weight", "BF16", (8, 1, 4))]
    assert sort_tensors(narrow, heads, tied=False).layers[0] == [WeightPart("state", 0, 64)]
