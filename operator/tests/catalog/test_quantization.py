"""Which GPUs a quantization method needs, by vLLM version."""

import itertools

import pytest
from packaging.version import Version

from triton_vllm_operator.catalog import argument_table, loader, quantization

METHODS = sorted(loader.load_json("arguments.json", argument_table.ArgumentTable).quantization)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_the_table_names_a_capability_in_some_version(method: str) -> None:
    firsts, least = zip(*argument_table.minimum_capabilities(method), strict=True)
    assert firsts[0] == argument_table.versions()[0]
    assert any(least)
    assert all(one != after for one, after in itertools.pairwise(least)), "only changes are listed"


# method, version, minimum compute capability
CAPABILITIES = [
    ("fp8", "0.13.0", (8, 0)),
    ("fp8", "0.14.0", (7, 5)),  # between two versions of the table: the lower one
    ("fp8", "0.15.1", (7, 5)),
    ("fp8", "0.99.0", (7, 5)),
    ("modelopt", "0.25.1", (8, 9)),
    ("aqlm", "0.10.1.1", None),
    ("no-such-method", "0.25.1", None),
]


@pytest.mark.parametrize(("method", "version", "minimum"), CAPABILITIES)
def test_the_minimum_capability_follows_the_version(method: str, version: str, minimum: tuple[int, int] | None) -> None:
    assert quantization.minimum_capability(method, Version(version)) == minimum
