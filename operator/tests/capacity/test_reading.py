"""Untrusted JSON: the error names what is wrong, in bounded time, and nothing is run."""

from __future__ import annotations

import time

import pytest

from triton_vllm_operator.capacity import ModelShape, ShapeError, parse_json_object, shape_from_config

from .samples import LLAMA_3_8B


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "ConfigNotJson"),
        ("[1, 2]", "ConfigNotJson"),
        ('{"a": NaN}', "ConfigNotJson"),
        ('{"a": Infinity}', "ConfigNotJson"),
        ('{"a": 1', "ConfigNotJson"),
        ('{"a": ' + "9" * 5000 + "}", "ConfigNumberTooLarge"),
        ('{"a":' * 200_000 + "1" + "}" * 200_000, "ConfigTooDeep"),
        ('{"a":' * 40 + "1" + "}" * 40, "ConfigTooDeep"),
        ('{"a": [' + "0," * 300_000 + "0]}", "ConfigTooLarge"),
        ('{"a": "' + "x" * (17 * 1024 * 1024) + '"}', "ConfigTooLarge"),
        (b"\xff\xfe{}", "ConfigNotJson"),
    ],
)
def test_damaged_and_hostile_json_is_refused_with_a_reason(text: str | bytes, reason: str) -> None:
    began = time.process_time()
    with pytest.raises(ShapeError) as caught:
        parse_json_object(text, "config.json")
    assert caught.value.reason == reason
    assert len(str(caught.value)) < 400
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("change", "reason", "named"),
    [
        ({"num_hidden_layers": -1}, "ConfigFieldOutOfRange", "num_hidden_layers"),
        ({"num_hidden_layers": 10**9}, "ConfigFieldOutOfRange", "num_hidden_layers"),
        ({"hidden_size": "4096"}, "ConfigFieldWrongType", "hidden_size"),
        ({"hidden_size": True}, "ConfigFieldWrongType", "hidden_size"),
        ({"hidden_size": 4096.5}, "ConfigFieldWrongType", "hidden_size"),
        ({"hidden_size": None}, "ConfigFieldMissing", "hidden_size"),
        ({"vocab_size": 10**18}, "ConfigFieldOutOfRange", "vocab_size"),
        ({"architectures": "LlamaForCausalLM"}, "ConfigFieldWrongType", "architectures"),
        ({"architectures": []}, "ArchitectureMissing", "architecture"),
        ({"architectures": ["LlamaForMaskedLM"]}, "NotACausalModel", "LlamaForMaskedLM"),
        ({"architectures": ["ViTModel"], "model_type": "vit"}, "NotACausalModel", "ViTModel"),
        ({"architectures": ["BertModel"], "model_type": "bert"}, "PoolingNotPlanned", "BertModel"),
        ({"architectures": ["BertForMaskedLM"]}, "PoolingNotPlanned", "BertForMaskedLM"),
        ({"architectures": ["XLMRobertaForSequenceClassification"]}, "PoolingNotPlanned", "XLMRoberta"),
        ({"architectures": ["XLMRobertaModel"], "model_type": "xlm-roberta"}, "PoolingNotPlanned", "XLMRoberta"),
        ({"architectures": ["Qwen3ForSequenceClassification"]}, "PoolingNotPlanned", "Qwen3"),
        ({"architectures": ["SomethingElse"]}, "ArchitectureUnknown", "SomethingElse"),
        ({"model_type": "bert"}, "NotACausalModel", "LlamaForCausalLM"),
        ({"num_key_value_heads": [8] * 32}, "ConfigFieldPerLayer", "num_key_value_heads"),
        ({"hidden_size": [4096, 2048]}, "ConfigFieldPerLayer", "hidden_size"),
        ({"hidden_size": []}, "ConfigFieldWrongType", "hidden_size"),
        ({"intermediate_size": [4096, "x"]}, "ConfigFieldWrongType", "intermediate_size"),
        ({"layer_types": ["full_attention"]}, "ConfigFieldOutOfRange", "layer_types"),
        ({"layer_types": ["quantum"] * 32}, "LayerTypeUnknown", "quantum"),
        ({"layer_types": [["full_attention"]] * 32}, "ConfigFieldWrongType", "layer_types"),
        ({"rope_scaling": "yarn"}, "ConfigFieldWrongType", "rope_scaling"),
        ({"quantization_config": []}, "ConfigFieldWrongType", "quantization_config"),
        ({"tie_word_embeddings": "yes"}, "ConfigFieldWrongType", "tie_word_embeddings"),
    ],
)
def test_a_bad_field_is_named(change: dict[str, object], reason: str, named: str) -> None:
    with pytest.raises(ShapeError) as caught:
        shape_from_config({**LLAMA_3_8B, **change})
    assert caught.value.reason == reason
    assert named in str(caught.value)


def test_of_widths_per_layer_the_largest_counts() -> None:
    widths = [8192] * 31 + [14336]
    assert shape_from_config({**LLAMA_3_8B, "intermediate_size": widths}).intermediate_size == 14336


def test_code_references_are_ignored() -> None:
    referring = {**LLAMA_3_8B, "auto_map": {"AutoModelForCausalLM": "evil--modeling.Evil"}}
    assert shape_from_config(referring) == shape_from_config(LLAMA_3_8B)


def test_the_shape_file_of_an_older_release_is_still_read() -> None:
    shape = shape_from_config(LLAMA_3_8B)
    assert ModelShape.from_json({**shape.to_json(), "trustRemoteCode": True}) == shape
