"""What an engine got is read once for each run of a pod; who does not answer is asked less and less often."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.builders.deployments import llm
from tests.builders.reports import SAID
from tests.fake import clock
from triton_vllm_operator.api.kinds import Key
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.controller.probe import NoReport
from triton_vllm_operator.controller.probe_pool import ProbePool
from triton_vllm_operator.controller.steps.plan import Planned
from triton_vllm_operator.controller.steps.read_back import EngineReports, ReadBack
from triton_vllm_operator.desired import repository
from triton_vllm_operator.observed.engine_report import read
from triton_vllm_operator.observed.observation import Observation
from triton_vllm_operator.observed.pods import ContainerState, PodState

KEY = Key("team", "a")
LLM = llm()
HASH = repository.content_hash(LLM)
PLANNED = Planned(LLM, ())
SILENT = NoReport(Reason.REPORT_UNREACHABLE, "no answer within 2 s", final=False)


def pod(name: str = "p", *, restarts: int = 0, ready: bool = True, config_hash: str = HASH) -> PodState:
    return PodState(
        name=name, uid=f"uid-{name}", ip=f"10.0.0.{name}", node="n", config_hash=config_hash, template="1", created="",
        ready=ready, deleting=False, preempts_below=0, unschedulable="",
        containers=(ContainerState("server", "server", started=True, restarts=restarts),),
    )  # fmt: skip


def look(*pods: PodState) -> Observation:
    return Observation(LLM, None, pods, HASH, answers={one.run: "" for one in pods})


@dataclass
class Pods:
    """Answers by address; counts who was asked."""

    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def report(self, ip: str) -> bytes:
        self.asked.append(ip)
        answer = self.answers.get(ip, SAID)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()


class Cluster:
    """As much of the cluster as a reader needs; counts what it wakes."""

    def __init__(self) -> None:
        self.probes = ProbePool()
        self.woken = 0

    def wake(self, key: Key) -> None:
        assert key == KEY
        self.woken += 1


async def answered(
    reports: EngineReports, *pods: PodState, before: dict[str, Any] | None = None, stock: bool = False
) -> ReadBack:
    """What is known when the pods that were asked have answered."""
    cluster: Any = Cluster()
    while True:
        woken = cluster.woken
        found = reports.read(cluster, KEY, look(*pods), PLANNED, before or {}, stock=stock)
        await asyncio.sleep(0.001)
        if cluster.woken == woken:
            return found


Ask = Callable[..., Awaitable[ReadBack]]


def run(work: Callable[[Pods, Ask], Awaitable[None]], **answers: Any) -> Pods:
    """Run on a clock that jumps, with one reader."""
    source = Pods({f"10.0.0.{name}": answer for name, answer in answers.items()})

    async def through() -> None:
        reports = EngineReports(source)

        async def ask(*pods: PodState, before: dict[str, Any] | None = None, stock: bool = False) -> ReadBack:
            return await answered(reports, *pods, before=before or {}, stock=stock)

        await work(source, ask)

    clock.run(through())
    return source


def actual(found: ReadBack) -> dict[str, Any]:
    assert found.actual is not None
    return found.actual.to_json()


def test_a_pod_is_asked_once_for_each_run() -> None:
    async def work(source: Pods, ask: Ask) -> None:
        first = await ask(pod())
        assert (actual(first)["pod"], actual(first)["kvCacheTokens"]) == ("p", SAID["kvCacheTokens"])
        assert first.after is None
        for _ in range(3):
            assert await ask(pod()) == first
        assert len(source.asked) == 1
        again = await ask(pod(restarts=1))
        assert actual(again)["restarts"] == 1
        assert len(source.asked) == 2

    run(work)


def test_a_restarted_operator_believes_the_status_and_asks_nobody() -> None:
    async def work(source: Pods, ask: Ask) -> None:
        told = actual(await ask(pod()))
        source.asked.clear()
        reports = EngineReports(source)
        found = await answered(reports, pod(), before=told)
        assert actual(found) == told
        assert source.asked == []
        restarted = await answered(EngineReports(source), pod(restarts=1), before=told)
        assert actual(restarted)["restarts"] == 1
        assert len(source.asked) == 1

    run(work)


def test_a_status_that_somebody_spoilt_is_read_anew() -> None:
    async def work(source: Pods, ask: Ask) -> None:
        found = await ask(pod(), before={"pod": "p", "restarts": 0, "blocks": "many"})
        assert read(json.dumps(SAID).encode()) == read(json.dumps({**actual(found), "vllm": SAID["vllm"]}).encode())
        assert len(source.asked) == 1

    run(work)


def test_pods_that_have_not_served_or_run_something_else_are_not_asked() -> None:
    async def work(source: Pods, ask: Ask) -> None:
        found = await ask(pod(ready=False), pod("old", config_hash="other"))
        assert (found.condition.status, found.condition.reason) == ("Unknown", "NotServing")
        assert found.actual is None
        assert source.asked == []

    run(work)


def test_what_a_run_said_stands_while_it_is_not_ready_for_a_moment() -> None:
    async def work(source: Pods, ask: Ask) -> None:
        first = await ask(pod())
        assert actual(await ask(pod(ready=False))) == actual(first)

    run(work)


def test_the_pod_with_the_least_speaks_and_when_it_has_gone_the_next() -> None:
    less = {**SAID, "kvCacheTokens": 1000}

    async def work(source: Pods, ask: Ask) -> None:
        assert actual(await ask(pod("1"), pod("2"), pod("3")))["pod"] == "2"
        assert actual(await ask(pod("1"), pod("3")))["pod"] == "1"
        assert len(source.asked) == 3

    run(work, **{"2": less})


def test_nvidias_image_is_not_asked() -> None:
    async def work(source: Pods, ask: Ask) -> None:
        found = await ask(pod(), stock=True)
        assert (found.condition.status, found.condition.reason) == ("Unknown", "ReportNotServed")
        assert source.asked == []

    run(work)


def test_who_does_not_answer_is_asked_again_later_and_later() -> None:
    async def work(source: Pods, ask: Ask) -> None:
        begun, times = asyncio.get_running_loop().time(), []
        for _ in range(9):
            found = await ask(pod())
            assert (found.condition.reason, found.actual) == ("ReportUnreachable", None)
            assert found.condition.message == "There is no report of the engine of pod p: no answer within 2 s."
            assert found.after is not None
            await ask(pod())  # an event meanwhile asks no pod
            times.append(found.after)
            await asyncio.sleep(found.after)
        assert [round(after, 1) for after in times] == [15.0, 30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0, 600.0]
        assert len(source.asked) == 9
        assert asyncio.get_running_loop().time() - begun == pytest.approx(sum(times), abs=0.1)
        source.answers.clear()
        assert actual(await ask(pod()))["pod"] == "p"

    run(work, p=SILENT)


def test_an_image_without_a_report_or_with_a_hostile_one_is_asked_once() -> None:
    async def work(source: Pods, ask: Ask) -> None:
        for _ in range(2):
            found = await ask(pod("1"))
            assert (found.condition.status, found.condition.reason) == ("Unknown", "ReportNotServed")
            assert found.after is None
            await asyncio.sleep(10_000)
        found = await ask(pod("1"), pod("2"), pod("3"))
        assert actual(found)["pod"] == "3", "one that answers is enough"
        assert (await ask(pod("2"))).condition.reason == "ReportUnreadable"
        assert len(source.asked) == 3, source.asked

    run(work, **{"1": NoReport(Reason.REPORT_NOT_SERVED, "its image has none", final=True), "2": b"[" * 100_000})
