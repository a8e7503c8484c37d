"""What all children share: labels and the owner reference that lets Kubernetes collect them."""

from typing import Any

from triton_vllm_operator.api import names
from triton_vllm_operator.api.spec import LLMDeployment


def child(llm: LLMDeployment, api_version: str, kind: str, name: str, **metadata: Any) -> dict[str, Any]:
    """The head of a child object, owned by `llm`."""
    owner = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": llm.name,
        "uid": llm.uid,
        # Without blockOwnerDeletion: setting that would need a permission on the owner's finalizers.
        "controller": True,
    }
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": llm.namespace,
            "labels": names.labels(llm.name),
            "ownerReferences": [owner],
            **metadata,
        },
    }
