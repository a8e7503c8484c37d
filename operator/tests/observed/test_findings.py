"""Each way in which a deployment can fail to serve has its own reason, and a message that says what to do."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.builders.observations import container, deployment, observation, pod, unschedulable, waiting
from tests.desired.build import llm
from tests.observed import messages
from triton_vllm_operator.api.conditions import Condition, ConditionType, find
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import AutoscalingSpec
from triton_vllm_operator.api.status import LLMDeploymentStatus
from triton_vllm_operator.observed import status
from triton_vllm_operator.observed.findings import Finding, first_finding
from triton_vllm_operator.observed.gpu_shortage import ClassOfGPUs, GPUUse, GPUUser
from triton_vllm_operator.observed.observation import Observation
from triton_vllm_operator.observed.status import StatusBuilder

SAFE = Condition(ConditionType.SECURITY_ADVISORY, "False", Reason.NO_KNOWN_CVES, "None is known.")
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
    ("no deployment yet", observation(deployment=None), "Creating", False, "created"),
    ("quota", observation(deployment=deployment(conditions=QUOTA)), "PodsRefused", True, "exceeded quota"),
    ("service account", observation(deployment=deployment(conditions=ACCOUNT)), "PodsRefused", True, "Create ServiceAccount x"),
    ("claim", observation(unschedulable('persistentvolumeclaim "m" not found.')), "ClaimNotFound", True, "Claim m does not exist"),
    ("claim unbound", observation(unschedulable("pod has unbound immediate PersistentVolumeClaims")), "ClaimNotBound", True, "storage class"),
    ("no node", observation(unschedulable("0/2 nodes are available: 2 Insufficient memory.")), "Unschedulable", False, "Insufficient memory"),
    ("secret", observation(pod(**SECRET)), "SecretNotFound", True, "Secret hf does not exist in namespace team"),
    ("secret key", observation(pod(**KEY)), "SecretKeyNotFound", True, "Secret hf in namespace team has no key token"),
    ("config map", observation(pod(**waiting("CreateContainerConfigError", 'configmap "c" not found'))), "ConfigMapNotFound", True, "ConfigMap c"),
    ("bad container", observation(pod(**waiting("CreateContainerError", "boom"))), "ContainerNotCreated", True, "boom"),
    ("image", observation(pod(**waiting("ImagePullBackOff", "manifest unknown"))), "ImagePullFailed", True, "manifest unknown"),
    ("volume", observation(pod(), mount_errors={"p": 'secret "s" not found'}), "MountFailed", True, 'secret "s" not found'),
    ("out of memory", observation(pod(**OOM)), "OutOfMemory", True, "spec.resources.memory"),
    ("engine", observation(pod(**CRASH)), "ServerFailed", True, "unexpected keyword argument 'foo'"),
    ("reported", observation(pod(**REPORTED)), "ServerFailed", True, "no model at /model. To do: mount the volume. It is being"),
    ("starting", observation(pod(**container(state={"running": {}}))), "Starting", False, "loads the model"),
    ("rolling", observation(pod("new"), pod("old", ready=True, config="other"), deployment=deployment(1, updatedReplicas=0)), "RollingOut", False, "previous configuration"),
    ("scaling", observation(), "Scaling", False, "Waiting until 1"),
    ("ready just now", observation(pod(ready=True), deployment=deployment(readyReplicas=1)), "Scaling", False, "reached by the"),
    ("no token", observation(pod(ready=True), ready=1), "NoToken", False, "not answered"),
    ("bad token", observation(pod(ready=True), ready=1, answers={"uid-p/0": "HTTP 500: x"}), "NoToken", False, "HTTP 500"),
]
# fmt: on


@pytest.mark.parametrize(("name", "seen", "reason", "stalled", "message"), CASES, ids=[c[0] for c in CASES])
def test_each_cause_has_its_reason_and_fix(
    name: str, seen: Observation, reason: str, stalled: bool, message: str
) -> None:
    found = first_finding(seen)
    assert found is not None
    assert (found.reason, found.stalled) == (reason, stalled)
    assert message in found.message
    conditions = {c.type: c for c in status.pod_conditions(seen, found)}
    assert conditions[ConditionType.READY].status == "False"
    assert conditions[ConditionType.STALLED].status == ("True" if stalled else "False")
    assert conditions[ConditionType.RECONCILING].status == ("False" if stalled else "True")


# ------------------------------------------------------------------------------------------------ states of a pod

ANSWERED = {"uid-p/0": "", "uid-p/1": "", "uid-p/2": ""}
CRASHED: dict[str, Any] = {"lastState": {"terminated": {"reason": "Error", "exitCode": 1, "message": "CUDA error"}}}
KILLED: dict[str, Any] = {"lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}
PREEMPTED: dict[str, Any] = {"lastState": {"terminated": {"reason": "NodeLost", "exitCode": 255}}}
RUNS: dict[str, Any] = {"state": {"running": {}}, "started": True}
LOADS: dict[str, Any] = {"state": {"running": {}}, "started": False}
BACKS_OFF: dict[str, Any] = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}}


def one(*, ready: bool = False, **state: Any) -> Observation:
    """A Deployment of one pod in this state, which answers with a token whenever it is ready."""
    return observation(pod(ready=ready, **container(**state)), ready=int(ready), answers=ANSWERED)


# fmt: off
STATES: list[tuple[str, Observation, Reason | None]] = [
    ("serves", one(ready=True, **RUNS), None),
    ("serves, crashed before", one(ready=True, **RUNS, **CRASHED, restarts=1), None),
    ("serves, out of memory before", one(ready=True, **RUNS, **KILLED, restarts=2), None),
    ("serves, lost its node before", one(ready=True, **RUNS, **PREEMPTED, restarts=1), None),
    ("loads for the first time", one(**LOADS), Reason.STARTING),
    ("loads again after a crash", one(**LOADS, **CRASHED, restarts=1), Reason.SERVER_FAILED),
    ("loads again, out of memory before", one(**LOADS, **KILLED, restarts=1), Reason.OUT_OF_MEMORY),
    ("ended just now", one(state={"terminated": {"reason": "Error", "message": "x"}}), Reason.SERVER_FAILED),
    ("ended out of memory just now", one(state={"terminated": {"reason": "OOMKilled"}}), Reason.OUT_OF_MEMORY),
    ("waits for a restart", one(**BACKS_OFF, **CRASHED, restarts=3), Reason.SERVER_FAILED),
    ("waits for a restart, without a message", one(**BACKS_OFF, restarts=3), Reason.SERVER_FAILED),
    ("evicted", observation({**pod(), "status": {"phase": "Failed", "reason": "Evicted"}}), Reason.POD_EVICTED),
    ("creates its container", observation(pod(**waiting("ContainerCreating"))), Reason.STARTING),
    ("cannot pull", observation(pod(**waiting("ErrImagePull", "x"))), Reason.IMAGE_PULL_FAILED),
    ("cannot pull, name invalid", observation(pod(**waiting("InvalidImageName", "x"))), Reason.IMAGE_PULL_FAILED),
    ("cannot run", observation(pod(**waiting("RunContainerError", "x"))), Reason.CONTAINER_NOT_CREATED),
    ("not scheduled", observation(unschedulable("1 node(s) had untolerated taint.")), Reason.UNSCHEDULABLE),
    ("not scheduled yet", observation({**pod(), "spec": {"containers": []}}), Reason.SCALING),
    ("is deleted and its successor loads", observation(pod("p", **container(**LOADS)), {**pod("q", ready=True), "metadata": {**pod("q")["metadata"], "deletionTimestamp": "t"}}), Reason.STARTING),
]
# fmt: on


@pytest.mark.parametrize(("name", "seen", "reason"), STATES, ids=[row[0] for row in STATES])
def test_each_state_of_a_pod_has_its_reason(name: str, seen: Observation, reason: Reason | None) -> None:
    found = first_finding(seen)
    assert (found.reason if found else None) == reason


def test_the_messages_equal_the_golden_file() -> None:
    golden = messages.GOLDEN / "findings.txt"
    rows = [*((row[0], row[1]) for row in CASES), *((row[0], row[1]) for row in STATES)]
    assert messages.text(rows) == golden.read_text(), "see tests/observed/messages.py"


def test_a_ready_pod_does_not_hide_a_failed_one() -> None:
    two = llm({"model": {"uri": "hf://a/b"}, "replicas": 2})
    failed = pod("q", **container(**BACKS_OFF, **CRASHED, restarts=3))
    counts = deployment(1, replicas=2, updatedReplicas=2)
    found = first_finding(observation(pod(ready=True), failed, llm=two, deployment=counts, answers=ANSWERED))
    assert found is not None
    assert (found.reason, "pod q" in found.message) == (Reason.SERVER_FAILED, True)


def test_ready_only_after_a_token() -> None:
    seen = observation(pod(ready=True), ready=1, answers={"uid-p/0": ""})
    assert first_finding(seen) is None
    ready = next(c for c in status.pod_conditions(seen, None) if c.type == "Ready")
    assert (ready.status, ready.reason) == ("True", "Serving")


def test_a_restarted_container_must_prove_itself_again() -> None:
    again = pod(ready=True, **container(state={"running": {}}, restarts=1))
    found = first_finding(observation(again, ready=1, answers={"uid-p/0": ""}))
    assert found is not None
    assert found.reason == "NoToken"


def test_a_stale_deployment_status_is_not_success() -> None:
    stale = deployment(1, observedGeneration=2)
    found = first_finding(observation(pod(ready=True), deployment=stale, answers={"uid-p/0": ""}))
    assert found is not None


LACKING = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."


def test_gpus_are_told_with_their_holders_and_the_scheduler_s_words() -> None:
    one = ClassOfGPUs("NVIDIA-L4", 8, 0, 0, [GPUUser("LLMDeployment team/big", 8, 0)])
    use = GPUUse("nvidia.com/gpu", 8, 8, [one], yields=0, by_dra=0, complete=True)
    waits = unschedulable(LACKING)
    waits["spec"]["priority"] = 7
    found = first_finding(observation(waits, gpu_use=use))
    assert found is not None
    assert (found.reason, found.stalled) == ("InsufficientGPUs", False)
    assert "Of 8 NVIDIA-L4, none is free; held by LLMDeployment team/big 8." in found.message
    assert "the scheduler may end those for this pod. Scheduler: 0/2 nodes are available" in found.message
    waits["spec"]["preemptionPolicy"] = "Never"
    told = first_finding(observation(waits, gpu_use=use))
    assert told is not None
    assert "a preempting PriorityClass of more than 0 in spec.scheduling.priorityClassName" in told.message


def test_where_the_nodes_may_not_be_listed_the_scheduler_s_words_are_told() -> None:
    found = first_finding(observation(unschedulable(LACKING)))
    assert found is not None
    assert found.reason == "InsufficientGPUs"
    assert found.message.startswith("Who holds the GPUs is not known: the nodes may not be listed. Scheduler: 0/2")


def test_the_number_of_pods_that_autoscaling_has_decided_on_is_the_number_to_reach() -> None:
    seen = observation(pod(ready=True), ready=1, answers={"uid-p/0": ""})
    assert first_finding(seen) is None
    target = AutoscalingSpec.model_validate({"maxReplicas": 3, "target": {"inFlightPerReplica": 8}})
    autoscaled = seen.llm.model_copy(update={"spec": seen.llm.spec.model_copy(update={"autoscaling": target})})
    assert first_finding(replace(seen, llm=autoscaled)) is None
    scaled = replace(seen, llm=autoscaled.with_scaled(2))
    finding = first_finding(scaled)
    assert finding is not None
    assert scaled.desired_replicas == 2


def test_zero_replicas_are_neither_ready_nor_moving() -> None:
    zero = llm({"model": {"uri": "hf://a/b"}, "replicas": 0})
    seen = observation(llm=zero)
    found = first_finding(seen)
    assert found is not None
    conditions = {c.type: c.status for c in status.pod_conditions(seen, found)}
    assert conditions == {"Available": "False", "Reconciling": "False", "Stalled": "False"}


def test_availability_counts_pods_of_any_configuration() -> None:
    seen = observation(pod("old", ready=True, config="other"))
    available = next(c for c in status.pod_conditions(seen, None) if c.type == "Available")
    assert available.status == "True"
    two = llm({"model": {"uri": "hf://a/b"}, "replicas": 2})
    fewer = next(
        c for c in status.pod_conditions(observation(pod("old", ready=True), llm=two), None) if c.type == "Available"
    )
    assert (fewer.status, fewer.reason) == ("False", "TooFewReplicas")


AVAILABLE = {"type": "Available", "status": "True", "reason": "EnoughReplicas", "message": "y"}
ACCURATE = {"type": "PlanAccurate", "status": "False", "reason": "WeightsDiffer", "message": "z"}
SERVED: dict[str, Any] = {
    "replicas": 1,
    "actual": {"pod": "p"},
    "plan": {"verdict": "Fits"},
    "conditions": [AVAILABLE, ACCURATE, {"type": "Ready", "status": "True", "reason": "Serving", "message": "x"}],
}


def types(status: dict[str, Any]) -> list[str]:
    return [condition["type"] for condition in status["conditions"]]


def test_a_rejected_spec_keeps_what_serves_and_what_is_known_of_the_engine() -> None:
    after = StatusBuilder(SERVED, 4, "t").rejected(Reason.INVALID_SPEC, "why")
    assert find(after["conditions"], "Available") == AVAILABLE
    assert find(after["conditions"], "PlanAccurate") == ACCURATE
    assert (after["observedGeneration"], after["replicas"], after["plan"]) == (4, 1, {"verdict": "Fits"})
    assert (find(after["conditions"], "Stalled") or {})["status"] == "True"
    assert types(after) == ["Available", "PlanAccurate", "Ready", "Reconciling", "Stalled"]


def test_a_held_deployment_keeps_what_serves_and_forgets_the_old_plan() -> None:
    cause = Finding(Reason.INSPECTING, "A pod reads the model.")
    after = StatusBuilder(SERVED, 4, "t").held(cause, [SAFE], LLMDeploymentStatus())
    assert find(after["conditions"], "PlanAccurate") == ACCURATE
    assert types(after) == ["Available", "PlanAccurate", "Ready", "Reconciling", "SecurityAdvisory", "Stalled"]
    assert ("plan" in after, after["actual"]) == (False, {"pod": "p"})
    assert (find(after["conditions"], "Reconciling") or {})["status"] == "True"


@pytest.mark.parametrize(("generation", "ready"), [(3, "True"), (4, "False")])
def test_an_error_keeps_ready_of_the_same_generation(generation: int, ready: str) -> None:
    before = {"conditions": [{**SERVED["conditions"][2], "observedGeneration": 3}, ACCURATE]}
    after = StatusBuilder(before, generation, "t").blocked(Finding(Reason.API_SERVER_ERROR, "x"))
    assert (find(after["conditions"], "Ready") or {})["status"] == ready
    assert types(after) == ["PlanAccurate", "Ready", "Reconciling", "Stalled"]


def test_the_status_is_the_same_for_the_same_look() -> None:
    seen = observation(pod(ready=True), ready=1, answers={"uid-p/0": ""})
    once = StatusBuilder({}, 3, "t1").observed(seen, None, [SAFE], LLMDeploymentStatus(release="r"))
    assert StatusBuilder(once, 3, "t2").observed(seen, None, [SAFE], LLMDeploymentStatus(release="r")) == once


def test_the_trouble_of_a_pod_that_is_being_replaced_is_not_told() -> None:
    broken = pod("old", template="1", created="2026-01-01T00:00:00Z", **waiting("ImagePullBackOff", "no such image"))
    fixed = pod("new", template="2", created="2026-01-01T00:01:00Z")
    alone = first_finding(observation(broken))
    assert alone is not None
    assert alone.reason == "ImagePullFailed"
    found = first_finding(observation(broken, fixed))
    assert found is not None
    assert (found.reason, found.stalled) == ("RollingOut", False)


def test_the_trouble_of_a_replacement_is_told_while_the_old_pod_serves() -> None:
    serving = pod("old", ready=True, template="1", created="2026-01-01T00:00:00Z")
    broken = pod("new", template="2", created="2026-01-01T00:01:00Z", **waiting("ImagePullBackOff", "no such image"))
    found = first_finding(observation(serving, broken, ready=1))
    assert found is not None
    assert found.reason == "ImagePullFailed"
