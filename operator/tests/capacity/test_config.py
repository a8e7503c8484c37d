"""The names that one thing has in the config.json of different families, and what the engine derives from them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from triton_vllm_operator.capacity import ShapeError
from triton_vllm_operator.capacity.model.config import ConfigTraits, ModelConfig
from triton_vllm_operator.capacity.model.from_config import derive_shape

from . import samples


def read(fields: dict[str, Any], **traits: Any) -> ModelConfig:
    """The view of a file with these fields."""
    return replace(ModelConfig.parse(fields), traits=ConfigTraits(**traits))


NAMES: dict[str, tuple[str, ...]] = {
    "hidden_size": ("hidden_size", "n_embd", "d_model", "dim"),
    "layer_count": ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"),
    "vocab_size": ("vocab_size", "padded_vocab_size"),
    "attention_heads": ("num_attention_heads", "n_head", "n_heads", "decoder_attention_heads"),
    "kv_heads": (
        "n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num", "num_attention_groups",
        "num_attention_heads",
    ),
    "intermediate_size": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "decoder_ffn_dim"),
    "head_size": ("head_dim", "hidden_size_per_head", "kv_channels"),
    "max_position": (
        "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_target_positions",
        "max_sequence_length", "max_seq_length", "seq_len", "model_max_length",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("what", "name"), [(what, name) for what, names in NAMES.items() for name in names])
def test_every_name_of_a_size_is_read_from_the_text_model(what: str, name: str) -> None:
    for view in (read({name: 48}), read({"text_config": {name: 48}, name: 7})):
        found = getattr(view, what)
        assert (found() if callable(found) else found) == 48


@pytest.mark.parametrize("what", ["hidden_size", "layer_count", "vocab_size"])
def test_a_size_without_which_nothing_is_planned_must_be_there(what: str) -> None:
    with pytest.raises(ShapeError, match=rf"^config\.json has no '{NAMES[what][0]}', which the planner needs$"):
        getattr(read({}), what)


@pytest.mark.parametrize(
    ("fields", "what", "expected"),
    [
        ({"hidden_size": 64}, "intermediate_size", 256),  # four times the width when nothing is given
        ({"hidden_size": 64, "n_inner": None}, "intermediate_size", 256),
        ({"intermediate_size": 0}, "intermediate_size", 0),
        ({"hidden_size": 64}, "attention_heads", 0),
        ({"num_attention_heads": 0}, "attention_heads", 0),
        ({"hidden_size": 64}, "head_size", 0),
        ({"hidden_size": 64, "n_head": 4}, "head_size", 16),
        ({"hidden_size": 66, "n_head": 4}, "head_size", 16),
        ({"hidden_size": 64, "n_head": 4, "head_dim": 0}, "head_size", 16),
        ({"hidden_size": 64, "n_head": 4, "head_dim": 1}, "head_size", 1),
        ({"num_key_value_heads": 0, "n_head": 4}, "kv_heads", 0),
        ({"attn_config": {"kv_n_heads": 2}, "n_head": 4}, "kv_heads", 2),
        ({"attn_config": {}, "n_head": 4}, "kv_heads", 4),
        ({"text_config": {"n_head": 4}, "vocab_size": 7}, "vocab_size", 7),
        ({"text_config": {"vocab_size": 5}, "vocab_size": 7}, "vocab_size", 5),
        ({"model_type": "outer", "text_config": {"model_type": "inner"}}, "model_type", "inner"),
        ({"model_type": "outer", "text_config": {}}, "model_type", "outer"),
        ({"architectures": ["A", "B"], "text_config": {"architectures": ["C"]}}, "architecture", "A"),
        ({"architectures": [], "text_config": {"architectures": ["C"]}}, "architecture", "C"),
        ({"torch_dtype": "torch.float16"}, "dtype", "float16"),
        ({"dtype": "bfloat16", "torch_dtype": "float16"}, "dtype", "bfloat16"),
        ({"text_config": {"torch_dtype": "float16"}}, "dtype", "float16"),
        ({"torch_dtype": "bfloat16", "text_config": {"torch_dtype": "float16"}}, "dtype", "bfloat16"),
        ({}, "dtype", "float32"),
        ({"tie_word_embeddings": True}, "tied_embeddings", True),
        ({}, "tied_embeddings", False),
        ({"text_config": {"n_head": 4}, "tie_word_embeddings": True}, "tied_embeddings", True),
        ({"text_config": {"tie_word_embeddings": False}, "tie_word_embeddings": True}, "tied_embeddings", True),
        ({}, "sliding_window", None),
        ({"sliding_window": 0}, "sliding_window", None),
        ({"sliding_window": 1}, "sliding_window", 1),
        ({"sliding_window": 8, "use_sliding_window": False}, "sliding_window", None),
        ({"sliding_window": 8, "use_sliding_window": True}, "sliding_window", 8),
        ({"vision_config": {}}, "multimodal", True),
        ({"audio_config": {}}, "multimodal", True),
        ({"llm_config": {}}, "multimodal", True),
        ({"language_config": {}}, "multimodal", True),
        ({"thinker_config": {}}, "multimodal", True),
        ({"hidden_size": 64}, "multimodal", False),
        ({"kv_lora_rank": 32}, "is_mla", False),
    ],
)  # fmt: skip
def test_what_a_file_says(fields: dict[str, Any], what: str, expected: object) -> None:
    assert getattr(read(fields), what) == expected


@pytest.mark.parametrize(
    ("traits", "fields", "what", "expected"),
    [
        ({"mla": True}, {"kv_lora_rank": 32, "qk_rope_head_dim": 8}, "head_size", 40),
        ({"mla": True}, {"kv_lora_rank": 32}, "head_size", 32),
        ({"mla": True}, {"head_dim": 16}, "head_size", 16),
        ({"ties_embeddings": True}, {}, "tied_embeddings", True),
        ({"ties_embeddings": True}, {"tie_word_embeddings": False}, "tied_embeddings", False),
        ({"window_needs_switch": True}, {"sliding_window": 8}, "sliding_window", None),
        ({"window_needs_switch": True}, {"sliding_window": 8, "use_sliding_window": True}, "sliding_window", 8),
        ({"head_size": "own"}, {"own": 24, "head_dim": 16}, "head_size", 24),
        ({"head_size": "own"}, {"head_dim": 16}, "head_size", 16),
        ({"value_head_size": "own"}, {"own": 24, "head_dim": 16}, "value_head_size", 24),
        ({"value_head_size": "own"}, {"head_dim": 16}, "value_head_size", 16),
        ({}, {"own": 24, "head_dim": 16}, "value_head_size", 16),
    ],
)  # fmt: skip
def test_what_a_family_adds(traits: dict[str, Any], fields: dict[str, Any], what: str, expected: object) -> None:
    assert getattr(read(fields, **traits), what) == expected


YARN = {"rope_type": "yarn", "factor": 4.0}


@pytest.mark.parametrize(
    ("fields", "length", "default", "rows"),
    [
        ({}, 2048, None, 0),
        ({"max_position_embeddings": 100}, 100, None, 100),
        ({"max_position_embeddings": 100, "seq_length": 60}, 60, None, 100),  # the shortest of them
        ({"max_position_embeddings": 100, "model_max_length": 300}, 300, None, 100),
        ({"max_position_embeddings": 100, "rope_scaling": {"rope_type": "linear", "factor": 2.5}}, 250, None, 250),
        ({"max_position_embeddings": 100, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, 200, None, 200),
        ({"max_position_embeddings": 100, "rope_scaling": {"type": "dynamic"}}, 100, None, 100),
        ({"max_position_embeddings": 100, "rope_scaling": {"factor": 2.0}}, 200, None, 100),
        ({"max_position_embeddings": 100, "rope_scaling": YARN}, 100, None, 100),
        ({"max_position_embeddings": 100, "rope_scaling": {**YARN, "original_max_position_embeddings": 30}},
         100, None, 120),
        ({"max_position_embeddings": 100, "rope_scaling": {"rope_type": "deepseek_yarn", "factor": 4.0,
          "original_max_position_embeddings": 30}}, 100, None, 120),
        ({"max_position_embeddings": 100, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 100, None, 100),
        ({"max_position_embeddings": 100, "rope_scaling": {"type": "su", "factor": 8.0}}, 100, None, 100),
        ({"max_position_embeddings": 100, "original_max_position_embeddings": 40,
          "rope_scaling": {"rope_type": "longrope"}}, 100, 40, 100),
        ({"max_position_embeddings": 100, "rope_scaling": {"rope_type": "longrope"}}, 100, None, 100),
        ({"max_position_embeddings": 100, "original_max_position_embeddings": 40,
          "rope_scaling": {"rope_type": "llama3"}}, 100, None, 100),
        ({"max_position_embeddings": 100, "rope_parameters": {"rope_type": "linear", "factor": 2.0}}, 200, None, 200),
        ({"max_position_embeddings": 100, "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 3.0},
            "sliding_attention": {"rope_type": "default"}}}, 300, None, 300),
        ({"max_position_embeddings": 2**31, "rope_scaling": {"type": "linear", "factor": 2.0}}, 2**31, None, 2**32),
    ],
)  # fmt: skip
def test_lengths_and_rows_of_the_rotary_table(
    fields: dict[str, Any], length: int, default: int | None, rows: int
) -> None:
    view = read(fields)
    assert (view.max_position(), view.default_max_len(), view.rope_rows()) == (length, default, rows)


def test_a_family_whose_length_includes_the_factor() -> None:
    fields = {"max_position_embeddings": 100, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}
    assert read(fields, rope_extends_length=False).max_position() == 100


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"head_dim": 16}, 16),
        ({"head_dim": 16, "partial_rotary_factor": 0.5}, 8),
        ({"head_dim": 16, "rotary_pct": 0.25}, 4),
        ({"head_dim": 16, "partial_rotary_factor": 0.5, "rotary_pct": 0.25}, 8),
        ({"head_dim": 16, "rope_parameters": {"partial_rotary_factor": 0.25}, "rotary_pct": 0.5}, 4),
        ({"head_dim": 16, "rope_parameters": {"rope_type": "default"}, "rotary_pct": 0.5}, 8),
        ({"head_dim": 16, "qk_rope_head_dim": 6}, 6),
        ({"head_dim": 16, "qk_rope_head_dim": 0}, 0),
    ],
)
def test_the_size_of_the_rotary_embedding(fields: dict[str, Any], expected: int) -> None:
    assert read(fields).rotary_size() == expected


FP8 = {"quant_method": "fp8"}


@pytest.mark.parametrize(
    "fields",
    [
        {"quantization_config": FP8},
        {"compression_config": FP8},
        {"text_config": {"quantization_config": FP8}},
        {"text_config": {"compression_config": FP8}},
        {"quantization_config": FP8, "text_config": {"quantization_config": {"quant_method": "awq"}}},
    ],
)
def test_where_a_quantization_stands(fields: dict[str, Any]) -> None:
    found = read(fields).quantization()
    assert found is not None
    assert found.method == "fp8"
    assert read({}).quantization() is None


def test_a_file_that_is_not_an_object_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"^config\.json must be a JSON object$") as caught:
        derive_shape([])  # type: ignore[arg-type]
    assert caught.value.reason == "ConfigNotJson"


@pytest.mark.parametrize("layers", [1, 4096])
def test_the_number_of_layers_is_limited(layers: int) -> None:
    assert read({"num_hidden_layers": layers}).layer_count == layers
    with pytest.raises(ShapeError):
        _ = read({"num_hidden_layers": 4097}).layer_count


def test_a_model_is_described_as_its_file_says() -> None:
    fields: dict[str, Any] = {"rope_scaling": {"rope_type": "longrope"}, "original_max_position_embeddings": 4096}
    shape = derive_shape({**samples.MISTRAL_7B, "sliding_window": None, "vocab_size": 99, **fields})
    assert (shape.architecture, shape.model_type, shape.dtype) == ("MistralForCausalLM", "mistral", "bfloat16")
    assert (shape.hidden_size, shape.intermediate_size, shape.vocab_size) == (4096, 14336, 99)
    assert (shape.attention_heads, shape.kv_heads, shape.head_size) == (32, 8, 128)
    assert (shape.max_position, shape.default_max_len) == (32768, 4096)
    assert (shape.multimodal, shape.experts, shape.quantization, shape.draft_layers) == (False, None, None, ())
    assert (shape.tables_on_every_stage, shape.weights_source) == (False, "config")
