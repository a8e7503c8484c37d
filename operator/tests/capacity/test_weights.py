"""Bytes of weights on a rank, by the rules of the engine's layers."""

from __future__ import annotations

import pytest

from triton_vllm_operator.capacity import TensorInfo, shape_from_config
from triton_vllm_operator.capacity.memory.weights import Parallelism, part_bytes, stage_weights, table_bytes
from triton_vllm_operator.capacity.model.shape import VocabTable, WeightPart
from triton_vllm_operator.capacity.model.sharding import HeadLayout, layer_index, parts_of, rule_of, sort_tensors

from . import samples
from .samples import Config

GIB = 2**30
HEADS = HeadLayout(attention_heads=32, kv_heads=8, head_size=128)


@pytest.mark.parametrize(
    ("config", "tp", "expected_gib"),
    [
        pytest.param(samples.LLAMA_3_8B, 1, 14.96, id="K01"),
        pytest.param(samples.LLAMA_3_8B, 2, 7.48, id="half"),
        pytest.param(samples.LLAMA_31_8B, 1, 14.9888, id="longer rotary table"),
    ],
)
def test_loaded_weights_of_logged_runs(config: Config, tp: int, expected_gib: float) -> None:
    found = stage_weights(shape_from_config(config), Parallelism(tp))
    assert max(found) / GIB == pytest.approx(expected_gib, rel=0.002)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("model.layers.0.self_attn.q_proj.weight", "any"),
        ("model.layers.0.self_attn.k_proj.weight", "kv"),
        ("model.layers.0.self_attn.v_proj.bias", "kv"),
        ("model.layers.0.self_attn.qkv_proj.weight", "fused_qkv"),
        ("model.layers.0.self_attn.o_proj.weight", "any"),
        ("model.layers.0.self_attn.o_proj.bias", "replicated"),
        ("model.layers.0.mlp.down_proj.qweight", "any"),
        ("model.layers.0.mlp.down_proj.g_idx", "replicated"),
        ("model.layers.0.input_layernorm.weight", "replicated"),
        ("model.layers.0.self_attn.kv_a_proj_with_mqa.weight", "replicated"),
        ("model.layers.0.self_attn.kv_b_proj.weight", "any"),
        ("model.layers.0.mlp.gate.weight", "replicated"),
        ("model.layers.0.mlp.experts.7.down_proj.weight", "any"),
        ("model.layers.0.mlp.experts.down_proj_bias", "replicated"),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", "skip"),
        ("model.layers.0.linear_attn.g_proj.weight", "any"),
        ("model.layers.0.linear_attn.k_conv1d.weight", "any"),
        ("model.layers.0.self_attn.f_a_proj.weight", "replicated"),
        ("model.layers.0.self_attn.f_b_proj.weight", "any"),
        ("model.layers.0.laurel.linear_left.weight", "any"),
        ("model.altup_projections.0.weight", "any"),
        ("model.layers.6.shared_transformer.feed_forward.gate_up_proj_adapter_list.0.1.weight", "any"),
        ("vision_tower.encoder.layer.0.attention.q_proj.weight", "replicated"),
        ("vision_tower.encoder.layer.0.mlp.fc1.weight", "any"),
        ("vision_tower.transformer.layers.0.attention.q_proj.weight", "any"),
        ("model.embed_tokens.weight", "vocab"),
        ("lm_head.weight", "output"),
        ("transformer.h.0.attn.c_attn.weight", "fused_qkv"),
    ],
)
def test_each_tensor_is_cut_as_its_layer_is(name: str, rule: str) -> None:
    assert rule_of(name) == rule


@pytest.mark.parametrize(
    ("part", "tp", "expected"),
    [
        (WeightPart("mlp", 0, 1000), 4, 250),
        (WeightPart("norms", 1, 1000), 4, 1000),
        (WeightPart("attention", 8, 800), 4, 200),
        (WeightPart("attention", 2, 800), 8, 400),  # two KV heads on eight ranks: each rank keeps one
    ],
)
def test_a_part_is_shared_by_its_number_of_pieces(part: WeightPart, tp: int, expected: int) -> None:
    assert part_bytes(part, Parallelism(tp)) == expected


def test_expert_parallel_ranks_hold_whole_experts() -> None:
    part = WeightPart("experts", 0, 6000, expert=True)
    assert part_bytes(part, Parallelism(4, expert=True), experts=6) == 2000
    assert part_bytes(part, Parallelism(4), experts=6) == 1500


def test_a_fused_projection_is_part_query_and_part_kv() -> None:
    tensor = TensorInfo("model.layers.0.self_attn.qkv_proj.weight", "BF16", (48 * 128, 4096))
    query, kv = parts_of(tensor, "fused_qkv", HEADS)
    assert (query.shards, kv.shards) == (0, 8)
    assert query.size_bytes == 2 * kv.size_bytes


def test_vocabularies_are_padded_before_they_are_cut() -> None:
    assert table_bytes(VocabTable(32001, 8192), 2) == 32064 // 2 * 8192


def test_an_untied_output_table_counts_and_a_tied_one_does_not() -> None:
    untied = shape_from_config(samples.LLAMA_3_8B)
    tied = shape_from_config({**samples.LLAMA_3_8B, "tie_word_embeddings": True})
    difference = stage_weights(untied, Parallelism())[0] - stage_weights(tied, Parallelism())[0]
    assert difference == 128256 * 4096 * 2


def test_tables_stand_on_the_first_and_the_last_stage() -> None:
    shape = shape_from_config(samples.LLAMA_3_8B)
    first, middle, last = stage_weights(shape, Parallelism(pipeline=3, partition=(10, 10, 12)))
    table = 128256 * 4096 * 2
    assert first - middle == table
    assert last - middle > table


def test_thirty_two_bit_weights_are_served_in_sixteen() -> None:
    wide = [TensorInfo("model.layers.0.mlp.up_proj.weight", "F32", (64, 64)),
            TensorInfo("model.layers.0.mlp.up_proj.weight_scale", "F32", (64, 1))]  # fmt: skip
    parts = sort_tensors(wide, HEADS, tied=False).layers[0]
    assert sum(part.size_bytes for part in parts) == 64 * 64 * 2 + 64 * 4


def test_a_thousand_shards_of_names_sort_into_layers() -> None:
    assert layer_index("model.layers.17.mlp.experts.255.up_proj.weight") == 17
    assert layer_index("vision_tower.encoder.layers.3.mlp.fc1.weight") is None
    assert layer_index("model.encoder.layers.3.fc1.weight") is None  # an encoder-decoder's: not the decoder's layer 3
    assert layer_index("model.decoder.layers.3.fc1.weight") == 3
    assert layer_index("lm_head.weight") is None


def test_the_encoder_of_images_stands_on_every_stage() -> None:
    tower = TensorInfo("vision_tower.blocks.0.attn.qkv.weight", "BF16", (1000, 1000))
    result = sort_tensors([tower], HEADS, tied=False)
    assert sum(part.size_bytes for part in result.every_stage) == 2_000_000
    assert not result.layers
