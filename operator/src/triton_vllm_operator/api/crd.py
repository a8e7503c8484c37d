"""The CustomResourceDefinition, generated from the typed models.

The schema is structural: references are inlined, every field has a type and a description. Types of Kubernetes itself
(tolerations, affinity and the like) come from a function that the caller passes, so that this layer needs no client.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from triton_vllm_operator.api import names
from triton_vllm_operator.api.conditions import ConditionType
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.api.status import LLMDeploymentStatus

_OPENAPI_KEYS = {
    "type", "description", "enum", "format", "pattern", "minimum", "maximum", "minLength", "maxLength",
    "minItems", "maxItems", "minProperties", "maxProperties", "required", "default", "exclusiveMinimum",
}  # fmt: skip
DEFAULTED: dict[str, tuple[str, ...]] = {
    "": ("engine", "sampling", "server", "resources", "replicas", "scheduling", "podTemplate", "service", "planning"),
    "model.tokenSecretRef": ("key",),
    "engine": ("gpuMemoryUtilization", "pipelineParallelSize"),
    "sampling": ("defaults",),
    "server": ("logLevel", "drainSeconds", "limits", "openAI"),
    "server.openAI": ("enabled",),
    "server.openAI.apiKeySecretRef": ("key",),
    "resources": ("gpu", "cpu", "memory", "sharedMemory"),
    "resources.gpu": ("resourceName",),
    "podTemplate": ("inherit",),
    "service": ("type", "ports", "disruptionBudget"),
    "service.ports": ("http", "grpc", "metrics"),
    "service.disruptionBudget": ("enabled", "maxUnavailable"),
    "planning": ("mode",),
}
"""Fields of the spec whose default the API server writes into each object, by the path of their block: a closed list.

A later field has its default in the operator alone. An operator rejects fields that it does not know, and the CRD is
newer than the operator during an upgrade and after a rollback: a default in it would make every object invalid then.
"""
# The status that the API server sets until the operator writes one: without it, tools take a new object for ready.
_INITIAL_CONDITION = {
    "type": str(ConditionType.RECONCILING),
    "status": "True",
    "reason": str(Reason.PENDING),
    "message": f"{Reason.PENDING.meaning} {Reason.PENDING.fix}",
    "lastTransitionTime": "1970-01-01T00:00:00Z",
}
_Embedded = Callable[[str], dict[str, Any]]
_CONCURRENCY = ".status.actual.concurrencyAtMaxModelLen"


def structural(
    model: type[BaseModel], embedded: _Embedded, defaulted: Mapping[str, tuple[str, ...]] | None = None
) -> dict[str, Any]:
    """The structural OpenAPI v3 schema of a pydantic model.

    Args:
        embedded: returns the schema of a Kubernetes type by the client library's name, for example V1Toleration.
        defaulted: the fields that keep their default, as in `DEFAULTED`; None: all of them.
    """
    schema = model.model_json_schema(by_alias=True, mode="validation")
    converted = _convert(schema, schema.get("$defs", {}), embedded)
    return converted if defaulted is None else _without_defaults(converted, defaulted, "", keep=False)


def _without_defaults(
    node: dict[str, Any], defaulted: Mapping[str, tuple[str, ...]], path: str, *, keep: bool
) -> dict[str, Any]:
    """The schema without the defaults of fields that are not in `defaulted`; `path`: of this node."""
    out = {key: value for key, value in node.items() if keep or key != "default"}
    if "properties" in node:
        out["properties"] = {
            name: _without_defaults(
                field, defaulted, f"{path}.{name}".lstrip("."), keep=name in defaulted.get(path, ())
            )
            for name, field in node["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            out[key] = _without_defaults(node[key], defaulted, f"{path}[]", keep=False)
    return out


def _convert(node: Mapping[str, Any], definitions: Mapping[str, Any], embedded: _Embedded) -> dict[str, Any]:
    node = _inline(node, definitions)
    if kind := node.get("x-embedded-type"):
        return _described(embedded(kind), node)
    out = {k: v for k, v in node.items() if k in _OPENAPI_KEYS or k.startswith("x-kubernetes-")}
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
    """Resolve `$ref`, and `anyOf` with null (an optional field) to the other type; outer keys win."""
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
                "message": "metadata.name becomes the name of a Service: it must have at most "
                f"{names.NAME_MAX_LENGTH} characters of a-z, 0-9 and '-', start with a letter and not end with '-'",
            }
        ],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of this schema."},
            "kind": {"type": "string", "description": "Always LLMDeployment."},
            "metadata": {"type": "object"},
            "spec": structural(LLMDeploymentSpec, embedded, DEFAULTED),
            "status": structural(LLMDeploymentStatus, embedded) | {"default": {"conditions": [_INITIAL_CONDITION]}},
        },
    }


def _columns() -> list[dict[str, Any]]:
    return [
        _column("Ready", _of(ConditionType.READY, "status"), "Whether all replicas have generated a token."),
        _column("Desired", ".status.desiredReplicas", "Desired number of pods.", type="integer"),
        _column("Available", ".status.readyReplicas", "Number of ready pods.", type="integer"),
        _column("Model", ".spec.model.uri", "Source of the model."),
        _column("GPUs", ".status.gpusPerReplica", "GPUs per pod.", type="integer"),
        _column("Release", ".status.release", "Release of the serving image."),
        _column("Reason", _of(ConditionType.RECONCILING, "reason"), "Why it is ready or not ready."),
        _column("Age", ".metadata.creationTimestamp", "Time since creation.", type="date"),
        _column("KV tokens", ".status.actual.kvCacheTokens", "Capacity of a pod's KV cache in tokens.", "integer", 1),
        _column(
            "Concurrency", _CONCURRENCY, "Number of concurrent requests of maxModelLen tokens per pod.", "number", 1
        ),
        _column("Endpoint", ".status.endpoints.http", "URL inside the cluster.", priority=1),
    ]


def _of(condition: str, what: str) -> str:
    return f'.status.conditions[?(@.type=="{condition}")].{what}'


def _column(name: str, path: str, description: str, type: str = "string", priority: int = 0) -> dict[str, Any]:
    column = {"name": name, "type": type, "jsonPath": path, "description": description}
    return column | ({"priority": priority} if priority else {})
