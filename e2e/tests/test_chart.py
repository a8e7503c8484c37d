"""The chart is upgraded and uninstalled while a model serves."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator

import pytest

from e2e.client import Client
from e2e.cluster import shell
from e2e.environment import OPERATOR_NAMESPACE, RELEASE, Environment
from e2e.tests.deployments import STANDING, Namespace, Object, eventually, operator_pods

HELLO = {"text_input": "Hello"}


@pytest.fixture(scope="module")
def served(standing: Namespace) -> Iterator[Namespace]:
    """A serving model; the chart is as it was when the tests are over."""
    yield standing
    standing.env.install()


def test_the_operator_pod_is_restricted_and_its_root_is_read_only(env: Environment, served: Namespace) -> None:
    label = env.json("get", "namespace", OPERATOR_NAMESPACE)["metadata"]["labels"]
    assert label["pod-security.kubernetes.io/enforce"] == "restricted"
    (pod,) = env.json("get", "pods", "-n", OPERATOR_NAMESPACE, "-l", f"app.kubernetes.io/name={RELEASE}")["items"]
    assert pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert served.pod(STANDING)["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_operator_may_do_its_work_and_nothing_more(env: Environment) -> None:
    (pod,) = env.json("get", "pods", "-n", OPERATOR_NAMESPACE, "-l", f"app.kubernetes.io/name={RELEASE}")["items"]
    account = f"--as=system:serviceaccount:{OPERATOR_NAMESPACE}:{pod['spec']['serviceAccountName']}"

    def may(*what: str) -> bool:
        return shell.succeeds([env.kubectl_program, "auth", "can-i", *what, account, "-A"], env=env.variables)

    assert may("create", "deployments.apps")
    assert may("patch", "llmdeployments.serving.triton-vllm.dev", "--subresource=status")
    assert may("create", "pods")  # those that read a model before serving pods may hold GPUs
    for what in (("get", "secrets"), ("list", "secrets"), ("patch", "pods"), ("*", "*")):
        assert not may(*what), what
    for what in (("create", "clusterroles"), ("impersonate", "users")):
        assert not may(*what), what
    # Not "pods/exec": kubectl takes that for a pod named exec.
    for kind, below in (("pods", "exec"), ("serviceaccounts", "token")):
        assert not may("create", kind, f"--subresource={below}"), (kind, below)


def test_neither_upgrade_nor_rollback_of_the_operator_touches_a_model(
    env: Environment, served: Namespace, client: Client
) -> None:
    before, children = served.pod(STANDING), _written(served)
    assert {kind for kind, _ in children} == {"ConfigMap", "Service", "PodDisruptionBudget", "Deployment"}
    assert all(children.values()), "a child has no entry of the operator in managedFields"
    upgrade = functools.partial(env.install, "--set-string=podAnnotations.upgraded=once")
    rollback = functools.partial(env.helm, "rollback", RELEASE, f"--namespace={OPERATOR_NAMESPACE}", "--wait")
    with client.steadily(served.url(STANDING), HELLO) as answers:
        for changed in (upgrade, rollback):
            operator = operator_pods(env)
            changed()
            eventually("a new operator alone", functools.partial(_replaced, env, operator), 60)
            served.patch(STANDING, {"replicas": 1})
            served.wait_ready(STANDING)
    assert answers
    assert {answer.status for answer in answers} == {200}
    assert served.pod(STANDING)["metadata"]["uid"] == before["metadata"]["uid"]
    assert _written(served) == children, "the new operator wrote to children that had not changed"


def _replaced(env: Environment, before: set[str]) -> bool:
    return not operator_pods(env) & before


def _written(namespace: Namespace) -> dict[tuple[str, str], list[str]]:
    """When the operator last wrote each child, by kind and name. Status writes by controllers do not count."""
    kinds = "configmaps,services,poddisruptionbudgets,deployments"
    listed = namespace.kubectl(
        "get", kinds, "-l", f"app.kubernetes.io/instance={STANDING}", "-o", "json", "--show-managed-fields"
    )
    return {(obj["kind"], obj["metadata"]["name"]): _times(obj) for obj in json.loads(listed)["items"]}


def _times(obj: Object) -> list[str]:
    """Times of the operator's entries in managedFields: they change with each of its writes."""
    fields = obj["metadata"]["managedFields"]
    return [one["time"] for one in fields if "subresource" not in one and "operator" in one["manager"]]


def test_uninstalling_leaves_the_model_running_and_installing_again_takes_it_up(
    env: Environment, served: Namespace, client: Client
) -> None:
    before = served.pod(STANDING)["metadata"]["uid"]
    with client.steadily(served.url(STANDING), HELLO) as answers:
        env.helm("uninstall", RELEASE, f"--namespace={OPERATOR_NAMESPACE}", "--wait")
        eventually("the operator is gone", lambda: operator_pods(env) == set(), 60)
        assert served.get("llm", STANDING) is not None, "the CRD and its objects stay"
    assert {answer.status for answer in answers} == {200}
    env.install()
    served.patch(STANDING, {"service": {"ports": {"metrics": False}}})
    served.wait_generation(STANDING)
    assert "metrics" not in served.kubectl("get", "service", STANDING, "-o", "jsonpath={.spec.ports[*].name}").split()
    assert served.pod(STANDING)["metadata"]["uid"] == before
    served.wait_ready(STANDING)
