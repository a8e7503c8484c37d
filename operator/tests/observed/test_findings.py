"""Each way in which a deployment can fail to serve has its own reason, and a message that says what to do."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.desired.build import llm
from triton_vllm_operator.api.conditions import Condition, ConditionType, find
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.api.status import LLMDeploymentStatus
from triton_vllm_operator.desired import repository
from triton_vllm_operator.observed import needs, pods, status
from triton_vllm_operator.observed.findings import first_finding
from triton_vllm_operator.observed.gpu_shortage import ClassOfGPUs, GPUUse, HeldBy
from triton_vllm_operator.observed.observation import Observation
from triton_vllm_operator.observed.status import StatusBuilder

LLM = llm({"model": {"uri": "hf://a/b"}})
HASH = repository.content_hash(LLM)
SAFE = Condition(ConditionType.SECURITY_ADVISORY, "False", Reason.NO_KNOWN_CVES, "None is known.")


def pod(
    name: str = "p",
    *,
    ready: bool = False,
    config: str = HASH,
    template: str = "1",
    created: str = "",
    **status_fields: Any,
) -> dict[str, Any]:
    conditions = status_fields.pop("conditions", [{"type": "Ready", "status": "True" if ready else "False"}])
    return {
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": f"uid-{name}",
            "creationTimestamp": created,
            "labels": {"serving.triton-vllm.dev/llmdeployment": "llama", "pod-template-hash": template},
            "annotations": {"serving.triton-vllm.dev/config-hash": config},
        },
        "spec": {"nodeName": "n", "containers": [{"name": "server"}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": conditions, **status_fields},
    }


def container(**state: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "server", "restartCount": state.pop("restarts", 0), **state}]}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return container(state={"waiting": {"reason": reason, "message": message}})


def unschedulable(message: str) -> dict[str, Any]:
    found = pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}])
    del found["spec"]["nodeName"]
    return found


def deployment(ready: int = 0, **more: Any) -> dict[str, Any]:
    counts = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": ready, "observedGeneration": 3}
    return {"metadata": {"generation": 3}, "status": counts | more}


def look(*found: dict[str, Any], ready: int = 0, answers: dict[str, str] | None = None, **more: Any) -> Observation:
    made = more.pop("deployment", deployment(ready))
    return Observation(
        llm=more.pop("llm", LLM),
        deployment=made,
        pods=pods.read_all(found, "server"),
        config_hash=HASH,
        answers=answers or {},
        **more,
    )


SECRET = waiting("CreateContainerConfigError", 'secret "hf" not found')
KEY = waiting("CreateContainerConfigError", "couldn't find key token in Secret team/hf")
OOM = container(
    state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState={"terminated": {"reason": "OOMKilled"}}, restarts=3
)
CRASH = container(
    state={"waiting": {"reason": "CrashLoopBackOff"}},
    lastState={"terminated": {"reason": "Error", "message": "unexpected keyword argument 'foo'"}},
)
REPORT = {"phase": "Preflight", "failed": True, "cause": "there is no model at /model", "hint": "mount the volume"}
REPORTED = container(
    state={"waiting": {"reason": "CrashLoopBackOff"}},
    lastState={"terminated": {"reason": "Error", "message": json.dumps(REPORT)}},
)
QUOTA = [{"type": "ReplicaFailure", "status": "True", "message": "pods is forbidden: exceeded quota"}]
ACCOUNT = [{"type": "ReplicaFailure", "status": "True", "message": 'serviceaccount "x" not found'}]

# fmt: off
CASES: list[tuple[str, Observation, str, bool, str]] = [
    ("no deployment yet", look(deployment=None), "Creating", False, "created"),
    ("quota", look(deployment=deployment(conditions=QUOTA)), "PodsRefused", True, "exceeded quota"),
    ("service account", look(deployment=deployment(conditions=ACCOUNT)), "PodsRefused", True, "Create ServiceAccount x"),
    ("claim", look(unschedulable('persistentvolumeclaim "m" not found.')), "ClaimNotFound", True, "Claim m does not exist"),
    ("claim unbound", look(unschedulable("pod has unbound immediate PersistentVolumeClaims")), "ClaimNotBound", True, "storage class"),
    ("no node", look(unschedulable("0/2 nodes are available: 2 Insufficient memory.")), "Unschedulable", False, "Insufficient memory"),
    ("secret", look(pod(**SECRET)), "SecretNotFound", True, "Secret hf does not exist in namespace team"),
    ("secret key", look(pod(**KEY)), "SecretKeyNotFound", True, "Secret hf in namespace team has no key token"),
    ("config map", look(pod(**waiting("CreateContainerConfigError", 'configmap "c" not found'))), "ConfigMapNotFound", True, "ConfigMap c"),
    ("bad container", look(pod(**waiting("CreateContainerError", "boom"))), "ContainerNotCreated", True, "boom"),
    ("image", look(pod(**waiting("ImagePullBackOff", "manifest unknown"))), "ImagePullFailed", True, "manifest unknown"),
    ("volume", look(pod(), mount_errors={"p": 'secret "s" not found'}), "MountFailed", True, 'secret "s" not found'),
    ("out of memory", look(pod(**OOM)), "OutOfMemory", True, "spec.resources.memory"),
    ("engine", look(pod(**CRASH)), "ServerFailed", True, "unexpected keyword argument 'foo'"),
    ("reported", look(pod(**REPORTED)), "ServerFailed", True, "no model at /model. To do: mount the volume. It is being"),
    ("starting", look(pod(**container(state={"running": {}}))), "Starting", False, "loads the model"),
    ("rolling", look(pod("new"), pod("old", ready=True, config="other"), ready=1), "RollingOut", False, "previous configuration"),
    ("scaling", look(), "Scaling", False, "Waiting until 1"),
    ("ready just now", look(pod(ready=True), deployment=deployment(readyReplicas=1)), "Scaling", False, "reached by the"),
    ("no token", look(pod(ready=True), ready=1), "NoToken", False, "not answered"),
    ("bad token", look(pod(ready=True), ready=1, answers={"uid-p/0": "HTTP 500: x"}), "NoToken", False, "HTTP 500"),
]
# fmt: on


@pytest.mark.parametrize(("name", "seen", "reason", "stalled", "told"), CASES, ids=[c[0] for c in CASES])
def test_each_cause_has_its_reason_and_fix(name: str, seen: Observation, reason: str, stalled: bool, told: str) -> None:
    if reason == "RollingOut":
        seen = look(pod("new"), pod("old", ready=True, config="other"), deployment=deployment(1, updatedReplicas=0))
    found = first_finding(seen)
    assert found is not None
    assert (found.reason, found.stalled) == (reason, stalled)
    assert told in found.message
    conditions = {c.type: c for c in status.pod_conditions(seen, found)}
    assert conditions[ConditionType.READY].status == "False"
    assert conditions[ConditionType.STALLED].status == ("True" if stalled else "False")
    assert conditions[ConditionType.RECONCILING].status == ("False" if stalled else "True")


def test_ready_only_after_a_token() -> None:
    seen = look(pod(ready=True), ready=1, answers={"uid-p/0": ""})
    assert first_finding(seen) is None
    ready = next(c for c in status.pod_conditions(seen, None) if c.type == "Ready")
    assert (ready.status, ready.reason) == ("True", "Serving")


def test_a_restarted_container_must_prove_itself_again() -> None:
    again = pod(ready=True, **container(state={"running": {}}, restarts=1))
    found = first_finding(look(again, ready=1, answers={"uid-p/0": ""}))
    assert found is not None
    assert found.reason == "NoToken"


def test_a_stale_deployment_status_is_not_success() -> None:
    stale = deployment(1, observedGeneration=2)
    found = first_finding(look(pod(ready=True), deployment=stale, answers={"uid-p/0": ""}))
    assert found is not None


LACKING = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."


def test_gpus_are_told_with_their_holders_and_the_scheduler_s_words() -> None:
    one = ClassOfGPUs("NVIDIA-L4", 8, 0, 0, [HeldBy("LLMDeployment team/big", 8, 0)])
    use = GPUUse("nvidia.com/gpu", 8, 8, [one], yields=0, by_dra=0, complete=True)
    waits = unschedulable(LACKING)
    waits["spec"]["priority"] = 7
    found = first_finding(look(waits, gpu_use=use))
    assert found is not None
    assert (found.reason, found.stalled) == ("InsufficientGPUs", False)
    assert "Of 8 NVIDIA-L4, none is free; held by LLMDeployment team/big 8." in found.message
    assert "the scheduler may end those for this pod. Scheduler: 0/2 nodes are available" in found.message
    waits["spec"]["preemptionPolicy"] = "Never"
    told = first_finding(look(waits, gpu_use=use))
    assert told is not None
    assert "a preempting PriorityClass of more than 0 in spec.scheduling.priorityClassName" in told.message


def test_where_the_nodes_may_not_be_listed_the_scheduler_s_words_are_told() -> None:
    found = first_finding(look(unschedulable(LACKING)))
    assert found is not None
    assert found.reason == "InsufficientGPUs"
    assert found.message.startswith("Who holds the GPUs is not known: the nodes may not be listed. Scheduler: 0/2")


def test_the_number_of_pods_that_another_controller_sets_is_the_number_to_reach(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = look(pod(ready=True), ready=1, answers={"uid-p/0": ""})
    assert first_finding(seen) is None
    monkeypatch.setattr(LLMDeployment, "owns_replicas", False)
    assert seen.deployment is not None
    scaled = replace(seen, deployment={**seen.deployment, "spec": {"replicas": 2}})
    finding = first_finding(scaled)
    assert finding is not None
    assert scaled.desired_replicas == 2


def test_zero_replicas_are_neither_ready_nor_moving() -> None:
    zero = llm({"model": {"uri": "hf://a/b"}, "replicas": 0})
    seen = look(llm=zero)
    found = first_finding(seen)
    assert found is not None
    conditions = {c.type: c.status for c in status.pod_conditions(seen, found)}
    assert conditions == {"Available": "False", "Reconciling": "False", "Stalled": "False"}


def test_what_a_look_needs_is_known_before_it_is_fetched() -> None:
    seen = look(unschedulable("2 Insufficient nvidia.com/gpu"))
    assert needs.waits_for_gpu(seen)
    assert not needs.waits_for_gpu(look(unschedulable("2 Insufficient cpu")))
    assert needs.waits_for_gpu(look(unschedulable("0/1 nodes are available: 1 cannot allocate all claims.")))
    creating = look(pod(**waiting("ContainerCreating")))
    assert [p.name for p in needs.pods_in_creation(creating)] == ["p"]
    assert [p.name for p in needs.pods_to_prove(look(pod(ready=True)))] == ["p"]
    assert needs.pods_to_prove(look(pod(ready=True), answers={"uid-p/0": ""})) == []


def test_the_newest_mount_event_is_told() -> None:
    events = [
        {"reason": "FailedMount", "message": "old", "lastTimestamp": "2026-01-01T00:00:00Z"},
        {"reason": "FailedMount", "message": "new", "lastTimestamp": "2026-01-02T00:00:00Z"},
        {"reason": "Pulled", "message": "image", "lastTimestamp": "2026-01-03T00:00:00Z"},
    ]
    assert needs.mount_error(events) == "new"
    assert needs.mount_error([]) == ""


def test_availability_counts_pods_of_any_configuration() -> None:
    seen = look(pod("old", ready=True, config="other"))
    available = next(c for c in status.pod_conditions(seen, None) if c.type == "Available")
    assert available.status == "True"
    two = llm({"model": {"uri": "hf://a/b"}, "replicas": 2})
    fewer = next(c for c in status.pod_conditions(look(pod("old", ready=True), llm=two), None) if c.type == "Available")
    assert (fewer.status, fewer.reason) == ("False", "TooFewReplicas")


def test_a_refused_spec_keeps_what_serves() -> None:
    before = {"replicas": 1, "conditions": [{"type": "Available", "status": "True", "reason": "x", "message": "y"}]}
    after = StatusBuilder(before, 4, "t").rejected(Reason.INVALID_SPEC, "why")
    assert find(after["conditions"], "Available") == before["conditions"][0]  # type: ignore[index]
    assert (after["observedGeneration"], after["replicas"]) == (4, 1)
    assert (find(after["conditions"], "Stalled") or {})["status"] == "True"


def test_the_status_is_the_same_for_the_same_look() -> None:
    seen = look(pod(ready=True), ready=1, answers={"uid-p/0": ""})
    once = StatusBuilder({}, 3, "t1").observed(seen, None, [SAFE], LLMDeploymentStatus(release="r"))
    assert StatusBuilder(once, 3, "t2").observed(seen, None, [SAFE], LLMDeploymentStatus(release="r")) == once


def test_the_trouble_of_a_pod_that_is_being_replaced_is_not_told() -> None:
    broken = pod("old", template="1", created="2026-01-01T00:00:00Z", **waiting("ImagePullBackOff", "no such image"))
    fixed = pod("new", template="2", created="2026-01-01T00:01:00Z")
    alone = first_finding(look(broken))
    assert alone is not None
    assert alone.reason == "ImagePullFailed"
    found = first_finding(look(broken, fixed))
    assert found is not None
    assert (found.reason, found.stalled) == ("RollingOut", False)


def test_the_trouble_of_a_replacement_is_told_while_the_old_pod_serves() -> None:
    serving = pod("old", ready=True, template="1", created="2026-01-01T00:00:00Z")
    broken = pod("new", template="2", created="2026-01-01T00:01:00Z", **waiting("ImagePullBackOff", "no such image"))
    found = first_finding(look(serving, broken, ready=1))
    assert found is not None
    assert found.reason == "ImagePullFailed"
