"""The watch of an engine, with a clock of our own."""

from __future__ import annotations

import asyncio
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from backend.container.processes import halted
from backend.engine import forkserver, health
from backend.engine.async_llm import cause_of_death
from backend.engine.health import PROBE_AFTER_SECONDS, EngineWatch, who
from contract.timing import GIVE_UP_SECONDS, STALL_SECONDS
from testing.server import wait_until


class Bench:
    """A watch over an engine that says something when `message` is called and answers probes on demand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.busy = False
        self.probes = 0
        self.answer: asyncio.Future[None] | None = None
        self.messages: asyncio.Queue[str] = asyncio.Queue()
        self.engine = SimpleNamespace(errored=False, engine_core=SimpleNamespace(get_output_async=self.messages.get))
        self.given_up: list[str] = []
        self.halted: frozenset[int] = frozenset()
        self.death = "the engine core was killed by signal 9"
        self.obstacle = ""
        self.watch = EngineWatch(
            self.engine,
            self._probe,
            lambda: self.busy,
            self._give_up,
            halted=lambda: self.halted,
            death=lambda: self.death,
            obstacle=lambda: self.obstacle,
            clock=lambda: self.now,
        )

    async def _probe(self) -> None:
        self.probes += 1
        self.answer = asyncio.get_running_loop().create_future()
        await self.answer

    async def _give_up(self, reason: str) -> None:
        self.given_up.append(reason)

    async def message(self) -> None:
        self.messages.put_nowait("outputs")
        assert await self.engine.engine_core.get_output_async() == "outputs"

    async def step(self, seconds: float) -> str:
        self.now += seconds
        reason = self.watch._step()
        for _ in range(3):
            await asyncio.sleep(0)
        return reason


async def test_silent_engine_is_asked_and_its_answer_keeps_it_ready() -> None:
    bench = Bench()
    await bench.step(PROBE_AFTER_SECONDS - 0.1)
    assert bench.probes == 0
    await bench.step(0.2)
    assert bench.probes == 1
    await bench.message()
    assert bench.answer is not None
    bench.answer.set_result(None)
    for _ in range(20):
        await bench.step(0.5)
        await bench.message()
    assert bench.watch.problem() == ""


async def test_speaking_engine_is_never_asked() -> None:
    bench = Bench()
    bench.busy = True
    for _ in range(200):
        await bench.message()
        await bench.step(2.0)
        assert bench.watch.problem() == ""
    assert bench.probes == 0


async def test_stopped_idle_engine_is_unready_within_15_seconds_and_given_up_within_60(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "titles", lambda pids: {frozenset({7}): "the engine core"}[pids])
    bench = Bench()
    bench.halted = frozenset({7})
    while not bench.watch.problem():
        assert await bench.step(0.5) == ""
    assert bench.watch.problem().endswith(" seconds; the engine core does not run")
    assert bench.now <= 15 - 2 * 2  # the kubelet looks every two seconds, twice
    assert bench.probes == 1
    while not (reason := await bench.step(0.5)):
        pass
    assert reason == f"it has not responded for {GIVE_UP_SECONDS:.0f} seconds; the engine core does not run"
    assert bench.now <= 60


async def test_idle_engine_that_hangs_is_found_by_the_next_question() -> None:
    bench = Bench()
    while not bench.watch.problem():
        assert await bench.step(0.5) == ""
    assert bench.now <= PROBE_AFTER_SECONDS + STALL_SECONDS + 1
    assert bench.probes == 1


async def test_a_halted_process_that_the_engine_does_not_need_is_asked_about_once() -> None:
    bench = Bench()
    # The answer about the first was given before the second stopped.
    for number, pids in ((1, frozenset({7})), (2, frozenset({7, 8}))):
        bench.halted = pids
        await bench.step(0.5)
        await bench.message()
        assert bench.answer is not None
        bench.answer.set_result(None)
        for _ in range(6):
            await bench.step(0.5)
            await bench.message()
        assert bench.probes == number


async def test_frozen_busy_engine_counts_from_its_last_message() -> None:
    bench = Bench()
    bench.busy = True
    await bench.message()
    await bench.step(1.0)
    await bench.step(STALL_SECONDS)
    assert "has not responded for" in bench.watch.problem()
    await bench.message()
    assert bench.watch.problem() == ""


async def test_idle_time_does_not_count_as_a_stall() -> None:
    bench = Bench()
    await bench.message()
    bench.now += 2 * GIVE_UP_SECONDS  # the loop itself was kept from running
    bench.busy = True
    assert await bench.step(0.1) == ""
    assert bench.watch.problem() == ""


async def test_refused_probe_is_the_reason_until_one_succeeds() -> None:
    bench = Bench()

    async def refused() -> None:
        raise ValueError("no such token")

    bench.watch.probe = refused
    await bench.step(PROBE_AFTER_SECONDS)
    await bench.step(0.5)
    assert "no such token" in bench.watch.problem()
    bench.watch.probe = bench._probe
    await bench.step(0.5)
    await bench.step(0.5)
    assert bench.answer is not None
    await bench.message()
    bench.answer.set_result(None)
    await bench.step(0.5)
    await bench.step(0.5)
    assert bench.watch.problem() == ""


async def test_dead_engine_is_given_up_at_once() -> None:
    bench = Bench()
    bench.engine.errored = True
    assert bench.watch.problem() == "the engine has died"
    await asyncio.wait_for(bench.watch.run(), 5)
    assert bench.given_up == ["the engine core was killed by signal 9"]


async def test_watch_ends_when_cancelled() -> None:
    bench = Bench()
    task: asyncio.Task[Any] = asyncio.ensure_future(bench.watch.run())
    await asyncio.sleep(0)
    task.cancel()
    results = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert bench.given_up == []


async def test_an_obstacle_is_the_reason_while_it_is_there() -> None:
    bench = Bench()
    bench.obstacle = "tritonserver is stopped"
    await bench.step(0.5)
    assert bench.watch.problem() == "tritonserver is stopped"
    bench.obstacle = ""
    assert bench.watch.problem() == ""


def test_who_does_not_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "titles", lambda pids: f"{len(pids)} of them")
    assert who(frozenset({1, 2})) == "; 2 of them does not run"
    assert who(frozenset()) == ""


def engine_of(*exit_codes: int | None) -> Any:
    """An engine whose core's processes ended so, as vLLM keeps them."""
    manager = SimpleNamespace(processes=[SimpleNamespace(exitcode=code) for code in exit_codes])
    return SimpleNamespace(engine_core=SimpleNamespace(resources=SimpleNamespace(engine_manager=manager)))


@pytest.mark.parametrize(
    ("engine", "cause"),
    [
        (engine_of(-9), "the engine core was killed by signal 9"),
        (engine_of(None, -11), "the engine core was killed by signal 11"),
        (engine_of(1), "the engine has died"),
        (engine_of(0), "the engine has died"),
        (engine_of(None), "the engine has died"),
        (SimpleNamespace(engine_core=SimpleNamespace(resources=SimpleNamespace())), "the engine has died"),
    ],
)
def test_the_cause_of_an_engines_death(engine: Any, cause: str) -> None:
    assert cause_of_death(engine) == cause


def test_a_core_whose_fork_server_was_killed_died_of_that() -> None:
    with subprocess.Popen(["sleep", "60"]) as fork_server:
        environment = {forkserver.VARIABLE: f"{fork_server.pid}:4:/socket"}
        assert cause_of_death(engine_of(255), environment) == "the engine has died"
        fork_server.kill()
        wait_until(lambda: halted([fork_server.pid]))
        assert cause_of_death(engine_of(255), environment) == "the engine's fork server was killed by signal 9"
        # What ended as Python could see did not die of it.
        assert cause_of_death(engine_of(1), environment) == "the engine has died"
        assert cause_of_death(engine_of(-11), environment) == "the engine core was killed by signal 11"
        assert cause_of_death(engine_of(255)) == "the engine has died"
