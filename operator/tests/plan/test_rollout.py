"""The next step of a rollout, by what the cluster has. Whole rollouts: test_rollout_states.py."""

from __future__ import annotations

from typing import Any

import pytest

from triton_vllm_operator.plan.rollout import RolloutState, StepKind, next_step

SURGE, REPLACE, HELD = StepKind.SURGING, StepKind.REPLACING, StepKind.HELD
PAUSED, FAILED, FINISHING = StepKind.PAUSED, StepKind.FAILED, StepKind.FINISHING

# What differs from one old ready pod of one replica and a full cluster -> step, maxSurge, maxUnavailable, floor.
STEPS: list[tuple[dict[str, Any], StepKind, int, int, int]] = [
    # Auto, before it has begun.
    ({"room": 1}, SURGE, 1, 0, 1),
    ({"room": None}, SURGE, 1, 0, 1),
    ({"room": 0}, HELD, 0, 1, 1),
    ({"room": 0, "proceed": True}, REPLACE, 0, 1, 0),
    ({"room": 0, "old_ready": 0}, REPLACE, 0, 1, 0),
    ({"room": 0, "replicas": 3, "old": 3, "old_ready": 3}, REPLACE, 0, 1, 2),
    ({"room": 0, "replicas": 3, "old": 3, "old_ready": 3, "max_unavailable": 2}, REPLACE, 0, 2, 1),
    ({"room": 0, "replicas": 2, "old": 2, "old_ready": 2, "max_unavailable": 5}, REPLACE, 0, 1, 1),
    ({"room": 0, "replicas": 2, "old": 2, "old_ready": 2, "max_unavailable": 0}, HELD, 0, 1, 2),
    # A pod of a former attempt that is not ready has the GPU.
    ({"room": 0, "old": 2}, SURGE, 1, 0, 1),
    ({"room": 0, "old": 2, "old_ready": 2}, HELD, 0, 1, 2),
    ({"room": 0, "old": 2, "new": 1, "unplaced": 1, "short": 1}, HELD, 0, 1, 1),
    ({"room": 0, "old": 2, "replicas": 2}, REPLACE, 0, 1, 1),
    # Auto, with a surge pod.
    ({"room": 1, "unplaced": 1}, SURGE, 1, 0, 1),
    ({"room": 0, "new": 1}, SURGE, 1, 0, 1),
    ({"room": 0, "new": 1, "unplaced": 1}, SURGE, 1, 0, 1),
    ({"room": 0, "new": 1, "unplaced": 1, "short": 1, "ending": 1}, SURGE, 1, 0, 1),
    ({"room": 1, "new": 1, "unplaced": 1, "short": 1}, SURGE, 1, 0, 1),
    ({"room": 1, "new": 1, "unplaced": 1, "short": 1, "waited": True}, HELD, 0, 1, 1),
    ({"room": 0, "new": 1, "unplaced": 1, "short": 1}, HELD, 0, 1, 1),
    ({"room": None, "new": 1, "unplaced": 1, "short": 1}, HELD, 0, 1, 1),
    ({"room": 0, "replicas": 2, "old": 2, "old_ready": 2, "new": 1, "unplaced": 1, "short": 1}, REPLACE, 0, 1, 1),
    # Auto, while it replaces.
    ({"room": 0, "replicas": 2, "old_ready": 1, "new": 1, "surging": False}, REPLACE, 0, 1, 1),
    ({"room": 1, "replicas": 2, "new": 1, "surging": False, "unplaced": 1}, REPLACE, 0, 1, 1),
    ({"room": 1, "replicas": 2, "new": 1, "surging": False}, SURGE, 1, 0, 2),
    # GPUs are free, and memory is not.
    ({"room": 2, "old_ready": 0, "new": 1, "unplaced": 1, "crowded": True}, REPLACE, 0, 1, 0),
    ({"room": 2, "new": 1, "unplaced": 1, "crowded": True}, SURGE, 1, 0, 1),
    # The other strategies.
    ({"room": 0, "strategy": "Surge"}, SURGE, 1, 0, 1),
    ({"room": 5, "strategy": "Replace"}, REPLACE, 0, 1, 0),
    ({"strategy": "Replace", "replicas": 3, "old": 3, "old_ready": 3, "max_unavailable": 2}, REPLACE, 0, 2, 1),
    # Stopped.
    ({"room": 1, "paused": True}, PAUSED, 0, 1, 1),
    ({"room": 1, "new": 1, "paused": True}, PAUSED, 0, 1, 1),
    ({"room": 1, "new": 1, "failed": True}, FAILED, 0, 1, 1),
    ({"room": 1, "new": 1, "failed": True, "size": 1}, FAILED, 0, 1, 1),
    # An undo goes back as the rollout went, also while it is paused.
    ({"room": 0, "old_ready": 0, "new": 1, "new_ready": 1, "undoing": True, "paused": True}, SURGE, 1, 0, 1),
    ({"room": 0, "replicas": 2, "new": 1, "new_ready": 1, "undoing": True, "surging": False}, REPLACE, 0, 1, 1),
    ({"room": 0, "replicas": 2, "new": 2, "unplaced": 1, "short": 1, "undoing": True}, REPLACE, 0, 1, 1),
    # Nothing is left to replace.
    ({"old": 0, "old_ready": 0, "new": 1, "paused": True}, FINISHING, 1, 0, 1),
    ({"old": 0, "old_ready": 0, "new": 1, "surging": False}, FINISHING, 0, 1, 1),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "kind", "surge", "unavailable", "floor"), STEPS, ids=lambda value: str(value))
def test_the_next_step(facts: dict[str, Any], kind: StepKind, surge: int, unavailable: int, floor: int) -> None:
    step = next_step(RolloutState(**{"replicas": 1, "old": 1, "old_ready": 1, **facts}))
    found = (step.kind, step.settings.max_surge, step.settings.max_unavailable, step.floor)
    assert found == (kind, surge, unavailable, floor)
    assert bool(step.settings.paused_because) is (kind in (HELD, PAUSED, FAILED))
    assert step.settings.max_surge or step.settings.max_unavailable, "Kubernetes rejects two zeros"
    assert step.why.endswith(".")


@pytest.mark.parametrize(
    ("facts", "size"), [({}, None), ({"new": 1}, 2), ({"new": 1, "size": 3}, 3), ({"replicas": 4}, None)]
)
def test_a_stopped_rollout_keeps_the_pods_that_there_are(facts: dict[str, Any], size: int | None) -> None:
    state = RolloutState(**{"replicas": 1, "old": 1, "old_ready": 1, "paused": True, **facts})
    assert next_step(state).settings.size == size
