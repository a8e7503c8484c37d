"""The serving pod: one Triton server with one vLLM engine, within the restricted Pod Security Standard."""

from collections.abc import Iterable, Mapping
from typing import Any

from contract import paths, ports, timing
from triton_vllm_operator.api import names
from triton_vllm_operator.api.quantity import total_bytes
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.api.spec.pod_template import ContainerSpec
from triton_vllm_operator.desired import repository
from triton_vllm_operator.desired.inputs import Defaults, ServingImage
from triton_vllm_operator.desired.objects import restricted_container, restricted_pod

CONTAINER = names.SERVER_CONTAINER
KEY_VARIABLE = "VLLM_API_KEY"
"""Environment variable from which the server takes the key of its OpenAI port."""
_STARTUP_PERIOD_SECONDS = 2
STARTUP_BUDGET_SECONDS = 45 * 60
"""Seconds that a pod may take from its container's start until its model is loaded."""
_LOG_FLAGS = {
    "Error": ["--log-info=false", "--log-warning=false"],
    "Warning": ["--log-info=false"],
    "Info": [],
    "Verbose": ["--log-verbose=1"],
}


def pod_spec(llm: LLMDeployment, image: ServingImage, defaults: Defaults, config_map: str) -> dict[str, Any]:
    """The pod's `spec`. `config_map`: name of the ConfigMap with the model repository."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_period_seconds(llm),
        "securityContext": restricted_pod(fixed_user=defaults.fixed_user),
        **_init_containers(llm),
        "containers": [_server(llm, image, defaults)],
        "volumes": _volumes(llm, config_map),
        **_init_process(image),
        **_scheduling(llm),
        **_pod_additions(llm, defaults),
    }


def pod_metadata(llm: LLMDeployment) -> dict[str, dict[str, str]]:
    """Labels and annotations of the pods that the user has chosen: those of the spec, and those of the LLMDeployment
    that it names. Others would restart pods."""
    added = llm.spec.pod_template
    return {
        "labels": {**_named(added.inherit.labels, llm.labels), **added.labels},
        "annotations": {**_named(added.inherit.annotations, llm.annotations), **added.annotations},
    }


def _named(keys: Iterable[str], values: Mapping[str, str]) -> dict[str, str]:
    return {key: values[key] for key in keys if key in values}


def grace_period_seconds(llm: LLMDeployment) -> int:
    """Seconds from the pod's deletion to SIGKILL: endpoint removal, drain, and stop of the engine."""
    return timing.ENDPOINT_REMOVAL_SECONDS + llm.spec.server.drain_seconds + timing.STOP_MARGIN_SECONDS


def _server(llm: LLMDeployment, image: ServingImage, defaults: Defaults) -> dict[str, Any]:
    additions = llm.spec.pod_template
    return {
        "name": CONTAINER,
        "image": image.reference,
        **({"imagePullPolicy": defaults.image_pull_policy} if defaults.image_pull_policy else {}),
        **({"command": ["tritonserver"]} if image.stock else {}),
        "args": _flags(llm),
        "env": environment(llm, defaults),
        **({"envFrom": additions.env_from} if additions.env_from else {}),
        "ports": [
            {"name": "http", "containerPort": ports.HTTP, "protocol": "TCP"},
            {"name": "grpc", "containerPort": ports.GRPC, "protocol": "TCP"},
            {"name": "metrics", "containerPort": ports.METRICS, "protocol": "TCP"},
            *([] if image.stock else [{"name": "health", "containerPort": ports.HEALTH, "protocol": "TCP"}]),
        ],
        "resources": _resources(llm),
        "volumeMounts": _mounts(llm),
        **_probes(llm, image),
        "lifecycle": {"preStop": {"sleep": {"seconds": timing.ENDPOINT_REMOVAL_SECONDS}}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": restricted_container(),
    }


def _init_containers(llm: LLMDeployment) -> dict[str, Any]:
    """The sidecars, which are init containers that go on, and the init containers, which may use them."""
    added = llm.spec.pod_template
    found = [{**_added(one), "restartPolicy": "Always"} for one in added.sidecars]
    found += [_added(one) for one in added.init_containers]
    return {"initContainers": found} if found else {}


def _added(container: ContainerSpec) -> dict[str, Any]:
    given = {key: value for key, value in container.to_json().items() if value not in ([], {})}
    return {**given, "terminationMessagePolicy": "FallbackToLogsOnError", "securityContext": restricted_container()}


def _flags(llm: LLMDeployment) -> list[str]:
    """Arguments of tritonserver. Model control is disabled: clients can neither load nor change models."""
    return [
        f"--model-repository={paths.REPOSITORY_DIR}",
        "--model-control-mode=none",
        f"--http-port={ports.HTTP}",
        f"--grpc-port={ports.GRPC}",
        f"--metrics-port={ports.METRICS}",
        f"--exit-timeout-secs={llm.spec.server.drain_seconds}",
        *_LOG_FLAGS[llm.spec.server.log_level],
        *llm.spec.server.extra_args,
    ]


def environment(llm: LLMDeployment, defaults: Defaults) -> list[dict[str, Any]]:
    """The server's environment: the operator's variables by name, then the user's, which override them."""
    plain = {
        "HOME": "/tmp",
        **{name: f"{paths.CACHE_DIR}/{folder}" for name, folder in paths.CACHE_FOLDERS.items()},
        "XDG_CONFIG_HOME": f"{paths.CACHE_DIR}/config",
        "VLLM_NO_USAGE_STATS": "1",
        **defaults.env,
    }
    found: dict[str, dict[str, Any]] = {name: {"name": name, "value": value} for name, value in plain.items()}
    found |= {entry["name"]: entry for entry in llm.spec.model.environment}
    if llm.spec.server.open_ai.enabled and (key := llm.spec.server.open_ai.api_key_secret_ref):
        reference = {"secretKeyRef": {"name": key.name, "key": key.key}}
        found[KEY_VARIABLE] = {"name": KEY_VARIABLE, "valueFrom": reference}
    theirs = {entry["name"] for entry in llm.spec.pod_template.env}
    return [found[name] for name in sorted(found) if name not in theirs] + llm.spec.pod_template.env


def _resources(llm: LLMDeployment) -> dict[str, Any]:
    resources = llm.spec.resources
    exact = {
        # /dev/shm counts as memory of the container, so the limit must include it.
        "memory": total_bytes(resources.memory, resources.shared_memory),
        resources.gpu.resource_name: str(llm.gpus_per_pod),
    }
    if resources.ephemeral_storage is not None:
        exact["ephemeral-storage"] = str(resources.ephemeral_storage)
    limit = {"cpu": str(resources.cpu_limit)} if resources.cpu_limit is not None else {}
    return {"requests": {"cpu": str(resources.cpu), **exact}, "limits": {**limit, **exact}}


def _probes(llm: LLMDeployment, image: ServingImage) -> dict[str, Any]:
    """The probes. Triton opens its ports after the model is loaded, so only the startup probe runs before that.

    Triton reports a model as ready even if its engine is dead or stalled. The operator's image reports itself whether
    its engine generates tokens, in time for a stalled one to be unready within `timing.UNREADY_WITHIN_SECONDS`.
    """
    loaded = {"path": f"/v2/models/{llm.model_name}/ready", "port": "http"}
    ready = {
        "httpGet": {"path": paths.READY, "port": "health"},
        "periodSeconds": timing.READINESS_PERIOD_SECONDS,
        "timeoutSeconds": timing.READINESS_TIMEOUT_SECONDS,
    }
    if image.stock:
        ready = {"httpGet": loaded, "periodSeconds": 5, "timeoutSeconds": 4}
    live = {"path": "/v2/health/live", "port": "http"} if image.stock else {"path": paths.LIVE, "port": "health"}
    return {
        "startupProbe": {
            "httpGet": loaded,
            "periodSeconds": _STARTUP_PERIOD_SECONDS,
            "timeoutSeconds": 2,
            "failureThreshold": STARTUP_BUDGET_SECONDS // _STARTUP_PERIOD_SECONDS,
        },
        "readinessProbe": {**ready, "failureThreshold": timing.READINESS_FAILURES},
        "livenessProbe": {
            "httpGet": live,
            "periodSeconds": timing.LIVENESS_PERIOD_SECONDS,
            "timeoutSeconds": 5,
            "failureThreshold": timing.LIVENESS_FAILURES,
        },
    }


def _mounts(llm: LLMDeployment) -> list[dict[str, Any]]:
    # File by file: a mounted ConfigMap has `..data` beside its files, which Triton would try to load as a model.
    mounts: list[dict[str, Any]] = [
        {"name": "repository", "mountPath": f"{paths.REPOSITORY_DIR}/{path}", "subPath": key, "readOnly": True}
        for key, path in sorted(repository.paths(llm).items())
    ]
    mounts += [
        {"name": "cache", "mountPath": paths.CACHE_DIR},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "shm", "mountPath": "/dev/shm"},
    ]
    return mounts + llm.spec.model.source.server_mounts(paths.MODEL_DIR) + llm.spec.pod_template.volume_mounts


def _volumes(llm: LLMDeployment, config_map: str) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [
        {"name": "repository", "configMap": {"name": config_map}},
        {"name": "cache", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": str(llm.spec.resources.shared_memory)}},
    ]
    return volumes + llm.spec.model.source.volumes() + user_volumes(llm)


def user_volumes(llm: LLMDeployment) -> list[dict[str, Any]]:
    """The volumes of `spec.podTemplate`."""
    return [v.model_dump(by_alias=True, exclude_none=True) for v in llm.spec.pod_template.volumes]


def _init_process(image: ServingImage) -> dict[str, Any]:
    """An init process for NVIDIA's image: tritonserver as process 1 ignores SIGTERM while it loads a model.

    With a shared process namespace the pod's pause process is process 1. The operator's image has an init.
    """
    return {"shareProcessNamespace": True} if image.stock else {}


def _scheduling(llm: LLMDeployment) -> dict[str, Any]:
    scheduling = llm.spec.scheduling
    gpu = llm.spec.resources.gpu
    selector = dict(scheduling.node_selector) | ({"nvidia.com/gpu.product": gpu.product} if gpu.product else {})
    spread = [
        {"labelSelector": {"matchLabels": names.selector(llm.name)}, **constraint}
        for constraint in scheduling.topology_spread_constraints
    ]
    found: dict[str, Any] = {
        "nodeSelector": selector,
        "tolerations": tolerations(llm),
        "affinity": scheduling.affinity,
        "topologySpreadConstraints": spread,
        "priorityClassName": scheduling.priority_class_name,
        "runtimeClassName": scheduling.runtime_class_name,
        "schedulerName": scheduling.scheduler_name,
    }
    return {key: value for key, value in found.items() if value}


def tolerations(llm: LLMDeployment) -> list[dict[str, Any]]:
    """Taints of nodes that both the serving pod and the inspection pod tolerate."""
    return [{"key": llm.spec.resources.gpu.resource_name, "operator": "Exists"}, *llm.spec.scheduling.tolerations]


def image_pull_secrets(llm: LLMDeployment, defaults: Defaults) -> list[dict[str, Any]]:
    """Pull secrets of both the serving pod and the inspection pod: the user's, then the operator's."""
    return [*llm.spec.pod_template.image_pull_secrets, *({"name": name} for name in defaults.image_pull_secrets)]


def _pod_additions(llm: LLMDeployment, defaults: Defaults) -> dict[str, Any]:
    account = llm.spec.pod_template.service_account_name or ""
    found = {"imagePullSecrets": image_pull_secrets(llm, defaults), "serviceAccountName": account}
    # The API server copies the name into the deprecated field `serviceAccount`, and back if `serviceAccountName` is
    # removed. Only an empty name, which it does not store, removes both.
    return {**{key: value for key, value in found.items() if value}, "serviceAccount": account}
