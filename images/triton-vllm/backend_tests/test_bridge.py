"""What goes to Triton, with a stand-in for the module that only Triton's stub has."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


class FakeSender:
    """Triton's response sender: after the final response it refuses every other."""

    def __init__(self) -> None:
        self.sent: list[int] = []

    def send(self, *_responses: Any, flags: int) -> None:
        assert 1 not in self.sent, "Unable to send response. Response sender has been closed."
        self.sent.append(flags)

    def is_cancelled(self) -> bool:
        return True


@pytest.fixture
def bridge(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    fake: Any = ModuleType("triton_python_backend_utils")
    fake.TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", fake)
    monkeypatch.delitem(sys.modules, "backend.triton.bridge", raising=False)
    yield importlib.import_module("backend.triton.bridge")
    sys.modules.pop("backend.triton.bridge", None)


def test_a_client_that_leaves_while_the_last_response_is_on_its_way_gets_no_other(bridge: ModuleType) -> None:
    sender = FakeSender()
    job = bridge.Job(SimpleNamespace(get_response_sender=lambda: sender))
    job.send(None, None, final=False)
    assert job.cancelled()
    job.send(None, None, final=True)
    assert not job.cancelled()
    job.send(None, None, final=True)
    assert sender.sent == [0, 1]
