"""The Deployment: one engine per pod."""

import json
from typing import Any

from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.desired import repository
from triton_vllm_operator.desired.inputs import Defaults, ServingImage
from triton_vllm_operator.desired.objects import child
from triton_vllm_operator.desired.pod import STARTUP_BUDGET_SECONDS, pod_metadata, pod_spec

MIN_READY_SECONDS = 3
"""Seconds from a pod's readiness until it counts as available. A Service reaches a new pod with a delay: the
EndpointSlice controller and kube-proxy each act at most once per second. Until then no old pod is deleted."""
PROGRESS_DEADLINE_SECONDS = STARTUP_BUDGET_SECONDS + 15 * 60
"""Seconds without a new available pod until Kubernetes reports that a rollout does not progress: the whole time that
the startup probe allows, and 15 minutes for a new node and the image's pull. Kubernetes' default of 10 minutes would
report a failure beside a model that still loads."""


def deployment(llm: LLMDeployment, image: ServingImage, defaults: Defaults) -> dict[str, Any]:
    """The Deployment. A changed model repository has a new name, which changes the pod template: a rolling update."""
    config_hash = repository.content_hash(llm)
    metadata = pod_metadata(llm)
    template = {
        "metadata": {
            "labels": {**metadata["labels"], **names.labels(llm.name)},
            "annotations": {**metadata["annotations"], names.CONFIG_HASH_ANNOTATION: config_hash},
        },
        "spec": pod_spec(llm, image, defaults, names.repository(llm.name, config_hash)),
    }
    spec = {
        **({"replicas": llm.spec.replicas} if llm.owns_replicas else {}),
        "minReadySeconds": MIN_READY_SECONDS,
        "progressDeadlineSeconds": PROGRESS_DEADLINE_SECONDS,
        "revisionHistoryLimit": 3,
        # An update deletes a ready pod only when its replacement is ready.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "selector": {"matchLabels": names.selector(llm.name)},
        "template": template,
    }
    return child(llm, kinds.DEPLOYMENT, llm.name, **_chosen(llm)) | {"spec": spec}


def _chosen(llm: LLMDeployment) -> dict[str, Any]:
    """The annotation with the automatic configuration. The pod template does not have it, so it restarts no pod."""
    if llm.chosen is None:
        return {}
    return {"annotations": {names.CHOSEN_ANNOTATION: json.dumps(llm.chosen.to_json(), sort_keys=True)}}
