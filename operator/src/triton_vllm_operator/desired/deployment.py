"""The Deployment: one engine a pod."""

import json
from typing import Any

from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.desired import repository
from triton_vllm_operator.desired.inputs import Defaults, ServingImage
from triton_vllm_operator.desired.objects import child
from triton_vllm_operator.desired.pod import pod_spec

# A Service's address reaches a pod a moment after it is ready: the controller of EndpointSlices and kube-proxy on every
# node act at most once a second each. Only then does an old pod go, and is the deployment called Ready.
MIN_READY_SECONDS = 3


def deployment(llm: LLMDeployment, image: ServingImage, defaults: Defaults) -> dict[str, Any]:
    """The Deployment. A changed model repository has a new name, which changes the template and so rolls the pods."""
    config_hash = repository.content_hash(llm)
    template = {
        "metadata": {
            "labels": {**llm.spec.pod_template.labels, **names.labels(llm.name)},
            "annotations": {**llm.spec.pod_template.annotations, names.CONFIG_HASH_ANNOTATION: config_hash},
        },
        "spec": pod_spec(llm, image, defaults, names.repository(llm.name, config_hash)),
    }
    spec = {
        **({"replicas": llm.spec.replicas} if llm.owns_replicas else {}),
        "minReadySeconds": MIN_READY_SECONDS,
        "revisionHistoryLimit": 3,
        # A ready pod goes only when its successor is ready: an update never takes away what serves.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "selector": {"matchLabels": names.selector(llm.name)},
        "template": template,
    }
    return child(llm, kinds.DEPLOYMENT, llm.name, **_chosen(llm)) | {"spec": spec}


def _chosen(llm: LLMDeployment) -> dict[str, Any]:
    """The record of what was chosen. Not on the pods: it restarts none."""
    if llm.chosen is None:
        return {}
    return {"annotations": {names.CHOSEN_ANNOTATION: json.dumps(llm.chosen.to_json(), sort_keys=True)}}
