"""What is read of processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from backend.container.processes import TITLES, below, halted, name_of, processes, signal_that_ended, stopped, titles
from testing.server import wait_until

PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"


@pytest.fixture
def parent() -> subprocess.Popen[bytes]:
    """A process with a child of its own; both end with its standard input."""
    return subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE)


def test_children_of_children_are_below_and_a_stopped_or_ended_one_is_halted(parent: subprocess.Popen[bytes]) -> None:
    wait_until(lambda: len(below(parent.pid)) == 1)
    (child,) = below(parent.pid)
    assert {parent.pid, child} <= below(os.getpid())
    assert (child, parent.pid) in {(pid, above) for pid, above, _, _ in processes()}
    both = [parent.pid, child]
    assert halted(both) == frozenset()
    os.kill(child, signal.SIGSTOP)
    wait_until(lambda: halted(both) == {child})
    os.kill(child, signal.SIGCONT)
    wait_until(lambda: halted(both) == frozenset())
    parent.communicate()
    assert halted(both) == set(both)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing."""
    with subprocess.Popen(["sleep", "60"]) as made:
        wait_until(lambda: name_of(made.pid) == "sleep")
        yield made
        made.kill()


def test_only_a_process_that_somebody_stopped_is_stopped(child: subprocess.Popen[bytes]) -> None:
    both = [child.pid, os.getpid()]
    assert stopped(both) == frozenset()
    child.send_signal(signal.SIGSTOP)
    wait_until(lambda: stopped(both) == {child.pid})
    child.kill()
    wait_until(lambda: halted(both) == {child.pid})
    assert stopped(both) == frozenset()  # it has ended, and no process has collected it
    child.wait()
    assert stopped(both) == frozenset()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_signal_that_ended_a_process_is_known_until_it_is_collected(
    child: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    assert signal_that_ended(child.pid) is None
    child.send_signal(number)
    wait_until(lambda: halted([child.pid]))
    assert signal_that_ended(child.pid) == number
    child.wait()
    assert signal_that_ended(child.pid) is None


def test_a_process_that_ended_by_itself_was_ended_by_no_signal() -> None:
    with subprocess.Popen(["false"]) as made:
        wait_until(lambda: halted([made.pid]))
        assert signal_that_ended(made.pid) is None


NAMED = "import sys; open('/proc/self/comm', 'w').write(sys.argv[1]); print(flush=True); input()"


def test_processes_have_titles_in_words(child: subprocess.Popen[bytes]) -> None:
    names = ["VLLM::EngineCore", "VLLM::Worker_TP0", "VLLM::Worker_TP1", "tritonserver"]
    started = [
        subprocess.Popen([sys.executable, "-c", NAMED, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for name in names
    ]
    try:
        for each in started:
            assert each.stdout is not None
            each.stdout.readline()
        told = titles([*(each.pid for each in started), child.pid])
        assert told == "the engine core, a worker of the engine, sleep, tritonserver"
    finally:
        for each in started:
            each.communicate()
    gone = started[0].pid
    assert titles([gone]) == name_of(gone) == f"process {gone}"
    assert titles([]) == ""


def test_names_with_a_title_are_as_short_as_the_kernels() -> None:
    assert all(len(name) <= 15 for name in TITLES)
