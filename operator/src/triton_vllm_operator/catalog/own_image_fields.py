"""Finds fields of the spec that only the operator's own serving image reads."""

from collections.abc import Iterator

from contract.media import DOMAINS_FIELD
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LimitsSpec, LLMDeploymentSpec
from triton_vllm_operator.catalog import releases
from triton_vllm_operator.catalog.violations import Violation, violation

_GAUGES = ("inFlightPerReplica", "waitingPerReplica", "kvCacheUsage")
"""Targets for which NVIDIA's image has no metric: of vLLM's it has eight, none of which is a gauge."""


def check(spec: LLMDeploymentSpec, row: releases.Release) -> list[Violation]:
    """A violation for each such field that is set for NVIDIA's image."""
    if row.line == "own":
        return []
    newest = next(one.release for one in releases.load().releases if one.line == "own")
    values = {"release": row.release, "newest": newest}
    return [violation(field, Reason.FIELD_OF_OWN_IMAGE, **values) for field in _used(spec)]


def _used(spec: LLMDeploymentSpec) -> Iterator[str]:
    server = spec.server
    if spec.sampling.is_set:
        yield "spec.sampling"
    if server.request_timeout_seconds is not None:
        yield "spec.server.requestTimeoutSeconds"
    if server.limits != LimitsSpec():
        yield "spec.server.limits"
    if server.startup_checks:
        yield "spec.server.startupChecks"
    if spec.autoscaling is not None:
        yield from (f"spec.autoscaling.target.{name}" for name in spec.autoscaling.target.values if name in _GAUGES)
    if server.open_ai.enabled:
        yield "spec.server.openAI"
        return
    if server.open_ai.media_domains:
        yield DOMAINS_FIELD
    if server.open_ai.model_aliases:
        yield "spec.server.openAI.modelAliases"
