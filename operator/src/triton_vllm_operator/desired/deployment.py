"""The Deployment: one engine per pod."""

import json
from typing import Any

from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.desired import repository
from triton_vllm_operator.desired.inputs import Defaults, ServingImage
from triton_vllm_operator.desired.objects import child
from triton_vllm_operator.desired.pod import STARTUP_BUDGET_SECONDS, pod_metadata, pod_spec
from triton_vllm_operator.desired.rollout_settings import resting

MIN_READY_SECONDS = 3
"""Seconds from a pod's readiness until it counts as available. A Service reaches a new pod with a delay: the
EndpointSlice controller and kube-proxy each act at most once per second. Until then no old pod is deleted."""
PROGRESS_DEADLINE_SECONDS = STARTUP_BUDGET_SECONDS + 15 * 60
"""Seconds without a new available pod until Kubernetes reports that a rollout does not progress: the whole time that
the startup probe allows, and 15 minutes for a new node and the image's pull. Kubernetes' default of 10 minutes would
report a failure beside a model that still loads."""


def progress_deadline_seconds(llm: LLMDeployment) -> int:
    """Seconds without a new available pod until a rollout of the LLMDeployment is too late."""
    return llm.spec.rollout.progress_deadline_seconds or PROGRESS_DEADLINE_SECONDS


def pod_template(llm: LLMDeployment, image: ServingImage, defaults: Defaults) -> dict[str, Any]:
    """The pod template. A changed model repository has a new name, which changes it."""
    config_hash = repository.content_hash(llm)
    metadata = pod_metadata(llm)
    return {
        "metadata": {
            "labels": {**metadata["labels"], **names.labels(llm.name)},
            "annotations": {**metadata["annotations"], names.CONFIG_HASH_ANNOTATION: config_hash},
        },
        "spec": pod_spec(llm, image, defaults, names.repository(llm.name, config_hash)),
    }


def deployment(llm: LLMDeployment, image: ServingImage, defaults: Defaults) -> dict[str, Any]:
    """The Deployment while it has no pods to replace."""
    given = llm.spec.rollout
    spec = {
        "replicas": llm.replicas,
        "minReadySeconds": MIN_READY_SECONDS,
        "progressDeadlineSeconds": progress_deadline_seconds(llm),
        "revisionHistoryLimit": given.revision_history_limit,
        "strategy": resting(given.strategy, given.max_unavailable).strategy(),
        "selector": {"matchLabels": names.selector(llm.name)},
        "template": pod_template(llm, image, defaults),
    }
    return child(llm, kinds.DEPLOYMENT, llm.name, **_chosen(llm)) | {"spec": spec}


def _chosen(llm: LLMDeployment) -> dict[str, Any]:
    """The annotation with the automatic configuration. The pod template does not have it, so it restarts no pod."""
    if llm.chosen is None:
        return {}
    return {"annotations": {names.CHOSEN_ANNOTATION: json.dumps(llm.chosen.to_json(), sort_keys=True)}}
