"""What a real API server makes of an apply that says that the object is new: Kubernetes documents it nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.apiserver.controlplane import ControlPlane
from tests.apiserver.view import View
from tests.desired.build import DEFAULTS, IMAGE, llm
from triton_vllm_operator.api.kinds import Object
from triton_vllm_operator.desired.children import CHILD_KINDS, children
from triton_vllm_operator.kube import login
from triton_vllm_operator.kube.client import Client
from triton_vllm_operator.kube.errors import Conflict

pytestmark = pytest.mark.every_version
KINDS = [kind.kind for kind in CHILD_KINDS]
Question = Callable[[Client], Awaitable[Object]]


@pytest.fixture
def view(plane: ControlPlane, namespace: str) -> View:
    return View(plane, namespace)


def ask(plane: ControlPlane, question: Question) -> Object:
    async def run() -> Object:
        client = Client(await login.load(str(plane.kubeconfig)))
        try:
            return await question(client)
        finally:
            await client.close()

    return asyncio.run(run())


def child(view: View, kind: str) -> Object:
    built = children(llm({"model": {"uri": "hf://org/model"}}), IMAGE, DEFAULTS)
    found = next(obj for obj in built if obj["kind"] == kind)
    meta = {key: value for key, value in found["metadata"].items() if key != "ownerReferences"}  # there is no owner
    return {**found, "metadata": {**meta, "namespace": view.namespace}}


@contextmanager
def unchanged(view: View, obj: Object) -> Iterator[None]:
    """What is there under this name stays as it is; controllers may write its status meanwhile."""
    before = specified_part(view, obj)
    yield
    assert specified_part(view, obj) == before


def specified_part(view: View, obj: Object) -> tuple[Object, ...]:
    """Labels, data and spec of the live object."""
    found = view.get("pdb" if obj["kind"] == "PodDisruptionBudget" else obj["kind"].lower(), obj["metadata"]["name"])
    assert found is not None
    return found["metadata"].get("labels", {}), found.get("data", {}), found.get("spec", {})


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_is_made_once_and_is_then_applied_by_its_uid(view: View, kind: str) -> None:
    obj = child(view, kind)
    made = ask(view.plane, lambda client: client.apply(obj, uid=None))
    assert [entry["operation"] for entry in made["metadata"]["managedFields"]] == ["Apply"]
    with unchanged(view, obj), pytest.raises(Conflict):
        ask(view.plane, lambda client: client.apply(obj, uid=None))
    again = ask(view.plane, lambda client: client.apply(obj, uid=made["metadata"]["uid"]))
    assert again["metadata"]["uid"] == made["metadata"]["uid"]


def test_an_object_that_shares_no_field_with_ours_is_not_taken_over(view: View) -> None:
    obj = child(view, "ConfigMap")
    name = obj["metadata"]["name"]
    view.kubectl("create", "configmap", name, "--from-literal=key=another")
    with unchanged(view, obj), pytest.raises(Conflict):
        ask(view.plane, lambda client: client.apply(obj, uid=None))


def test_a_uid_that_is_gone_makes_nothing(view: View) -> None:
    obj = child(view, "ConfigMap")
    with pytest.raises(Conflict):
        ask(view.plane, lambda client: client.apply(obj, uid="0-0-0-0"))
    assert view.get("configmap", obj["metadata"]["name"]) is None
