"""A short slice of each fault harness, for the default tests; `make faults` runs them whole."""

from __future__ import annotations

import pytest

from tests.apiserver.controlplane import ControlPlane
from tests.faults import drawn, kills, leaders, outages
from tests.faults.proxy import FAULTS, Fault

# A busy machine may need minutes for what takes seconds; each wait inside has a bound of its own.
pytestmark = pytest.mark.timeout(900)

SCENARIOS = [scenario for scenario in kills.SCENARIOS if scenario.name in ("create", "engine change", "planned create")]
OUTAGES = [fault for fault in FAULTS if fault.name in ("503", "half-open, all silent")]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_killed_after_each_of_the_first_writes_the_end_is_the_same(
    plane: ControlPlane, kubelets: None, scenario: kills.Scenario
) -> None:
    row = kills.run(plane, scenario, points=3)
    assert row.passed, row.figures


@pytest.mark.parametrize("fault", OUTAGES, ids=lambda fault: fault.name)
def test_what_changed_during_a_fault_is_served_after_it(plane: ControlPlane, kubelets: None, fault: Fault) -> None:
    row = outages.run(plane, fault, (10,))
    assert row.passed, row.figures


def test_what_is_drawn_from_the_schema_is_refused_ready_or_says_why_not(plane: ControlPlane, kubelets: None) -> None:
    row = drawn.run(plane, 7, 12)
    assert row.passed, row.figures


def test_a_leader_that_is_cut_off_never_writes_beside_the_next_one(plane: ControlPlane) -> None:
    row = leaders.struck(plane, "cut off")
    assert row.passed, row.figures
