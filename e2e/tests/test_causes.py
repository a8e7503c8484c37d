"""What cannot work says why within ten seconds of the cause being visible, and heals as soon as the cause is gone."""

from __future__ import annotations

import pytest

from e2e.client import Client
from e2e.hub import manifests
from e2e.tests.deployments import Namespace, eventually, llm

SECONDS = 10.0
"""From the cause being visible to the reason in the status."""
FROM_APPLY = 15.0
"""From `kubectl apply` to the reason, for what the inspection of the model finds."""
TOKEN = {"tokenSecretRef": {"name": "hub-token", "key": "token"}}


@pytest.fixture(scope="module")
def broken(namespace: Namespace) -> Namespace:
    """Four deployments, each with another cause, applied at once; they run on nothing, so they cost nothing."""
    namespace.apply(
        llm("no-secret", uri="hf://gated/tiny-llama", model=TOKEN),
        llm("no-claim", uri="pvc://models/llama/7b"),
        llm("no-image", server={"image": f"{namespace.env.serving_image}-missing", "release": "vllm-0.32.0"}),
        llm("no-node", scheduling={"nodeSelector": {"disk": "tape"}}),
    )
    return namespace


def seen(namespace: Namespace, name: str, kind: str, cause: str) -> None:
    """Wait until Kubernetes itself shows the cause: in the status of a serving pod or of an inspection pod."""
    path = {
        "waiting": "{.items[*].status.containerStatuses[*].state.waiting.reason}",
        "condition": "{.items[*].status.conditions[?(@.type=='PodScheduled')].message}",
    }[kind]
    labels = (f"app.kubernetes.io/instance={name}", f"serving.triton-vllm.dev/inspects={name}")

    def shown() -> bool:
        return any(cause in namespace.kubectl("get", "pods", "-l", one, "-o", f"jsonpath={path}") for one in labels)

    eventually(f"pod of {name} says {cause}", shown, 90, every=0.2)


def heals(namespace: Namespace, client: Client, name: str) -> None:
    """Ready, with an answer; then it makes room for the next."""
    namespace.wait_ready(name)
    assert client.post(namespace.url(name), {"text_input": "Hello"}).json()["text_output"]
    namespace.kubectl("delete", "llm", name)


def test_a_missing_secret_is_named_and_heals_with_the_gated_model(broken: Namespace, client: Client) -> None:
    seen(broken, "no-secret", "waiting", "CreateContainerConfigError")
    message = broken.wait_reason("no-secret", "SecretNotFound", SECONDS)
    assert "Secret hub-token does not exist in namespace test-causes" in message
    assert broken.condition("no-secret", "Stalled")["status"] == "True"
    broken.kubectl("create", "secret", "generic", "hub-token", f"--from-literal=token={manifests.TOKEN}")
    heals(broken, client, "no-secret")


def test_a_missing_claim_is_named_and_heals_with_the_filled_claim(broken: Namespace, client: Client) -> None:
    seen(broken, "no-claim", "condition", "not found")
    message = broken.wait_reason("no-claim", "ClaimNotFound", SECONDS)
    assert "PersistentVolumeClaim models does not exist in namespace test-causes" in message
    broken.env.apply(*manifests.filled_claim(broken.name, "models", broken.env.serving_image))
    heals(broken, client, "no-claim")


def test_a_missing_image_is_named_and_heals_with_the_right_one(broken: Namespace, client: Client) -> None:
    seen(broken, "no-image", "waiting", "ImagePull")
    message = broken.wait_reason("no-image", "ImagePullFailed", SECONDS)
    assert "-missing" in message
    assert "spec.server.image" in message
    broken.patch("no-image", {"server": None})
    heals(broken, client, "no-image")


def test_a_node_that_does_not_exist_is_told_as_the_scheduler_tells_it(broken: Namespace) -> None:
    seen(broken, "no-node", "condition", "nodes are available")
    message = broken.wait_reason("no-node", "Unschedulable", SECONDS)
    assert "node affinity/selector" in message
    assert "spec.scheduling" in message
    assert broken.condition("no-node")["status"] == "False"
    broken.kubectl("delete", "llm", "no-node")


def test_a_model_that_the_hub_does_not_have_is_told_before_a_gpu_is_held(broken: Namespace) -> None:
    broken.apply(llm("no-model", uri="hf://demo/nothing-here"))
    message = broken.wait_reason("no-model", "ModelNotFound", FROM_APPLY)
    assert "demo/nothing-here" in message
    assert broken.pods("no-model") == []
    broken.patch("no-model", {"model": {"uri": "hf://demo/second-llama"}})
    broken.wait_reason("no-model", "Starting", FROM_APPLY)
    broken.kubectl("delete", "llm", "no-model")
