"""Warns about a Service that clients outside of the cluster reach without a key."""

from collections.abc import Iterator

from contract import ports
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.catalog.violations import Violation
from triton_vllm_operator.desired.pod import KEY_VARIABLE


def check(spec: LLMDeploymentSpec, *, own_image: bool) -> list[Violation]:
    """Return a warning where a port for requests is open to other networks and no key is required.

    Args:
        own_image: whether the serving image is the operator's own, which serves the port with a key.
    """
    service = spec.service
    if service.type == "ClusterIP" or _is_limited(spec):
        return []
    opened = list(_without_key(spec))
    if not opened:
        return []
    numbers = _listed([f"{number} ({name})" for name, number in opened])
    what = f"A Service of type {service.type} lets clients outside of the cluster use port {numbers} without a key."
    steps = [*_key_steps(spec), *(f"spec.service.ports.{name}: false" for name, _ in opened if name != "openai")]
    options = [f"set {_listed(steps)}"] if own_image else []
    if service.type == "LoadBalancer":
        options.append("set spec.service.loadBalancerSourceRanges to the networks of the clients")
    else:
        options.append("set spec.service.type: ClusterIP and let a gateway that checks its clients reach it")
    advice = ", or ".join(options)
    message = f"{what} {advice[0].upper()}{advice[1:]}."
    return [Violation("spec.service.type", Reason.EXPOSED_WITHOUT_KEY, message, rejects=False)]


def _is_limited(spec: LLMDeploymentSpec) -> bool:
    """Whether the load balancer accepts some networks only. A range that is not valid accepts no client."""
    ranges = spec.service.load_balancer_source_ranges
    return bool(ranges) and not any(one.strip().endswith("/0") for one in ranges)


def _without_key(spec: LLMDeploymentSpec) -> Iterator[tuple[str, int]]:
    """Yield name and number of the published ports for requests that require no key."""
    published = spec.service.ports
    if published.http:
        yield "http", ports.HTTP
    if published.grpc:
        yield "grpc", ports.GRPC
    if spec.server.open_ai.enabled and not _has_key(spec):
        yield "openai", ports.HEALTH


def _has_key(spec: LLMDeploymentSpec) -> bool:
    """Whether a key is set, or may be: the keys of `envFrom` are not known here."""
    template = spec.pod_template
    named = any(entry.get("name") == KEY_VARIABLE for entry in template.env)
    return spec.server.open_ai.api_key_secret_ref is not None or named or bool(template.env_from)


def _key_steps(spec: LLMDeploymentSpec) -> Iterator[str]:
    """Yield what gives the OpenAI port a key: the other ports can only be closed while it is open."""
    if not spec.server.open_ai.enabled:
        yield "spec.server.openAI.enabled: true"
    if not _has_key(spec):
        yield "spec.server.openAI.apiKeySecretRef"


def _listed(words: list[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
