"""What died is healed by the command that brought it up, and what serves goes on serving."""

from __future__ import annotations

import os
import signal

import pytest

from e2e import environment
from e2e.client import Client
from e2e.cluster import Cluster
from e2e.cluster.docker import daemon
from e2e.environment import Environment
from e2e.tests.deployments import STANDING, Namespace, eventually, operator_pods

pytestmark = pytest.mark.skipif(os.environ.get("CLUSTER") == "existing", reason="the cluster is not ours to break")


def answers(namespace: Namespace, env: Environment) -> None:
    """Wait for an answer to a new client pod: right after a node has died its pods are still called ready."""
    client = Client(env)
    client.start()
    hello = {"text_input": "Hello"}
    eventually("an answer", lambda: client.post(namespace.url(STANDING), hello).status == 200, 180)
    namespace.wait_ready(STANDING)


def test_an_address_of_no_service_is_refused_on_the_node_and_kube_proxy_gets_cpu(env: Environment) -> None:
    client = Client(env)
    client.start()
    first, _, _ = env.json("get", "service", "kubernetes", "-n", "default")["spec"]["clusterIP"].rpartition(".")
    unused = f"{first}.199"  # Kubernetes gives the lowest addresses only to Services that ask for them
    answer = client.get(f"http://{unused}:8000/")
    assert (answer.status, answer.body.split(":")[0]) == (0, "ClientConnectorError"), answer
    proxy = env.json("get", "daemonset", "kube-proxy", "-n", "kube-system")["spec"]["template"]["spec"]
    assert proxy["containers"][0]["resources"]["requests"]["cpu"] == "250m"


def test_a_killed_operator_is_replaced_and_repairs_what_changed_meanwhile(
    env: Environment, standing: Namespace
) -> None:
    before, label = operator_pods(env), f"app.kubernetes.io/name={environment.RELEASE}"
    env.kubectl("delete", "pod", "-n", environment.OPERATOR_NAMESPACE, "-l", label, "--grace-period=0", "--force")
    standing.kubectl("delete", "service", STANDING)
    eventually("the Service again", lambda: standing.get("service", STANDING) is not None, 60)
    assert operator_pods(env) - before, "no pod of the operator is new"


def test_a_killed_worker_and_registry_are_healed(standing: Namespace) -> None:
    cluster = Cluster()
    cluster.docker.output("kill", cluster.state.worker)
    cluster.docker.output("rm", "--force", cluster.state.registry_container)
    answers(standing, environment.prepare())


@pytest.mark.skipif(not daemon.find().ours, reason="the Docker engine is not ours to kill")
def test_a_killed_docker_daemon_is_started_again_and_takes_no_container_with_it(standing: Namespace) -> None:
    pod = standing.pod(STANDING)["metadata"]["uid"]
    pid = int((daemon.run_dir() / "docker.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    answers(standing, environment.prepare())
    assert standing.pod(STANDING)["metadata"]["uid"] == pod
    cluster = Cluster()
    for node in (cluster.state.worker, cluster.state.control_plane):
        assert cluster.docker.output("exec", node, "getent", "hosts", cluster.state.registry_container)
