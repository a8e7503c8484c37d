"""The PodDisruptionBudget: how many pods evictions, for example by a node drain, may make unavailable at once."""

from typing import Any

from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.desired.objects import child


def disruption_budget(llm: LLMDeployment) -> dict[str, Any]:
    """The PodDisruptionBudget. A pod that is not ready can always be evicted: it serves no requests."""
    spec = {
        "maxUnavailable": llm.spec.service.disruption_budget.max_unavailable,
        "selector": {"matchLabels": names.selector(llm.name)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return child(llm, kinds.PDB, llm.name) | {"spec": spec}
