"""The rights that the chart grants, rendered by Helm: installed for an operator under test, and compared with use."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from e2e.cluster.images import binaries
from tests.apiserver.controlplane import ControlPlane

CHART = Path(__file__).parents[3] / "charts" / "triton-vllm-operator"
# Names for the rendering, replaced by those of a test's namespace.
RELEASE, SPACE = "release-name", "release-space"
PLURALS = {
    "ServiceAccount": "serviceaccounts",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "Role": "roles",
    "RoleBinding": "rolebindings",
}


class Right(NamedTuple):
    """One verb on one resource; `resource` with its subresource after a slash."""

    group: str
    resource: str
    verb: str


@cache
def rendered(*values: str, kinds: Collection[str] = tuple(PLURALS), everywhere: bool = False) -> str:
    """The chart's objects of some kinds, its rights, for one namespace or all, as JSON text. `values`: NAME=VALUE."""
    helm = binaries.build(binaries.HELM)["helm"]
    command = [str(helm), "template", RELEASE, str(CHART), "--namespace", SPACE]
    scope = () if everywhere else (f"namespaces={{{SPACE}}}",)
    own = ("rbac.aggregate=false",)  # those roles are for users
    command += [word for value in (*scope, *own, *values) for word in ("--set", value)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = [obj for obj in yaml.load_all(done.stdout, yaml.CSafeLoader) if obj and obj["kind"] in kinds]
    return json.dumps(found)


def granted(*values: str) -> set[Right]:
    """What all roles together allow."""
    rules = [rule for obj in json.loads(rendered(*values)) for rule in obj.get("rules", [])]
    return {
        Right(group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def account(namespace: str) -> str:
    """Name of the ServiceAccount, of the roles and of the Lease."""
    return f"{namespace}-triton-vllm-operator"


def grant(plane: ControlPlane, namespace: str, *, everywhere: bool = False) -> str:
    """Install the rights for a namespace, or for all; a token of the operator's ServiceAccount, which is there."""
    text = rendered(everywhere=everywhere).replace(RELEASE, namespace).replace(SPACE, namespace)
    for obj in json.loads(text):
        code, answer = plane.request("POST", _path(obj), obj)
        assert code == 201, answer
    return token(plane, namespace, account(namespace))


def token(plane: ControlPlane, namespace: str, name: str) -> str:
    """A token of a ServiceAccount."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    code, answer = plane.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", body)
    assert code == 201, answer
    return str(answer["status"]["token"])


def webhook(namespace: str) -> dict[str, Any]:
    """The chart's ValidatingWebhookConfiguration as installed for a namespace."""
    text = rendered(kinds=("ValidatingWebhookConfiguration",)).replace(RELEASE, namespace).replace(SPACE, namespace)
    (found,) = json.loads(text)
    assert isinstance(found, dict)
    return found


def _path(obj: dict[str, Any]) -> str:
    version, namespace = obj["apiVersion"], obj["metadata"].get("namespace")
    prefix = f"/{'apis' if '/' in version else 'api'}/{version}"
    return (
        f"{prefix}/namespaces/{namespace}/{PLURALS[obj['kind']]}" if namespace else f"{prefix}/{PLURALS[obj['kind']]}"
    )


def used(events: Iterable[dict[str, Any]]) -> set[Right]:
    """What operators asked for, from an audit log. A server-side apply that makes an object needs `create` too."""
    return {right for event in events if _by_operator(event) for right in _rights(event)}


def refused(events: Iterable[dict[str, Any]]) -> set[Right]:
    """What operators asked for without the right to it."""
    return {right for event in events if _by_operator(event) and _is_without_right(event) for right in _rights(event)}


def _by_operator(event: dict[str, Any]) -> bool:
    name = event["user"]["username"]
    return bool(name.startswith("system:serviceaccount:") and name.endswith("-triton-vllm-operator"))


def _is_without_right(event: dict[str, Any]) -> bool:
    """Whether RBAC has denied it. Admission denies too: quotas, LimitRanges, a namespace that is being deleted."""
    answer = event.get("responseStatus", {})
    message = answer.get("message", "")
    return answer.get("code") == 403 and ": User " in message and " cannot " in message and "not found" not in message


def _rights(event: dict[str, Any]) -> Iterator[Right]:
    ref = event.get("objectRef")
    if ref is None:
        return
    resource = ref["resource"] + (f"/{ref['subresource']}" if "subresource" in ref else "")
    yield Right(ref.get("apiGroup", ""), resource, event["verb"])
    if event["verb"] == "patch" and event.get("responseStatus", {}).get("code") == 201:
        yield Right(ref.get("apiGroup", ""), resource, "create")
