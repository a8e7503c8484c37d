"""`python -m e2e.cluster`: what a shell gets from `env`."""

from __future__ import annotations

import subprocess

import pytest

from e2e.cluster import Cluster
from e2e.cluster.__main__ import show_env


class OddCluster(Cluster):
    """Paths with everything that a shell may take for its own."""

    def __init__(self) -> None:
        """No machine is looked at."""

    def env(self) -> dict[str, str]:
        return {"KUBECONFIG": "/a b/$HOME/it's", "PATH": "/my tools/bin:/other"}


def test_a_shell_that_evaluates_it_has_the_variables(capsys: pytest.CaptureFixture[str]) -> None:
    show_env(OddCluster())
    script = capsys.readouterr().out + 'printf "%s\\n" "$KUBECONFIG" "$PATH"'
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    assert done.stdout.splitlines() == ["/a b/$HOME/it's", "/my tools/bin:/other:/usr/bin:/bin"]
