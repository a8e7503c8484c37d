"""What all children share: labels, the owner reference that lets Kubernetes collect them, and what pods may do."""

from typing import Any

from triton_vllm_operator.api import names
from triton_vllm_operator.api.kinds import Kind
from triton_vllm_operator.api.spec import LLMDeployment

USER = 1000  # user triton-server of NVIDIA's image, and ours


def restricted_pod() -> dict[str, Any]:
    """The securityContext of every pod: with one group for all, since another fsGroup changes a claim's files."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def restricted_container() -> dict[str, Any]:
    """The securityContext of every container."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def child(llm: LLMDeployment, kind: Kind, name: str, **metadata: Any) -> dict[str, Any]:
    """`apiVersion`, `kind` and `metadata` of an object that `llm` owns."""
    owner = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": llm.name,
        "uid": llm.uid,
        # Without blockOwnerDeletion: setting that would need a permission on the owner's finalizers.
        "controller": True,
    }
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": name,
            "namespace": llm.namespace,
            "labels": names.labels(llm.name),
            "ownerReferences": [owner],
            **metadata,
        },
    }
