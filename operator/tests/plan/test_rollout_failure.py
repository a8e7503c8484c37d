"""When a new revision has failed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders.observations import container, deployment, observation, pod, waiting
from triton_vllm_operator.observed.observation import Observation
from triton_vllm_operator.plan.rollout_failure import failure

NOW = "2026-01-01T01:00:00Z"
LONG_AGO, JUST_NOW = "2026-01-01T00:50:00Z", "2026-01-01T00:59:50Z"


def crashed(restarts: int, state: dict[str, Any]) -> dict[str, Any]:
    ended = {"terminated": {"reason": "Error", "exitCode": 1, "message": "no such argument"}}
    return container(restarts=restarts, ready=False, started=False, state=state, lastState=ended)


def seen(created: str = JUST_NOW, **status: Any) -> Observation:
    return observation(pod(created=created, **status), now=NOW)


BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff"}}
TOO_LATE = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "m"}]


@pytest.mark.parametrize(
    ("observed", "why"),
    [
        (seen(**crashed(0, BACK_OFF)), None),
        (seen(**crashed(1, {"running": {}})), None),
        (seen(**crashed(1, BACK_OFF)), "no such argument"),
        (seen(**crashed(2, {"running": {}})), "no such argument"),
        (seen(JUST_NOW, **waiting("CreateContainerConfigError", 'secret "hub" not found')), None),
        (
            seen(LONG_AGO, **waiting("CreateContainerConfigError", 'secret "hub" not found')),
            "Secret hub does not exist",
        ),
        (seen(LONG_AGO, **waiting("ImagePullBackOff", "no such image")), "no such image"),
        (seen(LONG_AGO), None),
        (observation(now=NOW, deployment=deployment(conditions=TOO_LATE)), None),
        (
            observation(pod(created=JUST_NOW), now=NOW, deployment=deployment(conditions=TOO_LATE)),
            "within the progress deadline",
        ),
    ],
)
def test_a_revision_has_failed(observed: Observation, why: str | None) -> None:
    found = failure(observed)
    assert (found is None) is (why is None), found
    assert why is None or why in str(found)


def test_a_pod_that_gives_no_token_for_long_has_failed() -> None:
    ready = [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:10:00Z"}]
    silent = observation(
        pod(conditions=ready, **container(ready=True, started=True, state={"running": {}})), ready=1, now=NOW,
        answers={"uid-p/0": "status 500"},
    )  # fmt: skip
    assert "status 500" in str(failure(silent))
