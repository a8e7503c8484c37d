"""Nodes and pods with GPUs, as the device plugin and feature discovery label them."""

from __future__ import annotations

from typing import Any


def node(name: str, gpus: int, **labels: str) -> dict[str, Any]:
    """A node with feature labels under nvidia.com/."""
    return {
        "metadata": {"name": name, "labels": {f"nvidia.com/{key}": value for key, value in labels.items()}},
        "status": {"allocatable": {"nvidia.com/gpu": str(gpus)} if gpus else {}},
    }


def pod(name: str, on: str, gpus: int, phase: str = "Running", priority: int = 0) -> dict[str, Any]:
    """A bound pod that asks for GPUs."""
    return {
        "metadata": {"name": name, "namespace": "team", "labels": {"serving.triton-vllm.dev/llmdeployment": "chat"}},
        "spec": {"nodeName": on, "priority": priority,
                 "containers": [{"resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}]},
        "status": {"phase": phase},
    }  # fmt: skip
