"""What serves stays, whatever happens to the LLMDeployment: real garbage collection, a real Deployment controller."""

from __future__ import annotations

import json
import time

from tests.apiserver.fixtures import StartOperator
from tests.apiserver.kubelet import pod_ready
from tests.apiserver.operators import PROVEN, OperatorProcess, eventually
from tests.apiserver.view import WORDS, Object, View, llm

READ_ONLY = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "ownerReferences")


def serves(view: View) -> str:
    """Uid of the only pod of a new LLMDeployment, which serves."""
    view.apply(llm("a"))
    view.wait_children()
    eventually("one pod", lambda: len(view.pods()) == 1)
    view.fake_pod_status(view.pods()[0]["metadata"]["name"], pod_ready())
    view.wait_reason("a", "Serving")
    return str(view.pods()[0]["metadata"]["uid"])


def identities(view: View) -> set[tuple[str, str, str]]:
    """A child that was made again has another uid; a Deployment that restarts pods has another template.

    A Deployment's generation rises with each change of its annotations.
    """
    children = view.children().values()
    templates = [json.dumps(child.get("spec", {}).get("template"), sort_keys=True) for child in children]
    meta = [child["metadata"] for child in children]
    return {(one["name"], one["uid"], template) for one, template in zip(meta, templates, strict=True)}


def owned(view: View) -> bool:
    """Whether the LLMDeployment that is there now is the only owner of five children."""
    uid = (view.get("llm", "a") or {})["metadata"]["uid"]
    owners = [child["metadata"].get("ownerReferences", []) for child in view.children().values()]
    return len(owners) == 5 and all([ref["uid"] for ref in refs] == [uid] for refs in owners)


def test_orphaned_children_are_adopted_and_no_pod_restarts(view: View, operator: OperatorProcess) -> None:
    pod = serves(view)
    before = identities(view)
    view.kubectl("delete", "llm", "a", "--cascade=orphan")
    assert identities(view) == before
    view.apply(llm("a"))
    eventually("adopted", lambda: owned(view))
    view.wait_reason("a", "Serving")
    time.sleep(2)
    assert owned(view)
    assert identities(view) == before
    assert [one["metadata"]["uid"] for one in view.pods()] == [pod]
    view.kubectl("delete", "llm", "a")
    eventually("collected with their new owner", lambda: view.children() == {} and view.pods() == [])


def test_children_that_were_restored_from_a_backup_are_adopted(
    view: View, operator: OperatorProcess, start_operator: StartOperator
) -> None:
    """A backup tool writes them with new uids, without owners, and as the manager of all their fields."""
    pod = serves(view)
    backup = [restorable(child) for child in view.children().values()]
    assert operator.stop() == 0
    view.kubectl("delete", "llm", "a", "--cascade=orphan")
    for kind, name in view.children():
        view.kubectl("delete", kind, name, "--cascade=orphan")
    for child in backup:
        path = WORDS[child["kind"].lower()].path(view.namespace)
        view.plane.must("POST", f"{path}?fieldManager=backup", child)
    eventually("the pod has its Deployment again", lambda: observed(view))
    before = identities(view)
    view.apply(llm("a"))
    start_operator(program=PROVEN)
    eventually("adopted", lambda: owned(view))
    view.wait_reason("a", "Serving")
    assert identities(view) == before
    assert [one["metadata"]["uid"] for one in view.pods()] == [pod]


def restorable(obj: Object) -> Object:
    """An object as a backup has it: without what the API server sets."""
    meta = {key: value for key, value in obj["metadata"].items() if key not in READ_ONLY}
    spec = {key: value for key, value in obj.get("spec", {}).items() if not key.startswith("clusterIP")}
    if obj["metadata"]["name"].endswith("-headless"):
        spec["clusterIP"] = "None"
    return {**obj, "metadata": meta, **({"spec": spec} if spec else {}), "status": {}}


def observed(view: View) -> bool:
    status = (view.get("deployment", "a") or {}).get("status", {})
    return bool(status.get("readyReplicas") == 1)


def endpoint(view: View) -> str:
    """The setting in which the two operators differ, as the Deployment has it."""
    found = view.get("deployment", "a") or {}
    env = found["spec"]["template"]["spec"]["containers"][0]["env"]
    return next((str(one["value"]) for one in env if one["name"] == "HF_ENDPOINT"), "")


def generation(view: View) -> int:
    return int((view.get("deployment", "a") or {})["metadata"]["generation"])


def test_a_second_operator_with_another_setting_moves_nothing_while_the_first_one_lives(
    view: View, operator: OperatorProcess, start_operator: StartOperator
) -> None:
    serves(view)
    before = generation(view)
    options = ("--lease-name=second", "--no-leader-election", "--takeover-seconds=10")
    second = start_operator(*options, "--serving-env=HF_ENDPOINT=http://second", program=PROVEN)
    eventually("reported", lambda: view.condition("a", "Contested").get("reason") == "OperatorsOverlap")
    first_name, second_name = (view.get("llm", "a") or {})["status"]["operator"]["name"], f"{view.namespace}/second"

    def counts(process: OperatorProcess, other: str) -> bool:
        name = f'triton_vllm_operator_contested{{name="a",namespace="{view.namespace}",operator="{other}"}}'
        return process.metric(name) == 1.0

    eventually("the first one knows", lambda: counts(operator, second_name))
    eventually("the second one knows", lambda: counts(second, first_name))
    view.kubectl("annotate", "llm", "a", "look=again")
    time.sleep(3)
    assert (generation(view), endpoint(view)) == (before, "")
    operator.kill()  # the second one asks every 40 s
    eventually("taken over", lambda: endpoint(view) == "http://second", limit_s=120)
    taken = generation(view)
    operator.start()
    eventually("leads again", operator.leads)
    view.kubectl("annotate", "llm", "a", "look=twice", "--overwrite")
    time.sleep(3)
    assert (generation(view), endpoint(view)) == (taken, "http://second")
