"""Pytest fixtures around a real API server. A conftest imports what it needs."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from e2e.cluster.images import binaries
from tests.apiserver import rights
from tests.apiserver.controlplane import ControlPlane, control_plane
from tests.apiserver.operators import PROVEN, OperatorProcess, eventually
from tests.apiserver.view import View
from triton_vllm_operator.kube import login
from triton_vllm_operator.kube.client import Client

CRD = Path(__file__).parents[3] / "crds" / "llmdeployments.yaml"
NAMESPACES = "/api/v1/namespaces"
KIND = "/apis/serving.triton-vllm.dev/v1alpha1/llmdeployments"
StartOperator = Callable[..., OperatorProcess]

SUMMARY = pytest.StashKey[list[str]]()
"""Lines for the end of the test run."""

_numbers = itertools.count()


@pytest.fixture(scope="session")
def plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """etcd, kube-apiserver and kube-controller-manager with our CRD, of the version that the parameter names."""
    with control_plane(binaries.api_server_programs(request.param), prepare=install_crd) as running:
        lines = request.config.stash.setdefault(SUMMARY, [])
        lines.append(f"the control plane of {request.param} was ready in {running.ready_s:.1f} s")
        yield running


def install_crd(running: ControlPlane) -> None:
    """Our CRD, and wait until it is served."""
    crd = yaml.load(CRD.read_text(), yaml.CSafeLoader)
    running.must("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
    eventually("the CRD is served", lambda: running.request("GET", KIND)[0] == 200)


@pytest.fixture
def namespace(plane: ControlPlane) -> Iterator[str]:
    """A namespace of its own for the test, with Pod Security `restricted` enforced."""
    name = f"test-{next(_numbers)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    plane.must("POST", NAMESPACES, {"metadata": {"name": name, "labels": labels}})
    yield name
    plane.must("DELETE", f"{NAMESPACES}/{name}")


@pytest_asyncio.fixture
async def client(plane: ControlPlane) -> AsyncIterator[Client]:
    """Our client with the administrator's rights and no fence."""
    made = Client(await login.load(str(plane.kubeconfig)))
    yield made
    await made.close()


@pytest.fixture
def start_operator(plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[StartOperator]:
    """Starts operators that serve the test's namespace, with the chart's rights; all are killed at the end."""
    own = plane.kubeconfig_for(f"operator-{namespace}", rights.grant(plane, namespace))
    yield from _starter(namespace, tmp_path, own, "--namespace", namespace)


@pytest.fixture
def start_everywhere(plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[StartOperator]:
    """As `start_operator`, of operators that serve the whole cluster."""
    own = plane.kubeconfig_for(f"operator-{namespace}", rights.grant(plane, namespace, everywhere=True))
    yield from _starter(namespace, tmp_path, own)


def _starter(namespace: str, folder: Path, own: Path, *scope: str) -> Iterator[StartOperator]:
    started: list[OperatorProcess] = []

    def start(*options: str, **fields: object) -> OperatorProcess:
        log = folder / f"operator-{len(started)}.log"
        lease = ("--lease-namespace", namespace, "--lease-name", rights.account(namespace))
        kubeconfig = fields.pop("kubeconfig", own)
        given = (*scope, *lease, *options)
        operator = OperatorProcess(kubeconfig=kubeconfig, log=log, options=given, forked=True, **fields)  # type: ignore[arg-type]
        operator.start()
        started.append(operator)
        return operator

    yield start
    for operator in started:
        operator.kill()


@pytest.fixture
def view(plane: ControlPlane, namespace: str) -> View:
    """What the test sees of its namespace."""
    return View(plane, namespace)


@pytest.fixture
def operator(start_operator: StartOperator) -> OperatorProcess:
    """A running operator with the real reconcile that leads."""
    started = start_operator(program=PROVEN)
    eventually("leads and is caught up", lambda: started.leads() and started.ready())
    return started
