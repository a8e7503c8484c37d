"""Jobs of a graph: in parallel where they may, in order where they must, and what an exception stops."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from devtools import dag


class Recorder:
    """Callbacks that keep what they were called with."""

    def __init__(self) -> None:
        self.results: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        self.beats: list[Mapping[str, float]] = []

    def ended(self, job: dag.Ended[Any]) -> None:
        self.results[job.name] = job.future.exception() or job.future.result()
        self.seconds[job.name] = job.seconds

    def beat(self, running: Mapping[str, float]) -> None:
        self.beats.append(dict(running))


def run(graph: dag.Dependencies, job: Any, heartbeat_seconds: float = 30.0) -> Recorder:
    recorder = Recorder()
    dag.run(graph, job, recorder.ended, recorder.beat, heartbeat_seconds)
    return recorder


def test_independent_jobs_run_at_the_same_time() -> None:
    meeting = threading.Barrier(3)
    recorder = run({"a": [], "b": [], "c": []}, lambda name: meeting.wait(30))  # broken unless all three are there
    assert sorted(recorder.results.values()) == [0, 1, 2]


def test_a_job_starts_once_all_of_its_dependencies_have_ended() -> None:
    order: list[str] = []
    run({"top": ["left", "right"], "left": ["base"], "right": ["base"], "base": []}, order.append)
    assert (order[0], order[-1], sorted(order)) == ("base", "top", ["base", "left", "right", "top"])


def test_a_job_is_reported_before_those_that_depend_on_it_start() -> None:
    reported: list[str] = []
    seen: dict[str, list[str]] = {}

    def job(name: str) -> None:
        seen[name] = list(reported)

    dag.run({"first": [], "second": ["first"]}, job, lambda ended: reported.append(ended.name), print, 30)
    assert seen == {"first": [], "second": ["first"]}


def test_an_exception_of_a_job_is_handed_over_and_the_others_go_on() -> None:
    def job(name: str) -> str:
        if name == "broken":
            raise KeyError(name)
        return name

    recorder = run({"broken": [], "other": [], "after": ["broken"]}, job)
    assert isinstance(recorder.results.pop("broken"), KeyError)
    assert recorder.results == {"other": "other", "after": "after"}


def test_an_exception_of_the_callback_starts_nothing_more_and_waits_for_what_runs() -> None:
    ran: list[str] = []
    release = threading.Event()

    def job(name: str) -> None:
        if name == "long":
            release.wait(30)
        ran.append(name)

    def ended(done: dag.Ended[None]) -> None:
        release.set()
        raise RuntimeError(done.name)

    with pytest.raises(RuntimeError, match="short"):
        dag.run({"short": [], "long": [], "after": ["short"]}, job, ended, print, 30)
    assert ran == ["short", "long"]


def test_heartbeats_name_the_running_jobs_with_their_seconds() -> None:
    release = threading.Event()
    beats: list[Mapping[str, float]] = []

    def beat(running: Mapping[str, float]) -> None:
        beats.append(running)
        release.set()

    dag.run({"slow": [], "later": ["slow"]}, lambda name: release.wait(30), lambda ended: None, beat, 0.05)
    assert list(beats[0]) == ["slow"]
    assert beats[0]["slow"] >= 0.05


def test_the_seconds_of_a_job_are_its_own() -> None:
    recorder = run({"slow": [], "quick": ["slow"]}, lambda name: threading.Event().wait(0.2 if name == "slow" else 0))
    assert recorder.seconds["slow"] >= 0.2 > recorder.seconds["quick"]


def test_an_empty_graph_is_done_at_once() -> None:
    assert run({}, print).results == {}


@pytest.mark.parametrize(
    ("graph", "message"),
    [({"a": ["b"]}, "not jobs: b"), ({"a": ["b"], "b": ["a"]}, "cycle")],
)
def test_an_invalid_graph_is_rejected_before_a_job_starts(graph: dag.Dependencies, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(graph, lambda name: pytest.fail(f"{name} has started"))
