"""Every field of the CRD does something: another value makes another child, or is refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fake import clock
from tests.fake.world import reconciled
from tests.schema import draw
from triton_vllm_operator.api import names
from triton_vllm_operator.api.conditions import find
from triton_vllm_operator.api.kinds import Object

SCHEMA = draw.spec_schema()
# What these change is whether children are made at all, and status.plan: tests/plan/test_fit.py and
# tests/apiserver/test_planning.py.
PLANNED = {("planning", "mode"), ("resources", "gpu", "memoryGiB")}
# What these change is how a later change replaces pods: tests/plan/test_rollout.py and tests/apiserver/test_rollout.py.
ROLLOUT = {("rollout", name) for name in ("strategy", "maxUnavailable", "paused", "onFailure")}
# What these change is a later number of pods: tests/plan/test_autoscaling.py and tests/apiserver/test_autoscaling.py.
AUTOSCALING = {path for path in draw.leaves(SCHEMA) if path[0] == "autoscaling"}
LEAVES = sorted(set(draw.leaves(SCHEMA)) - PLANNED - ROLLOUT - AUTOSCALING, key=str)
BASE: Object = {"model": {"uri": "hf://org/model"}}
OURS: Object = {"server": {"image": "registry.example/triton-vllm:vllm-0.32.0"}}
METADATA: Object = {"labels": {"first": "x"}, "annotations": {"first": "x"}}
"""What `podTemplate.inherit` may name."""
# Fields whose effect shows only beside others: beginning of their paths -> those others.
BESIDE: dict[tuple[draw.Step, ...], Object] = {
    ("service", "disruptionBudget", "maxUnavailable"): {"service": {"disruptionBudget": {"enabled": True}}},
    ("sampling",): OURS,
    ("server", "limits"): OURS,
    ("server", "requestTimeoutSeconds"): OURS,
    ("server", "startupChecks"): OURS,
    ("server", "openAI"): {"server": {**OURS["server"], "openAI": {"enabled": True}}},
}


def merged(base: Any, over: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {**base, **{key: merged(base.get(key), value) for key, value in over.items()}}


def outcome(path: tuple[draw.Step, ...], value: Any) -> tuple[list[Object], str]:
    """What one field with this value comes to: the children without their hashes, and why it was refused, if it was."""
    beside = next((others for start, others in BESIDE.items() if path[: len(start)] == start), {})
    spec = merged(merged(BASE, beside), draw.put(SCHEMA, path, value))
    children, status = clock.run(reconciled(spec, METADATA))
    stalled = find(status["conditions"], "Stalled")
    assert stalled is not None
    if stalled["status"] == "True":
        assert stalled["reason"]
        assert stalled["message"].endswith((".", "?", ")"))
        return [], stalled["message"]
    for child in children:
        del child["metadata"]["annotations"][names.APPLIED_HASH_ANNOTATION]  # it covers the whole child
    return children, ""


@pytest.mark.parametrize("path", LEAVES, ids=lambda path: ".".join(map(str, path)))
def test_a_field_changes_a_child_or_is_refused(path: tuple[draw.Step, ...]) -> None:
    one, other, *_ = draw.choices(draw.at(SCHEMA, path), path)
    assert one != other
    first, second = outcome(path, one), outcome(path, other)
    assert first != second, f"{one!r} and {other!r} come to the same: {first[1] or 'no difference in any child'}"
