"""A changed LLMDeployment replaces its pods by the GPUs that are free, and a revision that fails is undone.

The file's GPUs are a resource of its own on one node, so that other tests neither take nor free one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from e2e.client import Client
from e2e.tests.deployments import Namespace, Object, advertise, eventually, llm

NAME, RESOURCE = "rolls", "rollouts.example.com/gpu"
STEP_SECONDS = 60
UNDO_SECONDS = 240
UNREADABLE = [{"name": "VLLM_LOGGING_CONFIG_PATH", "value": "/does/not/exist.json"}]
"""With it vLLM ends at its start."""


@pytest.fixture(scope="module")
def full(namespace: Namespace) -> Iterator[Namespace]:
    """One pod that serves on the only GPU."""
    advertise(namespace.env, RESOURCE, 1)
    namespace.apply(llm(NAME, resources={"gpu": {"resourceName": RESOURCE}}))
    namespace.wait_ready(NAME)
    yield namespace
    advertise(namespace.env, RESOURCE, 0)


def rollout(namespace: Namespace) -> Object:
    found: Object = (namespace.get("llm", NAME) or {}).get("status", {}).get("rollout", {})
    return found


def wait_up_to_date(namespace: Namespace, reason: str, seconds: float = STEP_SECONDS) -> str:
    """The message of the condition UpToDate once it has this reason."""
    eventually(f"UpToDate is {reason}", lambda: namespace.condition(NAME, "UpToDate").get("reason") == reason, seconds)
    return str(namespace.condition(NAME, "UpToDate")["message"])


@contextmanager
def answered(namespace: Namespace, client: Client) -> Iterator[None]:
    """Assert that each request that is sent while the block runs is answered."""
    with client.steadily(namespace.url(NAME), {"text_input": "Hello", "parameters": {"max_tokens": 8}}) as answers:
        yield
    assert len(answers) > 50
    assert [answer.body for answer in answers if answer.status != 200] == []


def test_on_full_gpus_the_only_pod_serves_on_and_is_replaced_when_a_gpu_is_free(
    full: Namespace, client: Client
) -> None:
    before = full.pod(NAME)["metadata"]["uid"]
    with answered(full, client):
        full.patch(NAME, {"engine": {"maxModelLen": 640}})
        message = wait_up_to_date(full, "RolloutHeld")
        assert f"kubectl llm rollout proceed {NAME}" in message
        assert full.pod(NAME)["metadata"]["uid"] == before
        assert full.condition(NAME, "Available")["status"] == "True"
        advertise(full.env, RESOURCE, 2)
        wait_up_to_date(full, "RevisionDeployed", 300)
    full.wait_ready(NAME)
    assert full.report(NAME)["KVCache"]["maxModelLen"] == 640


def test_a_revision_whose_server_ends_is_undone_and_every_request_is_answered(full: Namespace, client: Client) -> None:
    before = full.pod(NAME)["metadata"]["uid"]
    with answered(full, client):
        full.patch(NAME, {"podTemplate": {"env": UNREADABLE}})
        message = wait_up_to_date(full, "RolloutUndone", UNDO_SECONDS)
        eventually("one pod", lambda: [one["metadata"]["uid"] for one in full.pods(NAME)] == [before], STEP_SECONDS)
    assert "/does/not/exist.json" in message
    assert full.condition(NAME)["status"] == "False", "the spec is not what serves"
    assert full.condition(NAME, "Available")["status"] == "True"
    full.patch(NAME, {"podTemplate": None})
    full.wait_generation(NAME)
    full.wait_ready(NAME)
    assert full.pod(NAME)["metadata"]["uid"] == before


def test_on_full_gpus_two_pods_are_replaced_one_by_one(full: Namespace, client: Client) -> None:
    full.kubectl("scale", f"llm/{NAME}", "--replicas=2")
    full.wait_generation(NAME)
    full.wait_ready(NAME)
    before = {one["metadata"]["uid"] for one in full.pods(NAME)}
    with answered(full, client):
        full.patch(NAME, {"engine": {"maxModelLen": 512}})
        wait_up_to_date(full, "RolloutReplacing")
        told = rollout(full)
        assert told["minReadyPods"] == 1, told
        assert told["podsToReplace"] in {1, 2}, told
        wait_up_to_date(full, "RevisionDeployed", 400)
    full.wait_ready(NAME)
    assert not before & {one["metadata"]["uid"] for one in full.pods(NAME)}
