"""What all fault harnesses share: a stage (namespace, proxy, operator) and what a namespace holds, comparably."""

from __future__ import annotations

import itertools
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.apiserver.controlplane import ADMIN_TOKEN, ControlPlane
from tests.apiserver.operators import PROVEN, OperatorProcess
from tests.apiserver.view import Object, View
from tests.faults.proxy import Proxy, proxy
from triton_vllm_operator.api import names
from triton_vllm_operator.desired.children import CHILD_KINDS

# Written by the API server or by controllers, in each run.
VOLATILE = ("uid", "resourceVersion", "creationTimestamp", "managedFields", "ownerReferences", "namespace")
# The applied hash covers the owner reference, and so the uid of the LLMDeployment; that of a revision covers its name.
VOLATILE_ANNOTATIONS = (
    names.APPLIED_HASH_ANNOTATION,
    names.REVISION_ANNOTATION,
    "deployment.kubernetes.io/revision",
)
PREFIX = "fault-"

# A pod's name ends in the template's hash, which covers the LLMDeployment's name, and in letters drawn by lot.
POD = re.compile(r"NAME-[a-z0-9]{6,10}-[a-z0-9]{5}\b")

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the final table. `figures`: in a few words what was measured."""

    proof: str
    case: str
    passed: bool
    figures: str


@dataclass(frozen=True)
class Stage:
    """An operator that reaches the API server through a proxy and serves one namespace."""

    view: View
    proxy: Proxy
    operator: OperatorProcess


@contextmanager
def namespace(plane: ControlPlane) -> Iterator[str]:
    """A namespace of its own; its removal is not waited for."""
    name = f"{PREFIX}{next(_numbers)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    code, answer = plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
    assert code == 201, answer
    try:
        yield name
    finally:
        plane.request("DELETE", f"/api/v1/namespaces/{name}")


@contextmanager
def stage(plane: ControlPlane, *options: str) -> Iterator[Stage]:
    """A stage whose operator is not started yet. It holds no Lease, so that its restart is not delayed."""
    with namespace(plane) as name, proxy(plane) as made, tempfile.TemporaryDirectory() as folder:
        operator = OperatorProcess(
            kubeconfig=plane.kubeconfig_for(name, ADMIN_TOKEN, made.url),
            log=Path(folder) / "operator.log",
            program=PROVEN,
            options=("--namespace", name, "--lease-namespace", name, "--no-leader-election", *options),
        )
        try:
            yield Stage(View(plane, name), made, operator)
        finally:
            operator.kill()


def essence(view: View, name: str) -> dict[str, Any]:
    """What one LLMDeployment, its children and its pods say, without what differs from run to run."""
    children = {key: obj for key, obj in view.children().items() if obj["metadata"]["labels"][LABEL] == name}
    llm = view.get("llm", name)
    found = {
        "children": {f"{kind} {child}": _essence(obj) for (kind, child), obj in children.items()},
        "pods": len([pod for pod in view.pods() if pod["metadata"]["labels"].get(LABEL) == name]),
        "status": _status(llm) if llm else None,
    }
    text = json.dumps(found, sort_keys=True).replace(view.namespace, "NAMESPACE").replace(name, "NAME")
    same: dict[str, Any] = json.loads(POD.sub("POD", text))
    return same


LABEL = names.INSTANCE_LABEL
CHILD_PLURALS = {kind.plural for kind in CHILD_KINDS}


def _essence(obj: Object) -> Object:
    meta = {key: value for key, value in obj["metadata"].items() if key not in VOLATILE}
    meta["annotations"] = {k: v for k, v in meta.get("annotations", {}).items() if k not in VOLATILE_ANNOTATIONS}
    spec = {k: v for k, v in obj.get("spec", {}).items() if k not in ("clusterIP", "clusterIPs")}
    return {"metadata": meta, "spec": spec, "data": obj.get("data")}


def _status(llm: Object) -> Object:
    status = dict(llm.get("status", {}))
    status["conditions"] = [
        {key: c[key] for key in ("type", "status", "reason", "message", "observedGeneration")}
        for c in status.get("conditions", [])
    ]
    return status


def births_and_deaths(view: View, name: str, since: int) -> Counter[str]:
    """How often each object of one LLMDeployment was made and deleted, from the audit log.

    Pods and ReplicaSets, whose names are drawn by lot, are counted by kind. Events are left out.
    """
    found: Counter[str] = Counter()
    for event in view.plane.audit()[since:]:
        ref, code = event.get("objectRef", {}), event.get("responseStatus", {}).get("code", 0)
        if ref.get("namespace") != view.namespace or "subresource" in ref or code >= 300:
            continue
        what = ref["resource"]
        named = str(ref.get("name") or "")
        if what in ("pods", "replicasets"):
            named = ""
        elif what not in CHILD_PLURALS or not named.startswith(name):
            continue
        if code == 201:
            found[f"made {what} {named.replace(name, 'NAME')}"] += 1
        elif event["verb"] == "delete":
            found[f"deleted {what} {named.replace(name, 'NAME')}"] += 1
    return found
