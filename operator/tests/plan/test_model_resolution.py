"""The condition ModelResolved and whether pods wait, by the state of the inspection: pure, without a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders.deployments import llm
from tests.inspect.files import shape
from triton_vllm_operator.api import names
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.plan.inspection import InspectionStep
from triton_vllm_operator.plan.inspection_protocol import Failure, InspectedModel
from triton_vllm_operator.plan.model_resolution import WAIT_S, from_step, planning_disabled, start_failure

LLM = llm()
MODEL = InspectedModel("c" * 40, shape())
GATED = Failure(Reason.MODEL_GATED, "Give a token.")
SILENT = Failure(Reason.HUB_UNREACHABLE, "No answer.")
NO_RESULT = Failure(Reason.INSPECTION_FAILED, "It ended without a result.")
KNOWN = {
    "conditions": [
        {"type": "ModelResolved", "status": "False", "reason": "ModelNotFound", "message": "Correct the URI.",
         "observedGeneration": LLM.generation},
    ]
}  # fmt: skip


def pod(reason: str = "", message: str = "") -> dict[str, Any]:
    """An inspection pod that has not ended."""
    state = {"waiting": {"reason": reason, "message": message}} if reason else {"running": {}}
    status = {"name": names.INSPECTION_CONTAINER, "restartCount": 0, "state": state}
    meta = {"name": "p", "uid": "p", "labels": {}, "creationTimestamp": ""}
    return {"metadata": meta, "spec": {}, "status": {"containerStatuses": [status]}}


@pytest.mark.parametrize(
    ("step", "status", "expected"),
    [
        # The step, the status before -> status and reason of the condition, reason of the hold, seconds until the next.
        (InspectionStep(result=MODEL), {}, ("True", "Resolved", None, None)),
        (InspectionStep(result=GATED, retry_s=20.0), {}, ("False", "ModelGated", "ModelGated", 20.0)),
        (InspectionStep(result=SILENT, retry_s=20.0), {}, ("Unknown", "HubUnreachable", None, 20.0)),
        (InspectionStep(result=SILENT, retry_s=20.0), KNOWN, ("Unknown", "HubUnreachable", None, 20.0)),
        (InspectionStep(result=NO_RESULT, retry_s=9.0), {}, ("Unknown", "InspectionFailed", None, 9.0)),
        (InspectionStep(result=NO_RESULT, retry_s=9.0), KNOWN, ("False", "ModelNotFound", "ModelNotFound", 9.0)),
        (InspectionStep(create={}), {}, ("Unknown", "Inspecting", "Inspecting", WAIT_S)),
        (InspectionStep(create={}), KNOWN, ("False", "ModelNotFound", "ModelNotFound", None)),
        (InspectionStep(pod=pod(), age_s=50.0), {}, ("Unknown", "Inspecting", "Inspecting", WAIT_S - 50.0)),
        (InspectionStep(pod=pod(), age_s=WAIT_S), {}, ("Unknown", "Inspecting", None, None)),
        (
            InspectionStep(pod=pod("CreateContainerConfigError", 'secret "hub" not found'), age_s=5.0),
            {},
            ("False", "SecretNotFound", "SecretNotFound", None),
        ),
        (
            InspectionStep(pod=pod("ImagePullBackOff", "denied"), age_s=5.0),
            {},
            ("Unknown", "InspectionImagePullFailed", None, None),
        ),
    ],
)
def test_each_state_of_the_inspection_has_its_condition_and_hold(
    step: InspectionStep, status: dict[str, Any], expected: tuple[str, str, str | None, float | None]
) -> None:
    found = from_step(LLM, status, step)
    hold = None if found.hold is None else str(found.hold.reason)
    assert (found.condition.status, found.condition.reason, hold, found.after) == expected
    assert (found.not_planned is None) == (found.model is not None)


UNPLACED = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes are available."}
GATED_POD = {"schedulingGates": [{"name": "kueue.x-k8s.io/admission"}]}


@pytest.mark.parametrize(
    ("spec", "status", "words"),
    [
        ({}, {"conditions": [UNPLACED]}, "No node takes pod p: 0/2 nodes are available."),
        (GATED_POD, {"conditions": [{**UNPLACED, "reason": "SchedulingGated"}]}, "kueue.x-k8s.io/admission"),
        (
            {},
            {"conditions": [{**UNPLACED, "message": 'persistentvolumeclaim "m" not found'}]},
            "Claim m does not exist",
        ),
        ({"nodeName": "n"}, {"phase": "Unknown"}, "Node n of pod p does not answer"),
        (
            {"nodeName": "n"},
            {"initContainerStatuses": [{"name": "mesh", "state": {"terminated": {"exitCode": 3}}}]},
            "The init container mesh of pod p has ended: ExitCode3.",
        ),
    ],
)
def test_an_inspection_pod_that_does_not_run_is_not_said_to_read(
    spec: dict[str, Any], status: dict[str, Any], words: str
) -> None:
    waits = pod()
    waits["spec"], waits["status"] = spec, {"containerStatuses": [], **status}
    found = from_step(LLM, {}, InspectionStep(pod=waits, age_s=WAIT_S))
    assert (found.condition.status, found.condition.reason, found.hold) == ("Unknown", "Inspecting", None)
    assert found.condition.message.startswith("The pod that would read the model does not run. ")
    assert words in found.condition.message


def test_a_failure_of_an_older_generation_does_not_stand() -> None:
    [condition] = KNOWN["conditions"]
    older = {"conditions": [{**condition, "observedGeneration": LLM.generation - 1}]}
    assert from_step(LLM, older, InspectionStep(create={})).condition.reason == "Inspecting"


def test_a_reason_of_a_newer_operator_does_not_stand() -> None:
    [condition] = KNOWN["conditions"]
    newer = {"conditions": [{**condition, "reason": "ReasonOfTomorrow"}]}
    assert from_step(LLM, newer, InspectionStep(create={})).condition.reason == "Inspecting"


@pytest.mark.parametrize(
    ("mode", "image", "reason"),
    [("Off", "operator:1", "PlanningOff"), ("Off", None, "PlanningOff"), ("Enforce", None, "NotPlanned"),
     ("Enforce", "operator:1", None), ("Advise", "operator:1", None)],
)  # fmt: skip
def test_the_spec_or_the_settings_disable_planning(mode: str, image: str | None, reason: str | None) -> None:
    found = planning_disabled(llm(planning={"mode": mode}), image)
    assert (found.reason if found else None) == reason


def test_an_image_that_an_admission_webhook_has_added_is_not_called_the_operator_s() -> None:
    waits = pod("PodInitializing")
    image = {"reason": "ErrImagePull", "message": "no"}
    waits["status"]["initContainerStatuses"] = [{"name": "mesh", "state": {"waiting": image}}]
    failure = start_failure(LLM, waits)
    assert failure is not None
    assert failure.message.startswith("The image of the init container mesh of pod p cannot be pulled: no.")
