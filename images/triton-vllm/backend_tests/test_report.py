"""The start-up report goes over the processes of a start: the launcher's phases come before those of the backend."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from backend.container import report
from backend.openai.http_server import HTTPApplication, Sources
from contract import paths


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No phase has been reported, by this process or by one before it."""
    monkeypatch.setattr(report, "_phases", [])
    monkeypatch.delenv(report.PHASES_VARIABLE, raising=False)


def test_phases_keep_their_names_and_times_but_not_their_facts(capfd: pytest.CaptureFixture[str]) -> None:
    report.phase("Preflight", 0.126, removedSegments=2)
    report.phase("Begun")
    first, second = report.phases()
    assert (first["phase"], first["seconds"], set(first)) == ("Preflight", 0.13, {"phase", "elapsed", "seconds"})
    assert set(second) == {"phase", "elapsed"}
    lines = [json.loads(line.removeprefix(report.PREFIX)) for line in capfd.readouterr().out.splitlines()]
    assert lines == [{**first, "removedSegments": 2}, second]


def test_those_of_the_process_before_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    report.phase("Preflight", 0.1)
    inherited = json.dumps(report.phases())
    monkeypatch.setattr(report, "_phases", [])
    monkeypatch.setenv(report.PHASES_VARIABLE, inherited)
    report.phase("EngineArguments", 0.2)
    report.note({"phase": "WeightsLoaded", "seconds": 3.0})
    assert [(one["phase"], one["seconds"]) for one in report.phases()] == [
        ("Preflight", 0.1),
        ("EngineArguments", 0.2),
        ("WeightsLoaded", 3.0),
    ]


def test_a_phase_that_a_worker_wrote_is_noted_and_not_written_again(capfd: pytest.CaptureFixture[str]) -> None:
    report.note({"phase": "WeightsLoaded", "seconds": 3.0})
    assert capfd.readouterr().out == ""


async def test_the_front_answers_with_the_report_of_the_moment() -> None:
    def now() -> dict[str, Any]:
        return {"model": "llm", "vllm": "1.2.3", "startup": report.phases()}

    async def prove() -> str:
        proofs.append("generate")
        return proofs[-1]

    proofs: list[str] = []
    sources = Sources(problem=str, report=now, metrics=lambda: b"a 1\n", prove=prove)
    front, sent = HTTPApplication(sources), list[Mapping[str, Any]]()

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    report.note({"phase": "Serving", "seconds": 4.0})  # after the front was made
    asked = (paths.REPORT, paths.READY, paths.HEALTH, paths.VERSION, paths.PROOF)
    for path in (*asked, paths.METRICS):
        await front({"type": "http", "path": path}, None, send)
    assert [message["status"] for message in sent[::2]] == [200] * 6
    assert sent.pop()["body"] == b"a 1\n"
    bodies = [json.loads(message["body"]) for message in sent[1::2]]
    assert bodies[0] == {"model": "llm", "vllm": "1.2.3", "startup": [{"phase": "Serving", "seconds": 4.0}]}
    assert bodies[1] == bodies[2] == {"ready": True}
    assert bodies[3:] == [{"version": "1.2.3"}, {"proven": True, "task": "generate"}]


async def test_a_proof_is_shared_and_fails_with_the_reason() -> None:
    problems, begun, end = [""], list[int](), asyncio.Event()

    async def prove() -> str:
        begun.append(1)
        await end.wait()
        raise RuntimeError("dead")

    front = HTTPApplication(Sources(lambda: problems[0], dict, bytes, prove))

    async def ask() -> tuple[int, Any]:
        sent = list[Mapping[str, Any]]()

        async def send(message: Mapping[str, Any]) -> None:
            sent.append(message)

        await front({"type": "http", "path": paths.PROOF}, None, send)
        return sent[0]["status"], json.loads(sent[1]["body"])

    asking = [asyncio.ensure_future(ask()) for _ in range(5)]
    await asyncio.sleep(0)
    asking[0].cancel()  # a client that leaves ends the proof of no other
    await asyncio.sleep(0)
    end.set()
    assert await asyncio.gather(*asking[1:]) == [(503, {"proven": False, "reason": "RuntimeError: dead"})] * 4
    assert begun == [1]
    problems[0] = "stalled"
    assert await ask() == (503, {"proven": False, "reason": "stalled"})
    assert begun == [1]
