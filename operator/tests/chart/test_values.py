"""Wrong values are refused before anything is installed, with the name of the field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.chart.helm import CHART, Helm

# What is wrong -> (values, what helm's words must name).
BAD: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "misspelt": ({"replica": 2}, ("replica",)),
    "misspelt inside": ({"serving": {"images": "x"}}, ("serving", "images")),
    "misspelt limit": ({"resources": {"limit": {"memory": "1Gi"}}}, ("resources", "limit")),
    "misspelt toleration": ({"tolerations": [{"keys": "x"}]}, ("tolerations", "keys")),
    "misspelt affinity": ({"affinity": {"nodeAffinities": {}}}, ("affinity", "nodeAffinities")),
    "misspelt secret": ({"imagePullSecrets": [{"nam": "x"}]}, ("imagePullSecrets", "nam")),
    "replicas as text": ({"replicas": "two"}, ("replicas", "integer")),
    "fewer than none": ({"replicas": -1}, ("replicas", "0")),
    "image as one text": ({"image": "registry.example/operator:1"}, ("image", "object")),
    "no repository": ({"image": {"repository": ""}}, ("image/repository",)),
    "tag as a number": ({"image": {"tag": 1.2}}, ("image/tag", "string")),
    "short digest": ({"image": {"digest": "sha256:abc"}}, ("image/digest",)),
    "pull policy": ({"image": {"pullPolicy": "Sometimes"}}, ("image/pullPolicy", "IfNotPresent")),
    "serving pull policy": ({"serving": {"imagePullPolicy": "Once"}}, ("serving/imagePullPolicy", "Always")),
    "secret as an object": ({"serving": {"imagePullSecrets": [{"name": "x"}]}}, ("serving/imagePullSecrets/0",)),
    "number in the environment": ({"serving": {"env": {"PORT": 80}}}, ("serving/env/PORT", "string")),
    "namespaces as text": ({"namespaces": "team-a"}, ("namespaces", "array")),
    "namespace in capitals": ({"namespaces": ["Team"]}, ("namespaces/0",)),
    "a namespace twice": ({"namespaces": ["a", "a"]}, ("namespaces", "items at 0 and 1 are equal")),
    "log level": ({"log": {"level": "verbose"}}, ("log/level", "DEBUG")),
    "log format": ({"log": {"format": "xml"}}, ("log/format", "json")),
    "a switch as text": ({"crds": {"enabled": "yes"}}, ("crds/enabled", "boolean")),
    "webhook as a switch": ({"webhook": False}, ("webhook", "object")),
    "port of root": ({"webhook": {"port": 443}}, ("webhook/port", "443")),
    "a label as a number": ({"podLabels": {"tier": 1}}, ("podLabels/tier", "string")),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_value_is_refused_with_its_name(helm: Helm, case: str) -> None:
    values, named = BAD[case]
    said = helm.refusal(values)
    for word in named:
        assert word in said


def test_the_shipped_values_and_those_of_a_parent_chart_are_accepted(helm: Helm) -> None:
    helm.template()
    helm.template({"global": {"imageRegistry": "registry.example"}})


def closed(schema: Any, path: str = "") -> list[str]:
    """Objects of a JSON schema that list their properties and let others pass."""
    if not isinstance(schema, dict):
        return []
    own = [path] if "properties" in schema and schema.get("additionalProperties") is not False else []
    return own + [found for key, inner in schema.items() for found in closed(inner, f"{path}/{key}")]


def test_every_object_of_the_schema_refuses_what_it_does_not_know() -> None:
    of_all_charts = "/properties/global"  # what a parent chart sets for all of its charts
    assert closed(json.loads((CHART / "values.schema.json").read_text())) == [of_all_charts]
