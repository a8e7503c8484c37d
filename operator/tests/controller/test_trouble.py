"""What fails again and again is reported in the status, not only in the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.fake.api import Refused
from tests.fake.world import World
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.conditions import find
from triton_vllm_operator.api.kinds import Key
from triton_vllm_operator.controller.reconcile import REPORTED_AFTER
from triton_vllm_operator.kube.errors import Invalid, KubeError, NotLeader

KEY = Key("team", "a")
PLACE = (kinds.LLM_DEPLOYMENT, "team", "a")


class Trouble:
    """One LLMDeployment whose Services the API server does not take for an unknown reason."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = World.of(0)
        self.world.chaos.calm()
        self.world.chaos.slow_s = 0.002
        body = {"apiVersion": PLACE[0].api_version, "kind": PLACE[0].kind, "spec": {"model": {"uri": "hf://org/model"}}}
        self.world.api.create({**body, "metadata": {"name": "a", "namespace": "team"}}, "user")
        self.error: Exception | None = Refused(500, "no such luck")
        applies = self.world.api.apply

        def apply(obj: Any, *args: Any, **more: Any) -> Any:
            if obj["kind"] == "Service" and self.error is not None:
                raise self.error
            return applies(obj, *args, **more)

        monkeypatch.setattr(self.world.api, "apply", apply)

    async def tries(self, count: int) -> None:
        for _ in range(count):
            with pytest.raises((KubeError, RuntimeError)):
                await self.world.manager.reconcile(self.world.manager.cluster, KEY)

    async def succeeds(self) -> None:
        self.error = None
        await self.world.manager.reconcile(self.world.manager.cluster, KEY)

    def condition(self, kind: str) -> Mapping[str, Any]:
        return find(self.world.api.objects[PLACE].get("status", {}).get("conditions", []), kind) or {}

    def events(self) -> list[str]:
        return [event["reason"] for event in self.world.api.all(kinds.EVENT)]


@pytest.fixture
async def trouble(monkeypatch: pytest.MonkeyPatch) -> Trouble:
    return Trouble(monkeypatch)


async def test_the_third_failure_in_a_row_is_told_with_the_servers_words_until_it_ends(trouble: Trouble) -> None:
    await trouble.tries(REPORTED_AFTER - 1)
    assert trouble.condition("Reconciling") == {}
    await trouble.tries(1)
    told = trouble.condition("Reconciling")
    assert (told["status"], told["reason"]) == ("True", "APIServerError")
    assert "no such luck (HTTP 500)" in told["message"]
    assert (trouble.condition("Ready")["status"], trouble.condition("Ready")["reason"]) == (
        "False",
        "APIServerError",
    )
    assert trouble.condition("Stalled")["status"] == "False"
    assert trouble.events() == ["APIServerError"]
    await trouble.succeeds()
    assert trouble.condition("Reconciling")["reason"] == "Scaling"
    trouble.error = Refused(500, "no such luck")
    changed = {"annotations": {"a": "b"}}
    trouble.world.api.change(PLACE, "user", lambda obj: obj["spec"].update(service=changed))
    await trouble.tries(REPORTED_AFTER - 1)
    assert trouble.condition("Reconciling")["reason"] == "Scaling", "it counts from the last success"


@pytest.mark.parametrize("error", [Refused(500, "no such luck"), RuntimeError("a list is empty")])
async def test_what_fails_for_ten_minutes_is_stalled(trouble: Trouble, error: Exception) -> None:
    trouble.error = error
    now = ["2026-01-01T00:00:00Z"]
    trouble.world.reconciler.clock = lambda: now[0]
    await trouble.tries(REPORTED_AFTER)
    now[0] = "2026-01-01T00:10:00Z"
    await trouble.tries(1)
    assert trouble.condition("Stalled")["status"] == "False"
    now[0] = "2026-01-01T00:10:01Z"
    await trouble.tries(1)
    assert (trouble.condition("Stalled")["status"], trouble.condition("Reconciling")["status"]) == ("True", "False")
    assert "This has lasted more than 10 minutes." in trouble.condition("Ready")["message"]
    trouble.world.reconciler._failures.clear()  # another process
    await trouble.tries(REPORTED_AFTER)
    assert trouble.condition("Stalled")["status"] == "True"
    await trouble.succeeds()
    assert trouble.condition("Stalled")["status"] == "False"


async def test_failures_that_are_told_are_not_written_again(trouble: Trouble) -> None:
    await trouble.tries(REPORTED_AFTER)
    version = trouble.world.api.version
    await trouble.tries(3)
    assert trouble.world.api.version == version


async def test_what_serves_stays_ready_while_the_operator_is_in_trouble(trouble: Trouble) -> None:
    generation = trouble.world.api.objects[PLACE]["metadata"]["generation"]
    ready = {"type": "Ready", "status": "True", "reason": "Serving", "message": "1 pod has answered.",
             "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
    written = {"conditions": [ready], "observedGeneration": generation}
    trouble.world.api.change(PLACE, "operator", lambda obj: obj.update(status=written))
    await trouble.tries(REPORTED_AFTER)
    assert trouble.condition("Ready") == ready
    assert trouble.condition("Reconciling")["reason"] == "APIServerError"
    trouble.world.api.change(PLACE, "user", lambda obj: obj["spec"].update(replicas=2))
    await trouble.tries(1)
    assert trouble.condition("Ready")["reason"] == "APIServerError", "of another generation nothing is known"


async def test_a_defect_is_told_as_one(trouble: Trouble) -> None:
    trouble.error = RuntimeError("a list is empty")
    await trouble.tries(REPORTED_AFTER)
    assert trouble.condition("Ready")["reason"] == "OperatorError"
    assert "RuntimeError: a list is empty" in trouble.condition("Ready")["message"]


async def test_a_definition_that_is_older_than_the_operator_is_named(
    trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything else is written: the claim is a field of the status too."""
    client = trouble.world.manager.cluster.client
    applies = client.apply_status

    async def apply_status(obj: Any) -> Any:
        if "operator" in obj["status"]:
            raise Invalid("apply-status LLMDeployment: .status.operator: field not declared in schema (HTTP 500)")
        return await applies(obj)

    monkeypatch.setattr(client, "apply_status", apply_status)
    await trouble.tries(REPORTED_AFTER)
    told = trouble.condition("Ready")
    assert told["reason"] == "APIServerError"
    assert ".status.operator: field not declared in schema" in told["message"]
    assert "The CustomResourceDefinition is older than the operator" in told["message"]


async def test_the_trouble_of_one_operator_is_not_written_where_another_one_reconciles(
    trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = {"operator": {"name": "other/operator"}}
    trouble.world.api.change(PLACE, "operator", lambda obj: obj.update(status=claim))
    before = dict(trouble.world.api.objects[PLACE]["status"])
    monkeypatch.setattr(trouble.world.manager.cluster.client, "apply_status", _refuse)
    await trouble.tries(REPORTED_AFTER)
    assert trouble.world.api.objects[PLACE]["status"] == before


async def _refuse(_: Any) -> Any:
    raise KubeError("no")


async def test_one_that_does_not_lead_tells_nothing(trouble: Trouble) -> None:
    trouble.error = NotLeader("the lease is not ours")
    await trouble.tries(REPORTED_AFTER + 1)
    assert trouble.condition("Ready") == {}


async def test_a_status_that_cannot_be_written_does_not_hide_the_cause(
    trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = KubeError("status refused")

    async def apply_status(_: Any) -> None:
        raise refused

    monkeypatch.setattr(trouble.world.manager.cluster.client, "apply_status", apply_status)
    with pytest.raises(KubeError) as first:
        await trouble.world.manager.reconcile(trouble.world.manager.cluster, KEY)
    await trouble.tries(REPORTED_AFTER - 2)
    with pytest.raises(KubeError) as last:
        await trouble.world.manager.reconcile(trouble.world.manager.cluster, KEY)
    assert last.value.reason == first.value.reason
