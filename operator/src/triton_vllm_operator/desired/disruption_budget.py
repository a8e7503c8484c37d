"""The PodDisruptionBudget: how many pods an eviction (a node drain, for example) may take away at once."""

from typing import Any

from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.desired.objects import child


def disruption_budget(llm: LLMDeployment) -> dict[str, Any]:
    """The PodDisruptionBudget. A pod that never became ready may always be evicted: it serves nobody."""
    spec = {
        "maxUnavailable": llm.spec.service.disruption_budget.max_unavailable,
        "selector": {"matchLabels": names.selector(llm.name)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return child(llm, kinds.PDB, llm.name) | {"spec": spec}
