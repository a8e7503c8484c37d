"""Which writes follow from what is wanted and what is live."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triton_vllm_operator.plan.actions import Action, Apply, actions, foreign_owner
from triton_vllm_operator.plan.drift import holds

UID = "me"


def obj(kind: str, name: str, uid: str = UID, **more: Any) -> dict[str, Any]:
    meta = {"name": name, "uid": f"uid-{name}", "ownerReferences": [{"uid": uid}]}
    return {"kind": kind, "metadata": meta, **more}


def told(found: list[Action]) -> list[tuple[str, str]]:
    return [
        ("apply", a.obj["metadata"]["name"]) if isinstance(a, Apply) else ("delete", a.obj["metadata"]["name"])
        for a in found
    ]


def test_a_missing_child_is_applied_as_new() -> None:
    [action] = actions([obj("Service", "a")], [], UID, frozenset())
    assert isinstance(action, Apply)
    assert action.uid is None


def test_nothing_is_written_when_nothing_changed() -> None:
    live = obj("Service", "a", spec={"type": "ClusterIP", "clusterIP": "10.0.0.1"})
    assert actions([obj("Service", "a", spec={"type": "ClusterIP"})], [live], UID, frozenset()) == []


def test_a_field_that_somebody_changed_is_restored() -> None:
    live = obj("Service", "a", spec={"type": "NodePort"})
    [action] = actions([obj("Service", "a", spec={"type": "ClusterIP"})], [live], UID, frozenset())
    assert isinstance(action, Apply)
    assert action.uid == "uid-a", "a namesake is not overwritten"


def applied(kind: str, digest: str, **more: Any) -> dict[str, Any]:
    found = obj(kind, "a", **more)
    labels = {"serving.triton-vllm.dev/llmdeployment": "a"}
    annotations = {"serving.triton-vllm.dev/applied-hash": digest}
    return {**found, "metadata": {**found["metadata"], "namespace": "t", "labels": labels, "annotations": annotations}}


@pytest.mark.parametrize(
    ("kind", "live", "desired", "words"),
    [
        (
            "Deployment",
            {"replicas": 3, "minReadySeconds": 0},
            {"replicas": 1},
            "spec.replicas was changed by others, and is what the LLMDeployment says again. "
            "Scale the LLMDeployment: kubectl scale llm/a -n t --replicas=3",
        ),
        ("Service", {"type": "NodePort"}, {"type": "ClusterIP"}, "spec.type was changed by others"),
        ("Service", {}, {"type": "ClusterIP"}, "Change LLMDeployment a instead."),
        ("Service", {"ports": [{"port": 1}]}, {"ports": [{"port": 2}]}, "spec.ports was changed"),
    ],
)
def test_what_others_have_changed_is_reported(
    kind: str, live: dict[str, Any], desired: dict[str, Any], words: str
) -> None:
    [action] = actions([applied(kind, "x", spec=desired)], [applied(kind, "x", spec=live)], UID, frozenset())
    assert isinstance(action, Apply)
    assert words in action.reverts
    [action] = actions([applied(kind, "y", spec=desired)], [applied(kind, "x", spec=live)], UID, frozenset())
    assert isinstance(action, Apply)
    assert action.reverts == "", "the spec has changed"


def test_what_is_no_longer_wanted_is_deleted_last() -> None:
    live = [obj("PodDisruptionBudget", "a")]
    assert told(actions([obj("Service", "a")], live, UID, frozenset())) == [("apply", "a"), ("delete", "a")]


def test_a_repository_stays_while_a_pod_mounts_it() -> None:
    live = [obj("ConfigMap", "a-old")]
    assert actions([], live, UID, frozenset({"a-old"})) == []
    assert told(actions([], live, UID, frozenset())) == [("delete", "a-old")]


def test_a_child_that_is_going_is_left_alone() -> None:
    live = obj("ConfigMap", "a-old")
    live["metadata"]["deletionTimestamp"] = "t"
    assert actions([], [live], UID, frozenset()) == []


def test_objects_of_other_owners_are_left_alone() -> None:
    """One that has the name of a child is not applied over either: as new, an existing object is a conflict."""
    live = [obj("Service", "a", uid="other"), obj("ConfigMap", "b", uid="other")]
    [action] = actions([obj("Service", "a")], live, UID, frozenset())
    assert isinstance(action, Apply)
    assert action.uid is None


@pytest.mark.parametrize(
    ("metadata", "owner"),
    [
        ({"ownerReferences": [{"uid": UID}]}, None),
        (
            {"ownerReferences": [{"uid": "x", "kind": "LLMDeployment", "name": "b", "controller": True}]},
            "LLMDeployment b",
        ),
        ({"labels": {"app.kubernetes.io/managed-by": "Helm"}}, "Helm"),
        ({}, "another owner"),
    ],
)
def test_a_foreign_object_is_told_with_its_owner(metadata: dict[str, Any], owner: str | None) -> None:
    assert foreign_owner({"kind": "Service", "metadata": {"name": "a", **metadata}}, UID) == owner


@pytest.mark.parametrize(
    ("live", "wanted"),
    [
        ({"limits": {"memory": "6656Mi"}}, {"limits": {"memory": "6815744Ki"}}),
        ({"requests": {"cpu": "500m"}}, {"requests": {"cpu": "0.5"}}),
        ({"emptyDir": {"sizeLimit": "2Gi"}}, {"emptyDir": {"sizeLimit": "2048Mi"}}),
        ({"env": [{"name": "x", "value": "1"}, {"name": "injected"}]}, {"env": [{"name": "x", "value": "1"}]}),
        ({"env": [{"name": "x"}]}, {"env": [{"name": "x", "value": ""}]}),
        ({"t": [{"key": "a", "effect": "A"}, {"key": "a", "effect": "B"}]}, {"t": [{"key": "a", "effect": "A"}]}),
        ({"a": 1, "defaulted": True}, {"a": 1, "empty": {}}),
    ],
)
def test_what_the_api_server_writes_otherwise_is_no_drift(live: Any, wanted: Any) -> None:
    assert holds(live, wanted)


@pytest.mark.parametrize(
    ("live", "wanted"),
    [
        ({"limits": {"memory": "1Gi"}}, {"limits": {"memory": "2Gi"}}),
        ({"args": ["a", "b"]}, {"args": ["a"]}),
        ({"args": ["b", "a"]}, {"args": ["a", "b"]}),
        ({"env": [{"name": "x", "value": "2"}]}, {"env": [{"name": "x", "value": "1"}]}),
        ({}, {"replicas": 1}),
        ({"a": "x"}, {"a": {"b": 1}}),
        ({"type": "1Gi"}, {"type": "1024Mi"}),
        ({"selector": {"app": "a", "more": "b"}}, {"selector": {"app": "a"}}),
    ],
)
def test_drift_is_seen(live: Any, wanted: Any) -> None:
    assert not holds(live, wanted)


values = st.recursive(
    st.text() | st.integers() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=5), values, max_size=5))
def test_an_object_holds_itself(value: dict[str, Any]) -> None:
    assert holds(copy.deepcopy(value), value)
