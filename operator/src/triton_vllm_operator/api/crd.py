"""The CustomResourceDefinition, made from the typed models.

The schema is structural: references are inlined, every field has a type and a description. Types of Kubernetes itself
(tolerations, affinity and the like) come from a function that the caller gives, so that this layer needs no client.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from triton_vllm_operator.api import names
from triton_vllm_operator.api.conditions import ConditionType
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.api.status import LLMDeploymentStatus

_KEPT = {
    "type", "description", "enum", "format", "pattern", "minimum", "maximum", "minLength", "maxLength",
    "minItems", "maxItems", "minProperties", "maxProperties", "required", "default", "exclusiveMinimum",
}  # fmt: skip
# What the API server shows until the operator has written a status: without it, tools take a new object for ready.
_UNSEEN = {
    "type": str(ConditionType.RECONCILING),
    "status": "True",
    "reason": str(Reason.PENDING),
    "message": "The operator has not seen this LLMDeployment yet. If this stays, see whether the operator runs.",
    "lastTransitionTime": "1970-01-01T00:00:00Z",
}
_Embedded = Callable[[str], dict[str, Any]]
_CONCURRENCY = ".status.actual.concurrencyAtMaxModelLen"


def structural(model: type[BaseModel], embedded: _Embedded) -> dict[str, Any]:
    """The structural OpenAPI v3 schema of a pydantic model.

    Args:
        embedded: gives the schema of a Kubernetes type by the client library's name, for example V1Toleration.
    """
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(schema, schema.get("$defs", {}), embedded)


def _convert(node: Mapping[str, Any], definitions: Mapping[str, Any], embedded: _Embedded) -> dict[str, Any]:
    node = _inline(node, definitions)
    if kind := node.get("x-embedded-type"):
        return _described(embedded(kind), node)
    out = {k: v for k, v in node.items() if k in _KEPT or k.startswith("x-kubernetes-")}
    if "exclusiveMinimum" in out:  # OpenAPI v3.0, which CRDs use, has it as a flag beside `minimum`
        out["minimum"], out["exclusiveMinimum"] = out["exclusiveMinimum"], True
    if out.get("x-kubernetes-int-or-string"):
        out["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if isinstance(node.get("default"), Mapping) and "properties" in node:
        out["default"] = {}  # the API server fills in the defaults of the fields inside
    elif out.get("default") == {}:
        del out["default"]
    if out.get("default", ...) is None or out.get("default") == []:
        del out["default"]
    if "properties" in node:
        out["properties"] = {k: _convert(v, definitions, embedded) for k, v in node["properties"].items()}
    if "items" in node:
        out["items"] = _convert(node["items"], definitions, embedded)
    if isinstance(node.get("additionalProperties"), Mapping):
        out["additionalProperties"] = _convert(node["additionalProperties"], definitions, embedded)
    return out


def _described(schema: dict[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    return schema | ({"description": node["description"]} if "description" in node else {})


def _inline(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Resolve `$ref`, and `anyOf` with null (an optional field) to what is not null; outer keys win."""
    merged = dict(node)
    options = [o for o in merged.get("anyOf", []) if o.get("type") != "null"]
    if len(options) == 1:
        del merged["anyOf"]
        merged = _inline(options[0], definitions) | merged
    if ref := merged.pop("$ref", None):
        merged = _inline(definitions[ref.rsplit("/", 1)[1]], definitions) | merged
    return merged


def crd(embedded: _Embedded) -> dict[str, Any]:
    """The CustomResourceDefinition of LLMDeployment; `embedded` as in `structural`."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.PLURAL}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.KIND.lower(),
                "shortNames": ["llm", "llmd"],
                "categories": ["all", "inference"],
            },
            "versions": [_version(embedded)],
        },
    }


def _version(embedded: _Embedded) -> dict[str, Any]:
    return {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": _columns(),
        "schema": {"openAPIV3Schema": _root_schema(embedded)},
    }


def _root_schema(embedded: _Embedded) -> dict[str, Any]:
    return {
        "description": "A language model served by NVIDIA Triton Inference Server with vLLM.",
        "type": "object",
        "required": ["spec"],
        "x-kubernetes-validations": [
            {
                "rule": f"self.metadata.name.size() <= {names.NAME_MAX_LENGTH} "
                f"&& self.metadata.name.matches('{names.OBJECT_NAME_PATTERN}')",
                "message": "metadata.name becomes the name of a Service: at most "
                f"{names.NAME_MAX_LENGTH} characters of a-z, 0-9 and '-', first a letter, last not '-'",
            }
        ],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of this schema."},
            "kind": {"type": "string", "description": "Always LLMDeployment."},
            "metadata": {"type": "object"},
            "spec": structural(LLMDeploymentSpec, embedded),
            "status": structural(LLMDeploymentStatus, embedded) | {"default": {"conditions": [_UNSEEN]}},
        },
    }


def _columns() -> list[dict[str, Any]]:
    return [
        _column("Ready", _of(ConditionType.READY, "status"), "Whether every replica has answered with a token."),
        _column("Replicas", ".status.readyReplicas", "Pods that are ready.", type="integer"),
        _column("Model", ".spec.model.uri", "Where the model is."),
        _column("GPUs", ".status.gpusPerReplica", "GPUs that one pod holds.", type="integer"),
        _column("Release", ".status.release", "Triton release of the serving image."),
        _column("Reason", _of(ConditionType.RECONCILING, "reason"), "Why it is ready or not."),
        _column("Age", ".metadata.creationTimestamp", "Time since it was created.", type="date"),
        _column("Desired", ".spec.replicas", "Pods that are wanted.", type="integer", priority=1),
        _column("KV tokens", ".status.actual.kvCacheTokens", "Tokens that a pod's KV cache holds.", "integer", 1),
        _column("Concurrency", _CONCURRENCY, "Full-length requests that a pod takes at once.", "number", 1),
        _column("Endpoint", ".status.endpoints.http", "Address inside the cluster.", priority=1),
    ]


def _of(condition: str, what: str) -> str:
    return f'.status.conditions[?(@.type=="{condition}")].{what}'


def _column(name: str, path: str, description: str, type: str = "string", priority: int = 0) -> dict[str, Any]:
    column = {"name": name, "type": type, "jsonPath": path, "description": description}
    return column | ({"priority": priority} if priority else {})
