"""Every sample is valid by the CRD's schema and renders, and the list of samples is complete."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from triton_vllm_operator.cli.main import app

ROOT = Path(__file__).parents[3]
SAMPLES = sorted([*(ROOT / "samples").glob("*.yaml"), *(ROOT / "e2e/samples").glob("*.yaml")])
CRD = yaml.safe_load((ROOT / "crds/llmdeployments.yaml").read_text())
SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}


def violations(value: Any, schema: dict[str, Any], path: str) -> Iterator[str]:
    """Where a value is not valid by a structural schema: unknown and missing fields, types, enums, patterns, limits."""
    if "type" in schema and not isinstance(value, TYPES[schema["type"]]):
        yield f"{path}: {value!r} is not of type {schema['type']}"
    elif isinstance(value, list):
        for item in value:
            yield from violations(item, schema["items"], f"{path}[]")
    elif isinstance(value, dict):
        known = schema.get("properties", {})
        free = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
        yield from (f"{path}.{name}: required" for name in schema.get("required", []) if name not in value)
        for name, item in value.items():
            if name in known:
                yield from violations(item, known[name], f"{path}.{name}")
            elif not free:
                yield f"{path}.{name}: unknown field"
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is not in {schema['enum']}"
    elif "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{path}: {value!r} does not match {schema['pattern']}"
    elif not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{path}: {value!r} is out of range"


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_is_valid_and_renders(sample: Path) -> None:
    objects = list(yaml.safe_load_all(sample.read_text()))
    found = [one for one in objects if one["kind"] == "LLMDeployment"]
    assert found
    for obj in found:
        assert list(violations(obj["spec"], SCHEMA, "spec")) == []
    result = CliRunner().invoke(app, ["render", "-f", str(sample)])
    assert result.exit_code == 0, result.output
    assert result.stdout.count("kind: Deployment") == len(found)


def test_a_field_that_is_unknown_or_wrong_is_found() -> None:
    wrong = {"engine": {"maxModelLen": "8k", "nothing": 1, "dtype": "int3"}, "replicas": -1}
    assert len(list(violations(wrong, SCHEMA, "spec"))) == 5


def test_every_sample_is_in_the_list() -> None:
    text = (ROOT / "samples/README.md").read_text()
    assert {path.name for path in (ROOT / "samples").glob("*.yaml")} == set(re.findall(r"\]\(([\w-]+\.yaml)\)", text))
