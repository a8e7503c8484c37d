"""Reconcile step: the spec and its image are valid, or the reconcile ends with the reason."""

from __future__ import annotations

from datetime import date

from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.conditions import Condition
from triton_vllm_operator.api.kinds import Object
from triton_vllm_operator.catalog import advisories
from triton_vllm_operator.controller.cluster import ClusterView
from triton_vllm_operator.plan.validation import ValidatedSpec
from triton_vllm_operator.plan.validation import validate as validate_spec


async def validate(
    cluster: ClusterView, obj: Object, serving_image: str | None, today: date
) -> tuple[ValidatedSpec, Condition]:
    """The validated spec, and the condition SecurityAdvisory of its image.

    Args:
        serving_image: of a spec that sets none; None for NVIDIA's newest release.

    Raises:
        Rejected: where the spec cannot run.
    """
    spec = validate_spec(obj, serving_image, today)
    opted_out = spec.needs_opt_out and await allows_vulnerable_images(cluster, spec.llm.namespace)
    spec.check(opted_out=opted_out)
    return spec, spec.advisory(opted_out=opted_out)


async def allows_vulnerable_images(cluster: ClusterView, namespace: str) -> bool:
    """Whether the namespace has the annotation that accepts a release with known vulnerabilities."""
    found = await cluster.client.find(kinds.NAMESPACE, None, namespace)
    annotations = (found or {}).get("metadata", {}).get("annotations", {})
    return bool(annotations.get(advisories.OPT_OUT_ANNOTATION) == "true")
