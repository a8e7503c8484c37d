"""What is read of processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from backend.processes import below, halted, processes
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
