"""The kinds of objects that the operator uses, with their URL paths: no discovery request is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from triton_vllm_operator.api import names

Object = dict[str, Any]  # one Kubernetes object, as JSON


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object. `plural`: its name in URL paths."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def prefix(self) -> str:
        """URL path of the API version: `/api/v1` or `/apis/GROUP/VERSION`."""
        return f"/{'apis' if '/' in self.api_version else 'api'}/{self.api_version}"

    @property
    def group(self) -> str:
        """The API group; "" for the core group."""
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path of one object, or of the collection without `name`. Every part is percent-encoded."""
        parts = [self.prefix]
        if self.namespaced and namespace is not None:
            parts += ["namespaces", quote(namespace, safe="")]
        parts += [self.plural, *(quote(part, safe="") for part in (name, subresource) if part is not None)]
        return "/".join(parts)


CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
SERVICE = Kind("v1", "Service", "services")
POD = Kind("v1", "Pod", "pods")
PVC = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
CORE_EVENT = Kind("v1", "Event", "events")
NODE = Kind("v1", "Node", "nodes", namespaced=False)
NAMESPACE = Kind("v1", "Namespace", "namespaces", namespaced=False)
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
REPLICA_SET = Kind("apps/v1", "ReplicaSet", "replicasets")
REVISION = Kind("apps/v1", "ControllerRevision", "controllerrevisions")
PDB = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
HPA = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
EVENT = Kind("events.k8s.io/v1", "Event", "events")
RESOURCE_SLICE = Kind("resource.k8s.io/v1", "ResourceSlice", "resourceslices", namespaced=False)
WEBHOOKS = Kind(
    "admissionregistration.k8s.io/v1",
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
    namespaced=False,
)
LLM_DEPLOYMENT = Kind(names.API_VERSION, names.KIND, names.PLURAL)

KINDS: Mapping[tuple[str, str], Kind] = {
    (kind.api_version, kind.kind): kind for kind in list(globals().values()) if isinstance(kind, Kind)
}
"""Every kind above, by `apiVersion` and `kind`."""


def kind_of(obj: Mapping[str, Any]) -> Kind:
    """The kind of an object, by its `apiVersion` and `kind`.

    Raises:
        KeyError: the kind is not in `KINDS`.
    """
    return KINDS[obj["apiVersion"], obj["kind"]]


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference to an object, to read, patch or delete it. With `uid`, another object of that name is not deleted."""

    kind: Kind
    namespace: str | None
    name: str
    uid: str | None = None

    def __str__(self) -> str:
        return f"{self.kind.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind.kind} {self.name}"

    @property
    def path(self) -> str:
        """URL path of the object."""
        return self.kind.path(self.namespace, self.name)


def is_owned(obj: Mapping[str, Any], uid: str) -> bool:
    """Whether one of the object's owner references has this uid."""
    return any(ref.get("uid") == uid for ref in obj["metadata"].get("ownerReferences", []))


def ref_of(obj: Mapping[str, Any]) -> Ref:
    """The reference to an object as read from the API server."""
    meta = obj["metadata"]
    return Ref(kind_of(obj), meta.get("namespace"), meta["name"], meta.get("uid"))


class Key(NamedTuple):
    """Namespace and name of an LLMDeployment: the key of events and of the queue."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"
