"""The Service for clients, and the headless Service with the address of each pod."""

from typing import Any

from contract import ports as pod_ports
from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.api.status import EndpointsStatus
from triton_vllm_operator.desired.objects import child


def service(llm: LLMDeployment) -> dict[str, Any]:
    """The Service for clients."""
    given = llm.spec.service
    annotations = {"annotations": given.annotations} if given.annotations else {}
    balanced = given.type == "LoadBalancer"
    protocols = given.app_protocol if given.app_protocol is not None else not balanced
    spec = {
        "type": given.type,
        "selector": names.selector(llm.name),
        "ports": _ports(llm, http=given.ports.http, protocols=protocols),
        **({"loadBalancerClass": given.load_balancer_class} if given.load_balancer_class else {}),
        **(
            {"loadBalancerSourceRanges": given.load_balancer_source_ranges} if given.load_balancer_source_ranges else {}
        ),
    }
    return child(llm, kinds.SERVICE, llm.name, **annotations) | {"spec": spec}


def headless_service(llm: LLMDeployment) -> dict[str, Any]:
    """The headless Service: one address per ready pod, for clients that balance requests themselves."""
    spec = {"type": "ClusterIP", "clusterIP": "None", "selector": names.selector(llm.name), "ports": _ports(llm)}
    return child(llm, kinds.SERVICE, names.headless(llm.name)) | {"spec": spec}


def endpoints(llm: LLMDeployment) -> EndpointsStatus:
    """Return `status.endpoints`: addresses inside the cluster."""
    host, ports = f"{llm.name}.{llm.namespace}.svc", llm.spec.service.ports
    return EndpointsStatus(
        http=f"http://{host}:{pod_ports.HTTP}" if ports.http else None,
        grpc=f"{host}:{pod_ports.GRPC}" if ports.grpc else None,
        metrics=f"http://{host}:{pod_ports.METRICS}/metrics" if ports.metrics else None,
        open_ai=f"http://{host}:{pod_ports.HEALTH}/v1" if llm.spec.server.open_ai.enabled else None,
    )


def _ports(llm: LLMDeployment, *, http: bool = True, protocols: bool = True) -> list[dict[str, Any]]:
    published = llm.spec.service.ports
    # (name, number, name in the pod, whether it is published)
    ports = [
        ("http", pod_ports.HTTP, "http", http),
        ("grpc", pod_ports.GRPC, "grpc", published.grpc),
        ("metrics", pod_ports.METRICS, "metrics", published.metrics),
        ("openai", pod_ports.HEALTH, "health", llm.spec.server.open_ai.enabled),
    ]
    return [
        {"name": name, "port": port, "targetPort": target, "protocol": "TCP", **(_protocol(name) if protocols else {})}
        for name, port, target, on in ports
        if on
    ]


def _protocol(name: str) -> dict[str, str]:
    return {"appProtocol": "kubernetes.io/h2c"} if name == "grpc" else {"appProtocol": "http"}
