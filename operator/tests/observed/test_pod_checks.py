"""Every state that Kubernetes can show for a pod has a reason, and none counts as progress unless something progresses."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders.observations import container, deployment, observation, pod, unschedulable, waiting
from tests.desired.build import llm
from tests.observed import messages
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.observed import findings, needs
from triton_vllm_operator.observed.findings import first_finding
from triton_vllm_operator.observed.observation import Observation

T0, SOON, LATER, NEXT_DAY = (
    "2026-01-01T00:00:00Z",
    "2026-01-01T00:00:30Z",
    "2026-01-01T00:20:00Z",
    "2026-01-02T00:00:00Z",
)
Object = dict[str, Any]


def at(now: str, *pods: Object, **more: Any) -> Observation:
    return replace(observation(*pods, **more), now=now)


def condition(kind: str, status: str, reason: str = "", message: str = "", since: str = T0) -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since}


def placed(*conditions: Object, server: Object | None = None, **status: Any) -> Object:
    """A pod on a node, whose server waits for its container unless `server` says otherwise."""
    state = server or {"state": {"waiting": {"reason": "ContainerCreating"}}}
    return pod(created=T0, conditions=list(conditions), **{**container(**state), **status})


def pending(*conditions: Object, **spec: Any) -> Object:
    found = pod(created=T0, conditions=list(conditions), phase="Pending")
    return {**found, "spec": {"containers": [{"name": "server"}], **spec}}


def failed(name: str, reason: str, message: str = "", **status: Any) -> Object:
    ended = condition("Ready", "False", "PodFailed")
    return pod(name, created=T0, conditions=[ended], phase="Failed", reason=reason, message=message, **status)


def beside(kind: str, name: str = "istio", **state: Any) -> Object:
    """A pod with an init container or a sidecar in this state."""
    other = {"name": name, "restartCount": 0, **state}
    if kind == "initContainerStatuses":
        return placed(server={"state": {"waiting": {"reason": "PodInitializing"}}}, initContainerStatuses=[other])
    server = {"name": "server", "restartCount": 0, "state": {"running": {}}, "started": False}
    return placed(containerStatuses=[server, other])


RUNS: Object = {"state": {"running": {"startedAt": T0}}, "started": True, "ready": False}
EVICTED = "The node was low on resource: ephemeral-storage."
UNREADY = condition("Ready", "False", "ContainersNotReady", "containers with unready status: [server]", LATER)
CRASH: Object = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 3}}}
PULL: Object = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
RAN: Object = {
    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    "lastState": {"terminated": {"reason": "Error", "exitCode": 1, "startedAt": SOON}},
}
BLOCKED = placed(
    server={"state": {"waiting": {"reason": "PodInitializing"}}},
    initContainerStatuses=[{"name": "istio", "started": False, "state": {"running": {"startedAt": T0}}}],
)
BLOCKED["spec"]["initContainers"] = [{"name": "istio", "restartPolicy": "Always"}]
GATED = pending(condition("PodScheduled", "False", "SchedulingGated"), schedulingGates=[{"name": "kueue.x-k8s.io/a"}])
LOST = placed(condition("Ready", "False"), condition("ContainersReady", "True"), server={**RUNS, "ready": True})
GATE = placed(
    condition(
        "Ready", "False", "ReadinessGatesNotReady", 'corresponding condition of pod readiness gate "x" does not exist.'
    ),
    condition("ContainersReady", "True"),
    server={**RUNS, "ready": True},
)
DELETED = {**placed(), "metadata": {**placed()["metadata"], "deletionTimestamp": T0}}
GOING = {**deployment(1), "metadata": {"generation": 3, "deletionTimestamp": T0, "finalizers": ["example.com/keep"]}}
PAUSED = {**deployment(1, updatedReplicas=0), "spec": {"paused": True}}

# fmt: off
# What it is, the pods at a time, the reason, whether it is Stalled, words of the message.
STATES: list[tuple[str, Observation, Reason, bool, str]] = [
    ("evicted once, its successor starts", at(SOON, failed("q", "Evicted", EVICTED), placed()), Reason.POD_EVICTED, False, "Evicted: The node was low on resource: ephemeral-storage. Raise spec.resources.ephemeralStorage"),
    ("evicted again and again", at(SOON, failed("q", "Evicted", EVICTED), failed("r", "Evicted", EVICTED), placed()), Reason.POD_EVICTED, True, "Evicted"),
    ("evicted without a successor", at(LATER, failed("q", "Evicted", "low on resource: memory")), Reason.POD_EVICTED, True, "spec.resources.memory"),
    ("evicted a day ago", at(NEXT_DAY, failed("q", "Evicted"), failed("r", "Evicted"), pending()), Reason.SCHEDULER_MISSING, True, "default-scheduler"),
    ("rejected by the kubelet", at(SOON, failed("q", "OutOfnvidia.com/gpu", "x"), failed("r", "OutOfcpu")), Reason.POD_FAILED, True, "no room"),
    ("rejected by a device plugin", at(SOON, failed("q", "UnexpectedAdmissionError", "Allocate failed")), Reason.POD_FAILED, False, "device plugin"),
    ("rejected for its labels", at(SOON, failed("q", "NodeAffinity")), Reason.POD_FAILED, False, "spec.scheduling"),
    ("rejected for what is not known", at(SOON, failed("q", "Brandnew", "words")), Reason.POD_FAILED, False, "Brandnew: words."),
    ("node was shut down", at(SOON, failed("q", "Terminated", "Pod was terminated in response to imminent node shutdown.")), Reason.POD_FAILED, False, "shut down"),
    ("Deployment deleted by others", at(SOON, placed(), deployment=GOING), Reason.DEPLOYMENT_BEING_DELETED, False, "waits for its finalizers: example.com/keep. It is created again"),
    ("Deployment kept by a finalizer", at(LATER, deployment=GOING), Reason.DEPLOYMENT_BEING_DELETED, True, "Check the controllers that remove its finalizers."),
    ("gated", at(SOON, GATED), Reason.SCHEDULING_GATED, False, "kueue.x-k8s.io/a"),
    ("gated for long", at(LATER, GATED), Reason.SCHEDULING_GATED, True, "queue"),
    ("no such scheduler, at once", at(SOON, pending(schedulerName="volcano")), Reason.SCALING, False, "Waiting"),
    ("no such scheduler", at(LATER, pending(schedulerName="volcano")), Reason.SCHEDULER_MISSING, True, "Scheduler volcano has not"),
    ("scheduler's error", at(SOON, pending(condition("PodScheduled", "False", "SchedulerError", "boom"))), Reason.UNSCHEDULABLE, False, "boom. Check the log of scheduler"),
    ("scheduler's new word", at(SOON, pending(condition("PodScheduled", "False", "Brandnew"))), Reason.UNSCHEDULABLE, False, "Brandnew"),
    ("volume in another zone", at(SOON, unschedulable("1 node(s) had volume node affinity conflict.")), Reason.UNSCHEDULABLE, False, "another zone"),
    ("claim that is deleted", at(SOON, unschedulable('persistentvolumeclaim "m" is being deleted.')), Reason.CLAIM_NOT_BOUND, True, "Create the claim again"),
    ("node lost, by the controller of nodes", at(SOON, LOST), Reason.NODE_LOST, True, "Node n of pod p does not answer"),
    ("node lost, phase Unknown", at(SOON, placed(phase="Unknown")), Reason.NODE_LOST, True, "Node n"),
    ("node lost, Ready Unknown", at(SOON, placed(condition("Ready", "Unknown"))), Reason.NODE_LOST, True, "Node n"),
    ("node lost, by reason", at(SOON, placed(reason="NodeLost", message="was running pod p")), Reason.NODE_LOST, True, "was running pod p"),
    ("kubelet never picks it up", at(LATER, placed(containerStatuses=[])), Reason.NODE_LOST, True, "Node n"),
    ("deletion without an end", at(LATER, DELETED), Reason.DELETION_STUCK, True, "--force"),
    ("deletion within its time", at(SOON, DELETED), Reason.SCALING, False, "Waiting"),
    ("init container crashes", at(SOON, beside("initContainerStatuses", **CRASH)), Reason.CONTAINER_FAILED, True, "init container istio of pod p has ended: ExitCode3"),
    ("init container cannot be pulled", at(SOON, beside("initContainerStatuses", **PULL)), Reason.IMAGE_PULL_FAILED, True, "init container istio of pod p cannot be pulled: no such image"),
    ("init container runs", at(SOON, beside("initContainerStatuses", state={"running": {}})), Reason.STARTING, False, "The init container istio of pod p runs."),
    ("sidecar crashes", at(SOON, beside("containerStatuses", **CRASH)), Reason.CONTAINER_FAILED, True, "kubectl logs p -c istio"),
    ("sidecar cannot be pulled", at(SOON, beside("containerStatuses", **PULL)), Reason.IMAGE_PULL_FAILED, True, "sidecar istio"),
    ("sidecar lacks a Secret", at(SOON, beside("containerStatuses", state={"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "s" not found'}})), Reason.SECRET_NOT_FOUND, True, "Secret s"),
    ("signature", at(SOON, placed(**waiting("SignatureValidationFailed", "x"))), Reason.IMAGE_PULL_FAILED, True, "Sign the image"),
    ("image inspected", at(SOON, placed(**waiting("ImageInspectError", "x"))), Reason.IMAGE_PULL_FAILED, True, "container runtime"),
    ("hook", at(SOON, placed(**waiting("PostStartHookError", "x"))), Reason.CONTAINER_NOT_CREATED, True, "x."),
    ("waits for what is not known", at(SOON, placed(**waiting("Brandnew", "words"))), Reason.CONTAINER_WAITING, False, "Brandnew: words."),
    ("waits for long for what is not known", at(LATER, placed(**waiting("Brandnew", "words"))), Reason.CONTAINER_WAITING, True, "more than 5 minutes"),
    ("cannot run", at(SOON, placed(server={"state": {"terminated": {"reason": "StartError", "exitCode": 128, "message": "no such file"}}})), Reason.CONTAINER_NOT_CREATED, True, "no such file"),
    ("ended without a reason", at(SOON, placed(server={"state": {"terminated": {"exitCode": 137}}})), Reason.SERVER_FAILED, True, "ExitCode137"),
    ("crashed after it had served", at(LATER, placed(UNREADY, server=RAN)), Reason.SERVER_FAILED, True, "ended after it had served: Error; see kubectl logs p -c server --previous -n team."),
    ("crashed again before it served", at(LATER, placed(condition("Ready", "False"), server=RAN)), Reason.SERVER_FAILED, True, "ended before it served: Error;"),
    ("sidecar does not start", at(SOON, BLOCKED), Reason.POD_NOT_READY, False, "waits for the sidecar istio, which has not started yet."),
    ("sidecar does not start for long", at(LATER, BLOCKED), Reason.POD_NOT_READY, True, "Read kubectl logs p -c istio -n team."),
    ("end is not known", at(SOON, placed(server={"state": {"terminated": {"reason": "ContainerStatusUnknown", "exitCode": 137}}})), Reason.SERVER_FAILED, True, "ContainerStatusUnknown"),
    ("served and is not ready now", at(LATER, placed(UNREADY, server=RUNS)), Reason.POD_NOT_READY, False, "does not pass its readiness probe now"),
    ("served and is not ready for long", at(NEXT_DAY, placed(UNREADY, server=RUNS)), Reason.POD_NOT_READY, True, "unready status: [server]"),
    ("sidecar is not ready", at(LATER, placed(UNREADY, containerStatuses=[{"name": "server", **RUNS, "ready": True}, {"name": "istio", "ready": False, "state": {"running": {}}}])), Reason.POD_NOT_READY, False, "sidecar istio is not"),
    ("readiness gate", at(SOON, GATE), Reason.POD_NOT_READY, False, "readiness gate"),
    ("about to be ended", at(SOON, placed(condition("DisruptionTarget", "True", "PreemptionByScheduler", "for pod x"))), Reason.POD_DISRUPTED, False, "PreemptionByScheduler: for pod x."),
    ("reason of the pod that is not known", at(SOON, placed(reason="Brandnew", message="words")), Reason.POD_NOT_READY, False, "Brandnew: words."),
    ("paused with an old pod", at(SOON, pod("old", ready=True, config="other"), deployment=PAUSED), Reason.DEPLOYMENT_PAUSED, True, "kubectl rollout resume deployment/llama -n team"),
    ("rollout that does not go on", at(LATER, deployment=deployment(conditions=[{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "m", "lastUpdateTime": T0}])), Reason.SCALING, True, "ProgressDeadlineExceeded: m."),
    ("no controller of Deployments", at(LATER, deployment={"metadata": {"generation": 1, "creationTimestamp": T0}}), Reason.SCALING, True, "its controller does not act"),
    ("controller of Deployments stopped before a change", at(LATER, pod(ready=True, created=T0), deployment={**deployment(1, observedGeneration=2), "metadata": {"generation": 3, "managedFields": [{"time": T0}]}}), Reason.SCALING, True, "its controller does not act"),
    ("controller of Deployments has just got a change", at(LATER, pod(ready=True, created=T0), deployment={**deployment(1, observedGeneration=2), "metadata": {"generation": 3, "managedFields": [{"time": LATER}, {"time": T0}]}}), Reason.SCALING, False, "Waiting"),
    ("controller of Deployments stopped in a rollout", at(LATER, pod("old", ready=True, config="other", created=T0)), Reason.ROLLING_OUT, True, "its controller does not act"),
    ("pods that are counted and not there", at(LATER, ready=1, deployment={**deployment(1), "metadata": {"generation": 3, "creationTimestamp": T0}}), Reason.SCALING, True, "0 of 1 pods have answered"),
    ("no token", at(SOON, pod(created=T0, conditions=[condition("Ready", "True")]), ready=1), Reason.NO_TOKEN, False, "has not answered a request with a token yet."),
    ("no token for long", at(LATER, pod(created=T0, conditions=[condition("Ready", "True")]), ready=1, answers={"uid-p/0": "no connection"}), Reason.NO_TOKEN, True, "yet: no connection. This has lasted more than 10 minutes."),
    ("creates for an hour", at(NEXT_DAY, placed()), Reason.STARTING, True, "more than 60 minutes"),
    ("no sandbox", at(LATER, placed(), creation_errors={"p": "FailedCreatePodSandBox: no IP"}), Reason.CONTAINER_NOT_CREATED, True, "FailedCreatePodSandBox: no IP."),
    ("volume of another node", at(SOON, placed(), mount_errors={"p": "Multi-Attach error for volume"}), Reason.MOUNT_FAILED, True, "ReadWriteMany"),
    ("volume without a driver", at(SOON, placed(), mount_errors={"p": "driver name x not found in the list of registered CSI drivers"}), Reason.MOUNT_FAILED, True, "driver of the volume"),
    ("never pulled", at(SOON, placed(**waiting("ErrImageNeverPull", "x"))), Reason.IMAGE_PULL_FAILED, True, "serving.imagePullPolicy"),
    ("invalid name", at(SOON, placed(**waiting("InvalidImageName", "x"))), Reason.IMAGE_PULL_FAILED, True, "is not the name of an image"),
    ("registry", at(SOON, placed(**waiting("RegistryUnavailable", ""))), Reason.IMAGE_PULL_FAILED, True, "RegistryUnavailable. Check whether the node reaches"),
    ("back-off", at(SOON, placed(**waiting("ImagePullBackOff", "x"))), Reason.IMAGE_PULL_FAILED, True, "imagePullSecrets"),
    ("key of a ConfigMap", at(SOON, placed(**waiting("CreateContainerConfigError", "couldn't find key k in ConfigMap team/c"))), Reason.CONFIG_MAP_KEY_NOT_FOUND, True, "has no key k"),
    ("container without words", at(SOON, placed(**waiting("RunContainerError"))), Reason.CONTAINER_NOT_CREATED, True, "RunContainerError. Correct spec.podTemplate"),
    ("hook of a sidecar", at(SOON, beside("containerStatuses", state={"waiting": {"reason": "PreStartHookError", "message": "x"}})), Reason.CONTAINER_NOT_CREATED, True, "Correct what adds it."),
    ("claim without a volume", at(SOON, unschedulable('persistentvolumeclaim "m" bound to non-existent persistentvolume "v"')), Reason.CLAIM_NOT_BOUND, True, "Create the claim again"),
    ("volume that is nowhere", at(SOON, placed(), mount_errors={"p": 'configmap "c" not found'}), Reason.MOUNT_FAILED, True, "Create what the volume names"),
    ("volume of a key that is nowhere", at(SOON, placed(), mount_errors={"p": "configmap references non-existent config key: k"}), Reason.MOUNT_FAILED, True, "Create what the volume names"),
    ("volume in use", at(SOON, placed(), mount_errors={"p": "volume is already used by pod q"}), Reason.MOUNT_FAILED, True, "ReadWriteMany"),
    ("volume that is not attached", at(SOON, placed(), mount_errors={"p": "rpc error: attachdetach: timed out"}), Reason.MOUNT_FAILED, True, "driver of the volume"),
    ("volume that times out", at(SOON, placed(), mount_errors={"p": "MountVolume.SetUp: timed out"}), Reason.MOUNT_FAILED, True, "kubectl describe pod"),
    ("volume without permission", at(SOON, placed(), mount_errors={"p": "mount.nfs: access denied by server"}), Reason.MOUNT_FAILED, True, "permissions"),
]
# fmt: on


@pytest.mark.parametrize(("name", "seen", "reason", "stalled", "words"), STATES, ids=[row[0] for row in STATES])
def test_each_state_has_its_reason_and_kubernetes_words(
    name: str, seen: Observation, reason: Reason, stalled: bool, words: str
) -> None:
    found = first_finding(seen)
    assert found is not None
    assert (found.reason, found.stalled, found.progressing) == (reason, stalled, not stalled)
    assert words in found.message


def test_the_messages_equal_the_golden_file() -> None:
    golden = messages.GOLDEN / "pod_checks.txt"
    assert messages.text((row[0], row[1]) for row in STATES) == golden.read_text(), "see tests/observed/messages.py"


@pytest.mark.parametrize(("name", "seen"), [(row[0], row[1]) for row in STATES], ids=[row[0] for row in STATES])
def test_a_command_for_a_log_names_the_container(name: str, seen: Observation) -> None:
    """A mesh may put its container before the server, and kubectl takes the first."""
    found = first_finding(seen)
    assert found is not None
    assert found.message.count("kubectl logs") == len(re.findall(r"kubectl logs p -c (?:server|istio) ", found.message))


def test_a_pod_that_was_shut_down_by_a_rollout_has_not_failed() -> None:
    ended = failed("q", "", containerStatuses=[])
    ended["metadata"]["deletionTimestamp"] = T0
    found = first_finding(at(SOON, ended, placed()))
    assert found is not None
    assert found.reason == Reason.STARTING


def test_what_failed_before_says_nothing_about_what_serves() -> None:
    serving = pod(ready=True, created=T0)
    seen = at(SOON, failed("q", "Evicted"), failed("r", "Evicted"), serving, ready=1, answers={"uid-p/0": ""})
    assert first_finding(seen) is None


def test_pods_that_are_stuck_are_named_with_zero_replicas() -> None:
    zero = llm({"model": {"uri": "hf://a/b"}, "replicas": 0})
    found = first_finding(at(LATER, DELETED, llm=zero))
    assert found is not None
    assert found.reason == Reason.DELETION_STUCK


def test_a_finding_is_looked_at_again_when_it_becomes_stalled() -> None:
    seen = at(SOON, GATED)
    assert findings.recheck_s(seen, first_finding(seen)) == 571.0


def test_a_warning_is_an_obstacle_only_while_nothing_newer_is_reported() -> None:
    warning = {"type": "Warning", "reason": "FailedCreatePodSandBox", "message": "no IP", "lastTimestamp": T0}
    assert needs.creation_error([warning]) == "FailedCreatePodSandBox: no IP"
    assert needs.creation_error([warning, {"type": "Normal", "reason": "Pulling", "lastTimestamp": SOON}]) == ""
    assert needs.creation_error([{**warning, "reason": "FailedMount"}]) == ""
    assert needs.creation_error([]) == ""


# ------------------------------------------------------------------------------------------------ any state

WORDS = st.one_of(
    st.sampled_from(
        ["ContainerCreating", "PodInitializing", "CrashLoopBackOff", "ErrImagePull", "Evicted", "NodeLost"]
    ),
    st.text("ABCDEFabcdef", min_size=1, max_size=12),
)
ENDED = st.builds(
    lambda code, reason: {"terminated": {"exitCode": code, "finishedAt": T0, **({"reason": reason} if reason else {})}},
    st.sampled_from([0, 1, 137]),
    st.one_of(st.just(""), WORDS),
)
NOW = st.one_of(
    st.just({}),
    st.just({"running": {"startedAt": T0}}),
    st.builds(lambda reason: {"waiting": {"reason": reason, "message": "m"}}, WORDS),
    ENDED,
)


def containers(name: str) -> st.SearchStrategy[Object]:
    return st.fixed_dictionaries(
        {"name": st.just(name), "state": NOW, "restartCount": st.integers(0, 3)},
        optional={"lastState": ENDED, "ready": st.booleans(), "started": st.booleans()},
    )


CONDITIONS = st.lists(
    st.builds(
        condition,
        st.sampled_from(["Ready", "ContainersReady", "PodScheduled", "DisruptionTarget", "Initialized"]),
        st.sampled_from(["True", "False", "Unknown"]),
        st.one_of(st.just(""), st.just("SchedulingGated"), WORDS),
    ),
    max_size=5,
    unique_by=lambda found: found["type"],
)


@st.composite
def pods(draw: st.DrawFn) -> Object:
    found = pod(
        created=T0,
        conditions=draw(CONDITIONS),
        phase=draw(st.sampled_from(["Pending", "Running", "Unknown", "Failed"])),
    )
    found["spec"] = {"containers": [], **draw(st.sampled_from([{}, {"nodeName": "n"}]))}
    found["status"]["reason"] = draw(st.one_of(st.just(""), WORDS))
    found["status"]["containerStatuses"] = draw(st.lists(containers("server"), max_size=1)) + draw(
        st.lists(containers("mesh"), max_size=1)
    )
    found["status"]["initContainerStatuses"] = draw(st.lists(containers("init"), max_size=1))
    return found


QUEUED = {Reason.UNSCHEDULABLE, Reason.INSUFFICIENT_GPUS}
"""The scheduler tries again whenever the cluster changes, for as long as it takes."""


def pods_ready() -> st.SearchStrategy[Object]:
    running = {"name": "server", "restartCount": 0, "ready": True, "started": True, "state": {"running": {}}}
    conditions = [condition("PodScheduled", "True"), condition("Ready", "True")]
    return st.just(pod(created=T0, conditions=conditions, containerStatuses=[running]))


@st.composite
def deployments(draw: st.DrawFn) -> Object:
    """A Deployment whose controller has or has not seen the newest spec, and whose counters say anything."""
    counts = {key: draw(st.integers(0, 2)) for key in ("replicas", "updatedReplicas", "availableReplicas")}
    seen: Object = draw(st.sampled_from([{}, {"observedGeneration": 2}, {"observedGeneration": 3}]))
    progressing: st.SearchStrategy[Object] = st.builds(
        condition, st.just("Progressing"), st.sampled_from(["True", "False"]), WORDS
    )
    times: Object = draw(st.sampled_from([{"creationTimestamp": T0}, {"managedFields": [{"time": T0}]}]))
    conditions = draw(st.lists(progressing, max_size=1))
    return {"metadata": {"generation": 3, **times}, "status": {**counts, **seen, "conditions": conditions}}


@given(
    st.lists(st.one_of(pods(), pods_ready()), max_size=1),
    deployments(),
    st.sampled_from([{}, {"uid-p/0": "no connection"}]),
    st.sampled_from([0, 1, 2]),
)
def test_no_state_is_progress_for_ever(found: list[Object], made: Object, answers: Object, replicas: int) -> None:
    spec = llm({"model": {"uri": "hf://a/b"}, "replicas": replicas})
    finding = first_finding(at(NEXT_DAY, *found, deployment=made, answers=answers, llm=spec))
    assert finding is not None
    assert finding.stalled or finding.reason in QUEUED or finding.reason == Reason.SCALED_TO_ZERO, finding


def progresses(found: Object) -> bool:
    """Whether the kubelet pulls, creates or runs what belongs to the start of the pod."""
    status = found["status"]
    states = [one["state"] for one in [*status["initContainerStatuses"], *status["containerStatuses"]]]
    waits = {state["waiting"]["reason"] for state in states if "waiting" in state}
    return status["phase"] in {"Pending", "Running"} and waits <= {"ContainerCreating", "PodInitializing"}


@given(pods())
def test_only_a_process_that_progresses_is_called_starting(found: Object) -> None:
    finding = first_finding(at(SOON, found))
    assert finding is not None
    if finding.reason == Reason.STARTING:
        assert found["spec"].get("nodeName")
        assert not found["status"]["reason"]
        assert progresses(found)
    if finding.reason in {Reason.SCALING, Reason.ROLLING_OUT}:
        ready = [one for one in found["status"]["conditions"] if (one["type"], one["status"]) == ("Ready", "True")]
        assert ready or not found["spec"].get("nodeName")
