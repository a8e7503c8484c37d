"""The supervisor beside a stand-in for tritonserver: how the container ends, and what its termination message says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backend.health import GAVE_UP

SUPERVISE = "import sys; from backend.serve import Supervisor; sys.exit(Supervisor([]).wait())"


@pytest.mark.parametrize(
    ("script", "code", "cause"),
    [
        (f"echo '{GAVE_UP}the engine has died'; kill -ABRT $$", 1, "the engine was given up: the engine has died"),
        ("kill -ABRT $$", 128 + signal.SIGABRT, "tritonserver ended with signal 6"),
        ("exit 3", 3, "tritonserver ended with code 3"),
        ("exit 0", 0, None),
    ],
)
def test_end_of_the_server(tmp_path: Path, script: str, code: int, cause: str | None) -> None:
    server, message = tmp_path / "tritonserver", tmp_path / "termination"
    server.write_text(f"#!/bin/sh\n{script}\n")
    server.chmod(0o755)
    message.touch()
    variables = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "TRITON_VLLM_TERMINATION_LOG": str(message),
    }
    done = subprocess.run([sys.executable, "-c", SUPERVISE], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert (json.loads(message.read_text())["cause"] if message.read_text() else None) == cause
