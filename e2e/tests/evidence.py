"""What a cluster looked like when a test failed: kept in files, because the cluster is gone soon after."""

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
