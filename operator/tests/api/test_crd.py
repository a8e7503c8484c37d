"""The CRD is structural and explains itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tools.generate import files
from tools.kubernetes_types import structural_schema
from triton_vllm_operator.api.crd import DEFAULTED, crd
from triton_vllm_operator.api.quantity import parse, total_bytes

REPOSITORY = Path(__file__).parents[3]
VERSION = crd(structural_schema)["spec"]["versions"][0]
ROOT = VERSION["schema"]["openAPIV3Schema"]


def nodes(node: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            yield from nodes(node[key], f"{path}[]")


FIELDS = [*nodes(ROOT["properties"]["spec"], "spec"), *nodes(ROOT["properties"]["status"], "status")]


@pytest.mark.parametrize(("path", "node"), [f for f in FIELDS if not f[0].endswith("[]")])
def test_every_field_has_a_description(path: str, node: dict[str, Any]) -> None:
    assert node.get("description", "").strip(), path


@pytest.mark.parametrize(("path", "node"), FIELDS)
def test_every_field_is_structural(path: str, node: dict[str, Any]) -> None:
    typed = "type" in node or node.get("x-kubernetes-int-or-string") or node.get("x-kubernetes-preserve-unknown-fields")
    assert typed, path
    assert not {"$ref", "allOf", "oneOf"} & node.keys(), path


def test_only_the_fields_of_the_closed_list_have_a_default_in_the_spec() -> None:
    """An operator that does not know a later field would reject every object, as test-upgrade shows."""
    listed = {".".join(filter(None, ("spec", block, name))) for block, names in DEFAULTED.items() for name in names}
    assert {path for path, node in FIELDS if path.startswith("spec") and "default" in node} == listed
    assert len(listed) == 34


def test_the_definition_that_is_installed_is_the_one_of_the_models() -> None:
    """In this process, so that a changed model fails it where files cannot be generated."""
    installed = yaml.safe_load((REPOSITORY / "crds/llmdeployments.yaml").read_text())
    assert installed == crd(structural_schema)


def test_generated_files_are_fresh() -> None:
    for path, text in files().items():
        assert path.read_text() == text, f"{path.name} is stale: run `make gen`"


@given(st.integers(0, 2**60), st.sampled_from(["", "Ki", "Mi"]))
def test_a_sum_of_quantities_is_exact(number: int, suffix: str) -> None:
    assert parse(total_bytes(f"{number}{suffix}", "1Ki")) == parse(f"{number}{suffix}") + 1024


@pytest.mark.parametrize("text", ["", "-1", "1.", "1Xi", "Gi", "1 Gi", "1e3"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse(text)
