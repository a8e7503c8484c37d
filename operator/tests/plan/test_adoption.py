"""Which objects are adopted: children of a former LLMDeployment of the same name, and nothing else."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.desired import build
from tests.desired.samples import SAMPLES
from triton_vllm_operator.desired.children import children
from triton_vllm_operator.desired.objects import owner_reference
from triton_vllm_operator.plan.adoption import adoption, is_orphan

NAME = "llama"
FORMER = owner_reference(NAME, "former")
OTHERS = [
    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": NAME, "uid": "x", "controller": True},
    owner_reference("other", "x"),
    {**owner_reference(NAME, "x"), "apiVersion": "serving.example/v1alpha1"},
    {"apiVersion": "v1", "kind": "ConfigMap", "name": "app", "uid": "x"},
]


def made() -> list[dict[str, Any]]:
    """The children of a sample without owners, as they are after `kubectl delete --cascade=orphan`."""
    found = children(build.llm(SAMPLES["every-field"], NAME), build.IMAGE, build.DEFAULTS)
    return [{**one, "metadata": {**one["metadata"], "ownerReferences": []}} for one in found]


def changed(obj: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {**copy.deepcopy(obj), "metadata": {**copy.deepcopy(obj["metadata"]), **metadata}}


@pytest.mark.parametrize("refs", [[], [FORMER], [FORMER, owner_reference(NAME, "before that")]])
def test_every_child_of_a_former_one_is_an_orphan(refs: list[dict[str, Any]]) -> None:
    assert [is_orphan(changed(one, ownerReferences=refs), NAME, "new") for one in made()] == [True] * 5


def test_what_is_owned_is_not_an_orphan() -> None:
    for one in made():
        assert not is_orphan(changed(one, ownerReferences=[owner_reference(NAME, "new")]), NAME, "new")
        assert not is_orphan(changed(one, ownerReferences=[FORMER, owner_reference(NAME, "new")]), NAME, "new")


@pytest.mark.parametrize("other", OTHERS)
def test_what_belongs_to_others_is_never_taken(other: dict[str, Any]) -> None:
    for one in made():
        assert not is_orphan(changed(one, ownerReferences=[other]), NAME, "new")
        assert not is_orphan(changed(one, ownerReferences=[FORMER, other]), NAME, "new")


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": {}},
        {"labels": {"serving.triton-vllm.dev/llmdeployment": NAME}},
        {"labels": {"serving.triton-vllm.dev/llmdeployment": NAME, "app.kubernetes.io/managed-by": "Helm"}},
        {"annotations": {}},
        {"annotations": None},
        {"name": "copy-of-llama"},
        {"name": "llama-config"},
        {"deletionTimestamp": "2026-01-01T00:00:00Z"},
    ],
)
def test_what_the_operator_has_not_made_is_never_taken(metadata: dict[str, Any]) -> None:
    """A user's own object with the label that selects the pods, or a copy of a child under another name."""
    assert not any(is_orphan(changed(one, **metadata), NAME, "new") for one in made())


def test_a_child_of_another_name_is_not_taken() -> None:
    assert not any(is_orphan(one, "llama-2", "new") for one in made())


def test_the_new_owner_is_the_only_one_and_the_version_as_read_is_a_precondition() -> None:
    live = changed(made()[0], uid="u", resourceVersion="7", ownerReferences=[FORMER])
    owner = owner_reference(NAME, "new")
    assert adoption(live, owner) == {"metadata": {"uid": "u", "resourceVersion": "7", "ownerReferences": [owner]}}
