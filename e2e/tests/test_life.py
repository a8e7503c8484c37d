"""An LLMDeployment is scaled, changed and deleted, and does what its owner expects."""

from __future__ import annotations

import pytest

from e2e.client import Client
from e2e.cluster import shell
from e2e.tests.deployments import Namespace, eventually, llm
from triton_vllm_operator.desired.children import WATCHED_KINDS

NAME = "llama"
CHILDREN = ",".join(kind.plural for kind in WATCHED_KINDS)


@pytest.fixture(scope="module")
def served(namespace: Namespace) -> Namespace:
    namespace.apply(llm(NAME))
    namespace.wait_ready(NAME)
    return namespace


def test_kubectl_scale_adds_a_pod_and_removes_it_and_the_older_one_keeps_serving(served: Namespace) -> None:
    before = served.pod(NAME)
    served.kubectl("scale", f"llm/{NAME}", "--replicas=2")
    served.wait_generation(NAME)
    served.wait_ready(NAME)
    assert len(served.pods(NAME)) == 2
    served.kubectl("scale", f"llm/{NAME}", "--replicas=1")
    served.wait_generation(NAME)
    eventually("one pod", lambda: len(served.pods(NAME)) == 1, 30)
    served.wait_ready(NAME)
    # Of ready pods a ReplicaSet deletes the one that became ready last.
    after = served.pod(NAME)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["containerStatuses"][0]["restartCount"] == 0


def test_a_changed_engine_argument_rolls_the_pod_without_a_failed_request(served: Namespace, client: Client) -> None:
    before = served.pod(NAME)["metadata"]["uid"]
    with client.steadily(served.url(NAME), {"text_input": "Hello", "parameters": {"max_tokens": 8}}) as answers:
        served.patch(NAME, {"engine": {"maxModelLen": 640}})
        served.wait_generation(NAME)
        served.wait_ready(NAME)
        eventually("the old pod is gone", lambda: before not in _uids(served), 60)
    assert len(answers) > 100
    assert [answer.body for answer in answers if answer.status != 200] == []
    assert served.report(NAME)["KVCache"]["maxModelLen"] == 640


def _uids(served: Namespace) -> set[str]:
    """Of all pods, also of those that are being deleted."""
    output = served.kubectl("get", "pods", "-l", f"app.kubernetes.io/instance={NAME}", "-o", "jsonpath={..uid}")
    return set(output.split())


def test_a_deleted_service_comes_back_within_two_seconds(served: Namespace) -> None:
    served.kubectl("delete", "service", NAME)
    eventually("the Service again", lambda: served.get("service", NAME) is not None, 2, every=0.1)


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ({"gpuMemoryUtilization": 1.5}, ["spec.engine.gpuMemoryUtilization", "less than or equal to 1"]),
        ({"dtype": "int3"}, ["spec.engine.dtype", '"bfloat16"']),
        ({"maxNumSeqs": 64, "maxNumBatchedTokens": 32}, ["maxNumBatchedTokens must be at least maxNumSeqs"]),
        ({"extraArgs": {"enable_lroa": True}}, ["ArgumentMisspelt", "spec.engine.extraArgs.enable_lora: true"]),
    ],
)
def test_an_invalid_spec_is_rejected_with_the_field_and_the_allowed_values(
    served: Namespace, bad: dict[str, object], expected: list[str]
) -> None:
    with pytest.raises(shell.CommandFailed) as rejected:
        served.apply(llm("bad", engine=bad))
    assert [words for words in expected if words not in str(rejected.value)] == []


def test_deleting_it_deletes_everything_it_owned(served: Namespace) -> None:
    owned = ["get", CHILDREN, "-l", f"app.kubernetes.io/instance={NAME}", "-o", "name"]
    kinds = {name.partition("/")[0].partition(".")[0] for name in served.kubectl(*owned).split()}
    assert kinds == {"configmap", "service", "poddisruptionbudget", "deployment", "controllerrevision", "pod"}
    served.kubectl("delete", "llm", NAME)
    eventually("nothing left", lambda: served.kubectl(*owned) == "", 90)
