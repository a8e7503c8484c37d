"""Structural schemas of the Kubernetes types that the custom resource embeds, from the client library's models.

Used only to generate the CRD. The library has the fields and their types; the API server checks the rest when the
Deployment is applied.
"""

import re
from typing import Any

from kubernetes import client

_SCALARS: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "bool": {"type": "boolean"},
    "float": {"type": "number"},
    "object": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
}
_REQUIRED = {
    "V1EnvVar": ["name"],
    "V1VolumeMount": ["name", "mountPath"],
    "V1PersistentVolumeClaimVolumeSource": ["claimName"],
    "V1TopologySpreadConstraint": ["maxSkew", "topologyKey", "whenUnsatisfiable"],
    "V1NodeSelectorRequirement": ["key", "operator"],
    "V1LabelSelectorRequirement": ["key", "operator"],
    "V1NodeSelector": ["nodeSelectorTerms"],
    "V1PodAffinityTerm": ["topologyKey"],
    "V1WeightedPodAffinityTerm": ["podAffinityTerm", "weight"],
    "V1PreferredSchedulingTerm": ["preference", "weight"],
    "V1SecretKeySelector": ["key"],
    "V1ConfigMapKeySelector": ["key"],
    "V1KeyToPath": ["key", "path"],
    "V1LocalObjectReference": ["name"],
}


def structural_schema(kind: str) -> dict[str, Any]:
    """The structural schema of a type of the client library, for example `V1Toleration`; nested types inlined."""
    model = getattr(client, kind)
    properties = {
        name: _of("object" if name == "sizeLimit" else model.openapi_types[attribute], f"{name} of {_plain(kind)}.")
        for attribute, name in sorted(model.attribute_map.items())
    }
    required = {"required": _REQUIRED[kind]} if kind in _REQUIRED else {}
    return {"type": "object", "description": f"{_plain(kind)} of Kubernetes.", "properties": properties} | required


def _of(type_: str, description: str) -> dict[str, Any]:
    if item := re.fullmatch(r"[Ll]ist\[(.+)\]", type_):
        return {"type": "array", "description": description, "items": _of(item.group(1), f"Item: {description}")}
    if value := re.fullmatch(r"[Dd]ict\[str, (.+)\]", type_):
        inner = _of(value.group(1), description)
        return {"type": "object", "description": description, "additionalProperties": inner}
    if type_ in _SCALARS:
        return _SCALARS[type_] | {"description": description}
    return structural_schema(type_) | {"description": description}


def _plain(kind: str) -> str:
    return kind.removeprefix("V1")
