"""The registry of model families: complete, without doubles, and the only place that names a model type."""

import ast
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.capacity.samples import LLAMA_3_8B
from triton_vllm_operator import capacity
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity import EngineSettings, ShapeError, gpu_of_memory, plan, shape_from_config
from triton_vllm_operator.capacity.model import families
from triton_vllm_operator.capacity.model.families import FAMILIES, find_family

TYPES = [model_type for family in FAMILIES for model_type in family.model_types]
LAYER_TYPES = {"mamba", "mamba2"}
"""Model types that are also names of layer types."""


def test_every_module_is_registered() -> None:
    modules = {path.stem for path in Path(families.__file__).parent.glob("*.py")} - {"__init__"}
    registered = {module.__name__.rpartition(".")[2] for module in families._MODULES}
    assert registered == modules
    assert all(module.FAMILIES for module in families._MODULES)


def test_each_model_type_is_in_one_family() -> None:
    assert [name for name, count in Counter(TYPES).items() if count > 1] == []


def test_no_other_module_names_a_model_type() -> None:
    root = Path(capacity.__file__).parent
    named = {
        f"{path.relative_to(root)}:{node.lineno}: {node.value}"
        for path in root.rglob("*.py")
        if path.parent.name != "families"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in {*TYPES} - LAYER_TYPES
    }
    assert named == set()


@pytest.mark.parametrize("model_type", ["", "something_new", "llama5", "xqwen2", "gemma5", "qwen2_next", "cohere9"])
def test_an_unknown_model_type_is_not_planned(model_type: str) -> None:
    assert find_family(model_type) is None
    with pytest.raises(ShapeError, match=repr(model_type)) as caught:
        shape_from_config({**LLAMA_3_8B, "model_type": model_type})
    assert caught.value.reason is Reason.ARCHITECTURE_UNKNOWN


def test_a_shape_of_an_unknown_model_type_is_not_planned() -> None:
    shape = replace(shape_from_config(LLAMA_3_8B), model_type="something_new")
    with pytest.raises(ShapeError, match="something_new") as caught:
        plan(shape, EngineSettings(), gpu_of_memory(80))
    assert caught.value.reason is Reason.ARCHITECTURE_UNKNOWN
