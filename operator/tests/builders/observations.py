"""Pods, Deployments and observations of them, as the API server returns them."""

from typing import Any

from tests.desired.build import llm
from triton_vllm_operator.desired import repository
from triton_vllm_operator.observed import pods
from triton_vllm_operator.observed.observation import Observation

LLM = llm({"model": {"uri": "hf://a/b"}})
HASH = repository.content_hash(LLM)


def pod(
    name: str = "p",
    *,
    ready: bool = False,
    config: str = HASH,
    template: str = "1",
    created: str = "",
    **status_fields: Any,
) -> dict[str, Any]:
    conditions = status_fields.pop("conditions", [{"type": "Ready", "status": "True" if ready else "False"}])
    return {
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": f"uid-{name}",
            "creationTimestamp": created,
            "labels": {"serving.triton-vllm.dev/llmdeployment": "llama", "pod-template-hash": template},
            "annotations": {"serving.triton-vllm.dev/config-hash": config},
        },
        "spec": {"nodeName": "n", "containers": [{"name": "server"}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": conditions, **status_fields},
    }


def container(**state: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "server", "restartCount": state.pop("restarts", 0), **state}]}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return container(state={"waiting": {"reason": reason, "message": message}})


def unschedulable(message: str) -> dict[str, Any]:
    found = pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}])
    del found["spec"]["nodeName"]
    return found


def deployment(ready: int = 0, **more: Any) -> dict[str, Any]:
    counts = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": ready, "observedGeneration": 3}
    return {"metadata": {"generation": 3}, "status": counts | more}


def observation(
    *found: dict[str, Any], ready: int = 0, answers: dict[str, str] | None = None, **more: Any
) -> Observation:
    """An observation of these pods. `ready`: available replicas of the Deployment."""
    made = more.pop("deployment", deployment(ready))
    return Observation(
        llm=more.pop("llm", LLM),
        deployment=made,
        pods=pods.read_all(found, "server"),
        config_hash=HASH,
        answers=answers or {},
        pods_over=pods.read_over(found, "server"),
        **more,
    )
