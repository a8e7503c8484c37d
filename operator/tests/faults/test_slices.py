"""A short slice of each fault harness, for the default tests; `make faults` runs them whole."""

from __future__ import annotations

import pytest

from tests.apiserver.controlplane import ControlPlane
from tests.faults import kills


@pytest.mark.parametrize("scenario", [s for s in kills.SCENARIOS if s.name in ("create", "engine change")], ids=str)
def test_killed_after_each_of_the_first_writes_the_end_is_the_same(
    plane: ControlPlane, kubelets: None, scenario: kills.Scenario
) -> None:
    row = kills.run(plane, scenario, points=3)
    assert row.passed, row.figures
