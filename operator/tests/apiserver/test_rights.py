"""The operator's rights: no more than it uses, none that a CR's author could borrow.

Every operator that the tests in this folder start runs under the chart's roles, so each of them also proves that the
roles are enough.
"""

from __future__ import annotations

import json
import subprocess
from functools import partial
from typing import Any

import pytest

from tests.apiserver import rights
from tests.apiserver.fixtures import StartOperator
from tests.apiserver.inspections import IMAGE, fake_result, inspection, inspections
from tests.apiserver.kubelet import pod_ready, pod_waiting
from tests.apiserver.operators import PROVEN, OperatorProcess, eventually
from tests.apiserver.rights import Right
from tests.apiserver.view import Object, View, llm
from tests.apiserver.webhooks import installed
from tests.builders.deployments import LLAMA_8B
from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.capacity import shape_from_config
from triton_vllm_operator.plan.inspection_protocol import InspectedModel

USER = f"system:serviceaccount:a:{rights.account('a')}"


def test_no_right_is_a_wildcard_or_about_secrets_or_rights() -> None:
    for right in rights.granted():
        assert "*" not in right
        assert right.resource not in {"secrets", "roles", "rolebindings", "clusterroles", "clusterrolebindings"}
        assert right.resource not in {
            "serviceaccounts",
            "pods/exec",
            "mutatingwebhookconfigurations",
            "customresourcedefinitions",
        }
        assert right.verb not in {"escalate", "bind", "impersonate", "deletecollection"}


def test_pods_are_made_and_deleted_but_never_changed_or_entered() -> None:
    verbs = {right.verb for right in rights.granted() if right.resource.startswith("pods")}
    assert verbs == {"list", "watch", "create", "delete"}


def test_of_webhooks_only_the_charts_own_is_read_and_patched() -> None:
    rules = [rule for obj in json.loads(rights.rendered()) for rule in obj.get("rules", [])]
    [rule] = [rule for rule in rules if "validatingwebhookconfigurations" in rule["resources"]]
    configuration = f"{rights.SPACE}-{rights.RELEASE}-triton-vllm-operator"
    assert (rule["resourceNames"], rule["verbs"]) == ([configuration], ["get", "patch"])
    assert "validatingwebhookconfigurations" not in {
        right.resource for right in rights.granted("webhook.enabled=false")
    }


def test_without_planning_the_operator_makes_no_pods_itself() -> None:
    allowed = rights.granted("planning.enabled=false")
    assert {right.verb for right in allowed if right.resource.startswith("pods")} == {"list", "watch"}
    assert "persistentvolumeclaims" not in {right.resource for right in allowed}


@pytest.mark.parametrize(
    ("message", "is_missing"),
    [
        (f'pods is forbidden: User "{USER}" cannot create resource "pods" in API group "" in the namespace "a"', True),
        (f'pods is forbidden: User "{USER}" cannot create resource "pods": RBAC: role "a" not found', False),
        ('pods "a" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1', False),
        ('pods "a" is forbidden: minimum memory usage per Container is 64Gi, but request is 1Gi', False),
        ('pods "a" is forbidden: unable to create new content in namespace a because it is being terminated', False),
    ],
)
def test_a_right_is_missing_when_rbac_denies_and_not_when_admission_does(message: str, is_missing: bool) -> None:
    event = {
        "user": {"username": USER},
        "objectRef": {"resource": "pods"},
        "verb": "create",
        "responseStatus": {"code": 403, "message": message},
    }
    assert rights.refused([event]) == ({Right("", "pods", "create")} if is_missing else set())


def test_every_right_is_used_and_every_use_is_granted(view: View, start_operator: StartOperator) -> None:
    first = start_operator(*IMAGE, program=PROVEN)
    read_models(view)
    live_through_everything(view)
    assert first.stop() == 0
    with installed(view.plane, view.namespace) as hook:
        start_operator(*hook.options, program=PROVEN)
        repeat_an_event(view)
        eventually("the API server knows the webhook's certificate", lambda: len(hook.serials()) == 1)
    eventually("the event was counted on", lambda: Right("events.k8s.io", "events", "patch") in used(view))
    assert rights.refused(view.plane.audit()) == set()
    assert rights.granted() - used(view) - MAYBE_USED == set(), "granted and not used"
    assert used(view) - rights.granted() == set(), "used and not granted"


# The garbage collector may be faster at a leftover; test_reconcile sees the operator delete what is not wanted.
MAYBE_USED = {
    Right("", "configmaps", "delete"),
    Right("", "services", "delete"),
    Right("apps", "deployments", "delete"),
}


def used(view: View) -> set[Right]:
    return rights.used(view.plane.audit())


def repeat_an_event(view: View) -> None:
    """An event that the first operator has made already, made again by the next one."""
    [pod] = view.pods()
    unscheduled = [{"type": "Ready", "status": "False"}, SHORT]
    view.fake_pod_status(str(pod["metadata"]["name"]), {"phase": "Pending", "conditions": unscheduled})
    view.wait_reason("a", "InsufficientGPUs")


SHORT = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.",
}


def read_models(view: View) -> None:
    """A model of the hub is read; for a model on a claim, the claim must have a volume first."""
    view.apply(llm("read"))
    fake_result(view, inspection(view), InspectedModel("c" * 40, shape_from_config(LLAMA_8B)))
    eventually("the pod is deleted once it is read", lambda: inspections(view) == [])
    view.apply(llm("claimed", model={"uri": "pvc://models/llama"}))
    eventually("the claim is looked for", lambda: Right("", "persistentvolumeclaims", "get") in used(view))
    assert {one["spec"]["containers"][0]["name"] for one in view.pods()} == {"server"}
    view.kubectl("delete", "llm", "read", "claimed")
    eventually("they are gone", lambda: not view.children() and not view.pods())


def unread(**spec: Any) -> Object:
    """An LLMDeployment whose model is not read: its serving pods come at once."""
    return llm("a", planning={"mode": "Off"}, **spec)


def live_through_everything(view: View) -> None:
    """One LLMDeployment through all that makes the operator ask for something, and one that needs an opt-out."""
    view.apply(llm("unsafe", server={"release": "26.03"}))
    view.wait_reason("unsafe", "ReleaseNeedsOptOut")
    view.kubectl("delete", "llm", "unsafe")
    view.apply(unread())
    view.wait_children()
    eventually("a pod", lambda: len(view.pods()) == 1)
    pod = str(view.pods()[0]["metadata"]["name"])
    view.fake_pod_status(pod, {"phase": "Pending", "conditions": [SHORT]})
    view.wait_reason("a", "InsufficientGPUs")
    bind(view, pod)
    view.fake_pod_status(pod, pod_waiting("ContainerCreating", ""))
    asked = Right("", "events", "list")
    eventually("the events of a pod in creation are read", lambda: asked in used(view))
    view.fake_pod_status(pod, pod_ready())
    view.wait_reason("a", "Serving")
    view.apply(unread(autoscaling={"maxReplicas": 1, "target": {"tokensPerSecondPerReplica": 100}}))
    scalers = Right("autoscaling", "horizontalpodautoscalers", "list")
    eventually("other scalers are looked for", lambda: scalers in used(view))
    make_revisions(view)
    hide_the_children(view)
    for kind in ("configmap", "service", "pdb", "deployment"):
        leave_behind(view, kind)
    eventually("leftovers are gone", lambda: all("left" not in name for _, name in view.children()))
    view.kubectl(
        "patch", "llm", "a", "--type=merge", "-p", '{"spec": {"service": {"disruptionBudget": {"enabled": false}}}}'
    )
    eventually("no budget", lambda: "PodDisruptionBudget" not in view.kinds())


def make_revisions(view: View) -> None:
    """More revisions than are kept, of which only the first has served."""
    for number in (2, 3, 4):
        env = [{"name": "NUMBER", "value": str(number)}]
        view.apply(unread(podTemplate={"env": env}, rollout={"revisionHistoryLimit": 1}))
        eventually(f"revision {number}", partial(_has_revision, view, number))
    eventually("the surplus is gone", lambda: len(view.all_of(kinds.REVISION)) < 4)
    view.apply(unread())
    eventually("the pod that serves is left alone", lambda: len(view.pods()) == 1)


def _has_revision(view: View, number: int) -> bool:
    found = view.get("llm", "a") or {}
    return bool(found.get("status", {}).get("rollout", {}).get("revision") == number)


def hide_the_children(view: View) -> None:
    """Take away the label by which each child is watched: as if new it is applied, found there, and read."""
    for kind, name in view.wait_children():
        view.kubectl("label", kind.lower(), name, f"{names.INSTANCE_LABEL}-")
    eventually("all have it again", lambda: all(_watched(obj) for obj in view.children().values()))


def _watched(obj: Object) -> bool:
    return names.INSTANCE_LABEL in obj["metadata"]["labels"]


def bind(view: View, pod: str) -> None:
    """What the scheduler does."""
    body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": {"kind": "Node", "name": "n"}}
    code, answer = view.plane.request("POST", f"/api/v1/namespaces/{view.namespace}/pods/{pod}/binding", body)
    assert code == 201, answer


def leave_behind(view: View, kind: str) -> None:
    """An object that looks like a child of a former LLMDeployment of the same name."""
    found = next(obj for (k, _), obj in view.children().items() if k.lower().endswith(kind.replace("pdb", "budget")))
    meta = {
        "name": f"a-left-{kind}",
        "labels": found["metadata"]["labels"],
        "ownerReferences": [{**found["metadata"]["ownerReferences"][0], "uid": "11111111-2222-3333-4444-555555555555"}],
    }
    body: Object = {key: value for key, value in found.items() if key not in ("status", "metadata")}
    if kind == "service":
        body["spec"] = {"ports": [{"port": 80}]}
    view.kubectl("create", "-f", "-", stdin=json.dumps({**body, "metadata": meta}))


# ------------------------------------------------- what an author of a CR could try to borrow

BORROWED: dict[str, Object] = {
    "a directory of the node": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
    "a token of a service account": {
        "volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]
    },
    "the network of the node": {"hostNetwork": True},
    "the processes of the node": {"hostPID": True},
    "a privileged container": {"securityContext": {"privileged": True}},
    "a container of their own": {"containers": [{"name": "x", "image": "x"}]},
    "another process": {"command": ["sh"]},
    "a node by name": {"nodeName": "control-plane"},
    "the token after all": {"automountServiceAccountToken": True},
    "another owner's pods": {"labels": {"serving.triton-vllm.dev/llmdeployment": "other"}},
}


@pytest.mark.parametrize("what", BORROWED)
def test_what_an_author_must_not_borrow_is_rejected(view: View, what: str) -> None:
    assert "spec.podTemplate" in rejection(view, llm("a", podTemplate=BORROWED[what]))


def rejection(view: View, obj: Object) -> str:
    """The API server's message about an object that it must reject."""
    with pytest.raises(subprocess.CalledProcessError) as rejected:
        view.kubectl("create", "--validate=strict", "-f", "-", stdin=json.dumps(obj))
    return str(rejected.value.stderr)


def test_a_claim_or_secret_of_another_namespace_cannot_be_named(view: View) -> None:
    for uri in ("pvc://other/../claim", "pvc://other:claim/path"):
        assert "spec.model.uri" in rejection(view, llm("a", model={"uri": uri}))
    token = {"uri": "hf://a/b", "tokenSecretRef": {"name": "s", "namespace": "kube-system"}}
    assert 'unknown field "spec.model.tokenSecretRef.namespace"' in rejection(view, llm("a", model=token))


def test_a_service_account_lends_its_name_but_not_its_token(view: View, operator: OperatorProcess) -> None:
    view.kubectl("create", "serviceaccount", "powerful")
    view.apply(llm("a", podTemplate={"serviceAccountName": "powerful"}))
    eventually("a pod", lambda: len(view.pods()) == 1)
    [pod] = view.pods()
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert not [volume for volume in pod["spec"]["volumes"] if "projected" in volume]


def test_a_service_that_others_rely_on_is_not_taken_by_its_name(view: View, operator: OperatorProcess) -> None:
    view.kubectl("create", "service", "clusterip", "database", "--tcp=5432")
    before = view.get("service", "database")
    view.apply(llm("database"))
    view.wait_reason("database", "NameTaken")
    assert view.get("service", "database") == before
