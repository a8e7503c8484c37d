"""What a cluster looked like when a test failed: kept in files, because the cluster is gone soon after.

The files are gone with the machine of the tests, so some of their lines go into the test's report.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from e2e.cluster import shell
from e2e.environment import OPERATOR_NAMESPACE, Environment

QUESTIONS: dict[str, list[str]] = {
    "pods.txt": ["get", "pods", "-A", "-o", "wide"],
    "llm.yaml": ["get", "llm", "-A", "-o", "yaml"],
    "services.txt": ["get", "services,endpointslices", "-A", "-o", "wide"],
    "events.txt": ["get", "events", "-A", "--sort-by=.lastTimestamp"],
    "kube-proxy.log": ["logs", "-n", "kube-system", "-l", "k8s-app=kube-proxy", "--tail=1000", "--prefix"],
    "operator.log": ["logs", "-n", OPERATOR_NAMESPACE, "deployment/triton-vllm-operator", "--tail=2000"],
}
SUMMARY: dict[str, int] = {"pods.txt": 40, "events.txt": 25, "operator.log": 15}
"""Number of last lines of a file that go into the report."""


def collect(env: Environment, folder: Path) -> Path:
    """Ask the cluster, and keep each answer, or why there is none, in a file of the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, question in QUESTIONS.items():
        try:
            output = env.kubectl(*question, timeout=30)
        except (shell.CommandFailed, subprocess.TimeoutExpired) as error:
            output = str(error)
        (folder / name).write_text(output)
    return folder


def summary(folder: Path) -> str:
    """The last lines of pods, events and the operator's log, each line cut to 300 characters."""
    parts = []
    for name, count in SUMMARY.items():
        lines = (folder / name).read_text().splitlines()[-count:]
        parts.append("\n".join([f"{name}:", *(line[:300] for line in lines)]))
    return "\n\n".join(parts)
