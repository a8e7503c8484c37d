"""The registry of model families: complete, without doubles, and the only place that names a model type."""

import ast
import pkgutil
from collections import Counter
from pathlib import Path

import pytest

from tests.capacity.samples import LLAMA_3_8B
from triton_vllm_operator import capacity
from triton_vllm_operator.capacity import shape_from_config
from triton_vllm_operator.capacity.model import families
from triton_vllm_operator.capacity.model.families import FAMILIES, family_of, find_family
from triton_vllm_operator.capacity.model.family import LLAMA_LIKE

TYPES = [model_type for family in FAMILIES for model_type in family.model_types]
LAYER_TYPES = {"mamba", "mamba2"}
"""Model types that are also names of layer types."""


def test_every_module_is_registered() -> None:
    modules = {module.name for module in pkgutil.iter_modules(families.__path__)}
    registered = {module.__name__.rpartition(".")[2] for module in families._MODULES}
    assert registered == modules


def test_each_model_type_and_each_prefix_is_in_one_family() -> None:
    assert [name for name, count in Counter(TYPES).items() if count > 1] == []
    prefixes = Counter(prefix for family in FAMILIES for prefix in family.prefixes)
    assert [name for name, count in prefixes.items() if count > 1] == []


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


@pytest.mark.parametrize("model_type", ["", "something_new", "llama5", "xqwen2"])
def test_an_unknown_model_type_is_planned_like_llama(model_type: str) -> None:
    assert find_family(model_type) is None
    assert family_of(model_type) is LLAMA_LIKE
    llama, unknown = shape_from_config(LLAMA_3_8B), shape_from_config({**LLAMA_3_8B, "model_type": model_type})
    assert unknown.layers == llama.layers


@pytest.mark.parametrize(
    ("model_type", "like"), [("gemma4", "gemma"), ("gemma3n_text", "gemma3"), ("qwen2_5_vl", "qwen2")]
)
def test_a_type_that_only_starts_like_a_family_is_a_guess(model_type: str, like: str) -> None:
    assert find_family(model_type) is None
    assert family_of(model_type).prefixes[0] == like


def test_the_longest_prefix_counts() -> None:
    assert not family_of("gemma3n").config.rope_extends_length
    assert family_of("gemma4").config.rope_extends_length
