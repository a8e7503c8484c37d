"""Parts that children share: labels, the owner reference for garbage collection, and the pods' security contexts."""

from typing import Any

from triton_vllm_operator.api import names
from triton_vllm_operator.api.kinds import Kind
from triton_vllm_operator.api.spec import LLMDeployment

USER = 1000
"""User and group of the pods: triton-server in NVIDIA's image and in the operator's."""


def restricted_pod(*, fixed_user: bool = True) -> dict[str, Any]:
    """The securityContext of every pod. All have the same fsGroup: another one would change a claim's files.

    Args:
        fixed_user: else the namespace assigns user and groups, as OpenShift's SecurityContextConstraints do.
    """
    user = {"runAsUser": USER, "runAsGroup": USER, "fsGroup": USER} if fixed_user else {}
    return {
        "runAsNonRoot": True,
        **user,
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


def owner_reference(name: str, uid: str) -> dict[str, Any]:
    """The reference to an LLMDeployment, for garbage collection."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": name,
        "uid": uid,
        # No blockOwnerDeletion: setting it requires permission to update the owner's finalizers.
        "controller": True,
    }


def child(llm: LLMDeployment, kind: Kind, name: str, **metadata: Any) -> dict[str, Any]:
    """`apiVersion`, `kind` and `metadata` of an object that `llm` owns."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": name,
            "namespace": llm.namespace,
            "labels": {**names.inherited(llm.labels), **names.labels(llm.name)},
            "ownerReferences": [owner_reference(llm.name, llm.uid)],
            **metadata,
        },
    }
