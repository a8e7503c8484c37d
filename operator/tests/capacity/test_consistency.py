"""A config.json that is not of the checkpoint beside it is reported, with the field and the tensor."""

from typing import Any

import pytest

from tests.capacity.samples import LLAMA_3_8B
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity import ShapeError, TensorInfo, shape_from_config

CONFIG = {**LLAMA_3_8B, "num_hidden_layers": 2}


def tensors(layers: int = 2, hidden: int = 4096, vocab: int = 128256, keys: int = 1024) -> list[TensorInfo]:
    """Headers of a Llama."""
    found = [TensorInfo("model.embed_tokens.weight", "BF16", (vocab, hidden))]
    for layer in range(layers):
        found.append(TensorInfo(f"model.layers.{layer}.self_attn.k_proj.weight", "BF16", (keys, hidden)))
    return found


def test_headers_of_the_same_model_are_planned() -> None:
    assert shape_from_config(CONFIG, tensors()).weights_source == "safetensors"


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"layers": 3}, ("num_hidden_layers is 2", "model.layers.2.self_attn.k_proj.weight")),
        ({"hidden": 2048}, ("hidden_size is 4096", "128256 x 2048")),
        ({"vocab": 32000}, ("vocab_size is 128256", "32000 x 4096")),
        ({"keys": 512}, ("8 K and V heads of size 128", "512 x 4096")),
    ],
)
def test_a_contradiction_names_the_field_and_the_tensor(headers: dict[str, Any], named: tuple[str, ...]) -> None:
    with pytest.raises(ShapeError) as caught:
        shape_from_config(CONFIG, tensors(**headers))
    assert caught.value.reason is Reason.CONFIG_CONTRADICTS_TENSORS
    assert all(part in str(caught.value) for part in named)
    assert not caught.value.unplanned


def test_draft_layers_and_quantized_tensors_contradict_nothing() -> None:
    draft = {**CONFIG, "num_nextn_predict_layers": 1}
    assert shape_from_config(draft, tensors(layers=3)).weights_source == "safetensors"
    packed = [TensorInfo(one.name, "I32", (one.shape[0], one.shape[1] // 8)) for one in tensors()]
    assert shape_from_config(CONFIG, packed).weights_source == "safetensors"
