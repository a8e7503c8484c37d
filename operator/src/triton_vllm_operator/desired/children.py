"""All children of an LLMDeployment, in the order in which they are applied."""

import hashlib
import json
from typing import Any

from triton_vllm_operator.api import names
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.desired.deployment import deployment
from triton_vllm_operator.desired.disruption_budget import disruption_budget
from triton_vllm_operator.desired.inputs import Defaults, ServingImage
from triton_vllm_operator.desired.repository import config_map
from triton_vllm_operator.desired.services import headless_service, service


def children(llm: LLMDeployment, image: ServingImage, defaults: Defaults) -> list[dict[str, Any]]:
    """Complete child objects; what pods mount comes before the pods. Each carries a hash of itself, which tells
    whether the last applied object was the same one."""
    found = [config_map(llm), service(llm), headless_service(llm)]
    if llm.spec.service.disruption_budget.enabled:
        found.append(disruption_budget(llm))
    found.append(deployment(llm, image, defaults))
    return [_with_hash(obj) for obj in found]


def _with_hash(obj: dict[str, Any]) -> dict[str, Any]:
    digest = hashlib.sha256(json.dumps(obj, sort_keys=True).encode()).hexdigest()[:16]
    annotations = {**obj["metadata"].get("annotations", {}), names.APPLIED_HASH_ANNOTATION: digest}
    return obj | {"metadata": obj["metadata"] | {"annotations": annotations}}
