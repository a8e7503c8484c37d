"""The control plane of plain processes: which version it is, how long it takes, what it leaves behind."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from e2e.cluster.images import binaries
from tests.apiserver.controlplane import ControlPlane, control_plane

pytestmark = pytest.mark.every_version
READY_S = 45.0
"""Ten times what it takes on an idle machine with two cores."""


def version(plane: ControlPlane) -> str:
    return str(json.loads(plane.kubectl("get", "--raw", "/version"))["gitVersion"])


def test_it_is_ready_within_seconds(plane: ControlPlane) -> None:
    assert 0 < plane.ready_s < READY_S


def test_it_is_a_supported_version_and_not_an_unnamed_build(plane: ControlPlane) -> None:
    assert version(plane).removeprefix("v") in binaries.api_server_versions()
    assert (
        str(binaries.folder_of(binaries.api_server_versions()[version(plane).removeprefix("v")]))
        in plane.apiserver.command[0]
    )


def test_our_kind_is_explained(plane: ControlPlane) -> None:
    output = plane.kubectl("explain", "llm.spec.engine.gpuMemoryUtilization")
    assert "gpuMemoryUtilization <number>" in output
    assert "DESCRIPTION:\n" in output


def test_nothing_is_left_of_it(plane: ControlPlane) -> None:
    with control_plane(plane.programs) as second:
        folder = second.folder
        processes = [p.handle.pid for p in (second.etcd, second.apiserver, second.controllers) if p and p.handle]
        assert len(processes) == 3
        assert all(Path(f"/proc/{pid}").exists() for pid in processes)
    assert not folder.exists()
    assert not [pid for pid in processes if _lives(pid)]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
