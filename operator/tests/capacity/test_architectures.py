"""Only what is proven is planned: the table of architectures, the families and what `config.json` may leave out."""

from typing import Any

import pytest

from tests.capacity.samples import LLAMA_3_8B
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity import EngineSettings, ShapeError, gpu_of_memory, plan, shape_from_config
from triton_vllm_operator.capacity.memory.weights import Parallelism, stage_weights
from triton_vllm_operator.capacity.model.families import find_family
from triton_vllm_operator.catalog.architectures import table

PLANNED = [(name, model_type) for name, proofs in table().planned.items() for model_type in proofs]


def test_every_registered_architecture_is_planned_or_has_a_reason_why_not() -> None:
    assert set(table().planned).isdisjoint(table().unknown)
    assert all(table().unknown.values())
    assert table().registered <= len(table().planned) + len(table().unknown)


@pytest.mark.parametrize(("architecture", "model_type"), PLANNED)
def test_a_planned_model_type_has_a_family(architecture: str, model_type: str) -> None:
    assert find_family(model_type) is not None, architecture


@pytest.mark.parametrize(
    "change",
    [
        {"architectures": ["MadeUpForCausalLM"]},
        {"architectures": ["FooLMHeadModel"]},
        {"model_type": "made_up"},
        {"architectures": ["Qwen2ForCausalLM"]},
        {"architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4"},
        {"architectures": ["KimiLinearForCausalLM"], "model_type": "kimi_k2"},
    ],
)
def test_what_is_not_proven_is_not_planned(change: dict[str, Any]) -> None:
    config = {**LLAMA_3_8B, **change}
    with pytest.raises(ShapeError) as caught:
        shape_from_config(config)
    assert caught.value.reason is Reason.ARCHITECTURE_UNKNOWN
    assert caught.value.unplanned
    assert repr(config["model_type"]) in str(caught.value)
    assert config["architectures"][0] in str(caught.value)


def test_what_the_file_leaves_out_has_the_engines_default() -> None:
    text = {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
            "sliding_window": 1024}  # fmt: skip
    vision = {"hidden_size": 1152, "num_hidden_layers": 27, "intermediate_size": 4304, "patch_size": 14}
    shape = shape_from_config(
        {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": text, "vision_config": vision}
    )
    assert (shape.attention_heads, shape.kv_heads, shape.head_size, shape.vocab_size) == (8, 4, 256, 262208)


WHISPER_TINY = {
    "architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper", "d_model": 384, "dtype": "bfloat16",
}  # fmt: skip


@pytest.mark.parametrize(("ranks", "engine"), [(1, 75_530_624), (2, 58_989_440)])  # by vLLM's class
def test_whispers_encoder_and_its_whole_embedding_table_are_on_each_rank(ranks: int, engine: int) -> None:
    shape = shape_from_config(WHISPER_TINY)
    assert stage_weights(shape, Parallelism(ranks)) == (engine,)
    assert (shape.embedding, shape.weights_incomplete) == (None, "")


def test_a_class_that_the_engine_does_not_cut_has_one_stage() -> None:
    assert not shape_from_config(WHISPER_TINY).pipeline_parallel
    assert shape_from_config(LLAMA_3_8B).pipeline_parallel


def test_a_null_is_a_value() -> None:
    mistral = {**LLAMA_3_8B, "architectures": ["MistralForCausalLM"], "model_type": "mistral"}
    assert {c.kind for layer in shape_from_config(mistral).layers for c in layer.caches} == {"sliding"}
    full = shape_from_config({**mistral, "sliding_window": None})
    assert {c.kind for layer in full.layers for c in layer.caches} == {"full"}


def test_weights_that_config_json_does_not_tell_are_never_promised() -> None:
    proofs = {proof: (name, kind) for name, kinds in table().planned.items() for kind, proof in kinds.items()}
    assert set(proofs) == {"config", "headers"}
    assert plan(shape_from_config(LLAMA_3_8B), EngineSettings(), gpu_of_memory(80)).verdict == "Fits"
