"""What a test sees of one namespace and does in it. Requests are its own: each kubectl would cost ten times as much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tests.apiserver.controlplane import ControlPlane
from tests.apiserver.operators import eventually
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Kind
from triton_vllm_operator.desired.children import CHILD_KINDS

Object = dict[str, Any]
WORDS = {
    "llm": kinds.LLM_DEPLOYMENT,
    "pdb": kinds.PDB,
    **{kind.kind.lower(): kind for kind in (*CHILD_KINDS, kinds.POD, kinds.LLM_DEPLOYMENT)},
}
MERGE_PATCH = "application/merge-patch+json"
OURS = "app.kubernetes.io/managed-by=triton-vllm-operator"
WRITING = {"create", "update", "patch", "delete", "deletecollection"}


def llm(name: str, **spec: Any) -> Object:
    """The shortest LLMDeployment, with more fields of its spec."""
    body = {"model": {"uri": "hf://org/model"}, **spec}
    return {
        "apiVersion": "serving.triton-vllm.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": name},
        "spec": body,
    }


@dataclass(frozen=True)
class View:
    """One namespace of a control plane."""

    plane: ControlPlane
    namespace: str

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.plane.kubectl("-n", self.namespace, *arguments, stdin=stdin)

    def apply(self, obj: Object) -> None:
        """Server-side apply by a user, strictly validated, as `kubectl apply --server-side` does it."""
        path = WORDS[obj["kind"].lower()].path(self.namespace, obj["metadata"]["name"])
        query = "fieldManager=user&force=true&fieldValidation=Strict"
        self.plane.must("PATCH", f"{path}?{query}", obj, "application/apply-patch+yaml")

    def get(self, kind: str, name: str) -> Object | None:
        """One object by a word that kubectl knows too; None when it is not there."""
        code, found = self.plane.request("GET", WORDS[kind.lower()].path(self.namespace, name))
        assert code in (200, 404), found
        return found if code == 200 else None

    def all_of(self, kind: Kind, selector: str = "") -> list[Object]:
        code, found = self.plane.request("GET", f"{kind.path(self.namespace)}?labelSelector={quote(selector)}")
        assert code == 200, found
        return [{"apiVersion": kind.api_version, "kind": kind.kind, **item} for item in found["items"]]

    def children(self) -> dict[tuple[str, str], Object]:
        """Live children of every LLMDeployment, by (kind, name)."""
        items = [item for kind in CHILD_KINDS for item in self.all_of(kind, OURS)]
        return {(item["kind"], item["metadata"]["name"]): item for item in items}

    def kinds(self) -> list[str]:
        """Kinds of all children, sorted."""
        return sorted(kind for kind, _ in self.children())

    def pods(self) -> list[Object]:
        return [item for item in self.all_of(kinds.POD) if "deletionTimestamp" not in item["metadata"]]

    def condition(self, name: str, kind: str = "Ready") -> dict[str, Any]:
        """A condition of an LLMDeployment, {} when it is not there."""
        conditions = (self.get("llm", name) or {}).get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), {})

    def wait_reason(self, name: str, reason: str) -> dict[str, Any]:
        """The Ready condition, or where there is none Reconciling, once it has this reason."""
        eventually(f"{name} is {reason}", lambda: self.summary(name).get("reason") == reason)
        return self.summary(name)

    def summary(self, name: str) -> dict[str, Any]:
        """The Ready condition, or Reconciling where nothing is to be ready; {} when there is neither."""
        return self.condition(name) or self.condition(name, "Reconciling")

    def wait_children(self) -> dict[tuple[str, str], Object]:
        """The five children of one LLMDeployment."""
        eventually("five children", lambda: len(self.children()) == 5)
        return self.children()

    def fake_pod_status(self, name: str, status: Object) -> None:
        """Write what a kubelet or a scheduler would write."""
        path = kinds.POD.path(self.namespace, name, "status")
        self.plane.must("PATCH", path, {"status": status}, MERGE_PATCH)

    def writes(self, since: int = 0) -> list[tuple[str, str, str]]:
        """(verb, resource, name) of the accepted writes to this namespace in the audit log.

        Without those of kube-controller-manager, whose endpoints and events go on by themselves, and without Leases.
        """
        found = []
        for event in self.plane.audit()[since:]:
            ref = event.get("objectRef", {})
            if ref.get("namespace") != self.namespace or ref.get("resource") == "leases":
                continue
            if event.get("userAgent", "").startswith("kube-controller-manager/"):
                continue
            if event["verb"] in WRITING and event.get("responseStatus", {}).get("code", 0) < 300:
                found.append((event["verb"], "/".join(_resource(ref)), ref.get("name", "")))
        return found


def _resource(ref: dict[str, str]) -> list[str]:
    return [ref["resource"], *([ref["subresource"]] if "subresource" in ref else [])]
