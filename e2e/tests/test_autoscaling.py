"""The number of pods follows the requests in real engines, up to the GPUs that are free, and no request is lost.

The file's GPUs are a resource of its own on one node, so that other tests neither take nor free one.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.client import Client
from e2e.tests.deployments import Namespace, Object, advertise, ask, eventually, llm

NAME, RESOURCE = "scales", "autoscaling.example.com/gpu"
SCALE_SECONDS = 420
"""Two readings and the start of an engine on a shared machine."""
AT_ONCE = 8
AUTOSCALING = {
    "maxReplicas": 3,
    "target": {"inFlightPerReplica": 2},
    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
}


@pytest.fixture(scope="module")
def autoscaled(namespace: Namespace) -> Iterator[Namespace]:
    """One pod that serves on one of two GPUs."""
    advertise(namespace.env, RESOURCE, 2)
    namespace.apply(llm(NAME, resources={"gpu": {"resourceName": RESOURCE}}, autoscaling=AUTOSCALING))
    namespace.wait_ready(NAME)
    yield namespace
    advertise(namespace.env, RESOURCE, 0)


def scaling(namespace: Namespace) -> Object:
    found: Object = (namespace.get("llm", NAME) or {}).get("status", {}).get("autoscaling", {})
    return found


def test_pods_come_with_the_load_and_go_without_it_and_every_request_is_answered(
    autoscaled: Namespace, client: Client
) -> None:
    load = client.steadily(autoscaled.url(NAME), ask(max_tokens=200), batch=AT_ONCE * 2, concurrency=AT_ONCE, every=0)
    with load as answers:
        eventually("two pods are wanted", lambda: scaling(autoscaled).get("desiredReplicas") == 2, SCALE_SECONDS)

        def reason() -> bool:
            return bool(autoscaled.condition(NAME, "AutoscalingActive").get("reason") == "AutoscalingNeedsGPUs")

        eventually("the third one finds no GPU", reason, SCALE_SECONDS)
        assert "Of 2" in autoscaled.condition(NAME, "AutoscalingActive")["message"]
        eventually("two pods serve", lambda: _ready(autoscaled) == 2, SCALE_SECONDS)
    eventually("one pod is wanted", lambda: scaling(autoscaled).get("desiredReplicas") == 1, SCALE_SECONDS)
    eventually("one pod is left", lambda: len(autoscaled.pods(NAME)) == 1, 120)
    assert len(answers) > AT_ONCE
    assert [answer.body for answer in answers if answer.status != 200] == []
    found = autoscaled.get("llm", NAME)
    assert found is not None
    assert found["spec"].get("replicas", 1) == 1
    autoscaled.wait_ready(NAME)


def _ready(namespace: Namespace) -> int:
    found = namespace.get("llm", NAME) or {}
    return int(found.get("status", {}).get("readyReplicas", 0))
