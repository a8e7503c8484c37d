"""GPUs as the scheduler counts them: as many as the engine uses, and a reason when there are not enough.

The GPUs are advertised on the nodes and do not exist: the engine runs on the CPU.
"""

from __future__ import annotations

import pytest

from e2e.client import Client
from e2e.tests.deployments import Namespace, eventually, llm

WORKERS = "import glob; print(sum(b'Worker' in open(p, 'rb').read() for p in glob.glob('/proc/[0-9]*/comm')))"


@pytest.fixture(scope="module")
def served(namespace: Namespace) -> Namespace:
    """One deployment with one GPU and one with two, applied at once."""
    namespace.apply(llm("one"), llm("two", engine={"tensorParallelSize": 2}, resources={"memory": "4Gi"}))
    namespace.wait_ready("one", "two")
    return namespace


def gpus_of(pod: dict[str, object]) -> str:
    (container,) = pod["spec"]["containers"]  # type: ignore[index]
    return str(container["resources"]["limits"]["nvidia.com/gpu"])


def test_two_deployments_side_by_side_answer_for_themselves(served: Namespace, client: Client) -> None:
    requests = [{"url": served.url(name), "json": {"text_input": "Hello"}} for name in ("one", "two") * 20]
    _, answers = client.send(requests, concurrency=20)
    assert [answer.json()["model_name"] for answer in answers] == ["one", "two"] * 20


def test_tensor_parallel_size_two_asks_for_two_gpus_and_runs_two_workers(served: Namespace) -> None:
    pod = served.pod("two")
    assert gpus_of(pod) == "2"
    assert gpus_of(served.pod("one")) == "1"
    assert served.report("two")["KVCache"]["workers"] == 2
    assert served.kubectl("exec", pod["metadata"]["name"], "--", "python3", "-c", WORKERS).strip() == "2"


def test_a_ninth_gpu_is_refused_and_the_message_says_who_holds_them(served: Namespace) -> None:
    # Unplanned: the four heads of the model cannot be split over six GPUs, which would be reported instead.
    served.apply(llm("six", engine={"tensorParallelSize": 6}, planning={"mode": "Off"}))
    message = served.wait_reason("six", "InsufficientGPUs", seconds=20)
    assert f"LLMDeployment {served.name}/two 2" in message
    assert "NVIDIA-H100-80GB-HBM3, " in message
    assert "needs 6 nvidia.com/gpu" in message
    served.patch("six", {"engine": {"tensorParallelSize": 1}})
    eventually("a pod runs", lambda: "Running" in [pod["status"]["phase"] for pod in served.pods("six")], 300)
    served.kubectl("delete", "llm", "six")


def test_one_going_leaves_the_other_alone(served: Namespace, client: Client) -> None:
    before = served.pod("one")
    served.kubectl("delete", "llm", "two")
    requests = [{"url": served.url("one"), "json": {"text_input": "Hello"}}] * 40
    _, answers = client.send(requests, concurrency=4)
    assert {answer.status for answer in answers} == {200}
    after = served.pod("one")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["containerStatuses"][0]["restartCount"] == 0
