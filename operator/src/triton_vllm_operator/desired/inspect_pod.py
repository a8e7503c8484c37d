"""The inspection pod: reads config.json and safetensors headers, and reports the model's shape when it terminates.

It runs in the LLMDeployment's namespace with that namespace's token or claim, so the operator itself reads no Secret
and needs no access to the internet. It requests no GPU and reads no weights.

It reaches the hub as the serving pod does, and runs on nodes of the same kind. It does not take over what only matters
for GPUs or for many pods: the GPU product, the RuntimeClass (NVIDIA's runtime adds GPUs to a container that asks for
none), the scheduler (one that waits for groups of pods or counts GPUs may never place it), the PriorityClass (it must
not evict others), topology spread, and affinity to other pods. It has the annotations of the serving pods, except those
about the server's container, as they may inject a token or a proxy; of their labels only those of injectors: Services
of the user may select by others, and a queue would admit it as if it were a server.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from contract.paths import MODEL_DIR
from triton_vllm_operator.api import kinds, names, quantity
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.desired.hub_access import HubAccess, hub_access
from triton_vllm_operator.desired.inputs import Defaults
from triton_vllm_operator.desired.objects import child, restricted_container, restricted_pod
from triton_vllm_operator.desired.pod import image_pull_secrets, pod_metadata, tolerations

_INJECTED = re.compile(r"(^|\.)(istio\.io|linkerd\.io|kuma\.io|workload\.identity)/")
_DEADLINE_SECONDS = 300  # for a pod that never starts its container; the program itself ends much earlier


def inspect_pod(
    llm: LLMDeployment,
    image: str,
    pull_policy: str,
    defaults: Defaults,
    bound_claims: frozenset[str] = frozenset(),
    architecture: str = "",
) -> dict[str, Any]:
    """The inspection pod, without the number of its attempt.

    Args:
        image: the operator's own image.
        pull_policy: of that image; "" for Kubernetes' default.
        bound_claims: as in `hub_access`.
        architecture: of the operator's own node, as in the label kubernetes.io/arch; "" where it is not known.
    """
    spec = _pod_spec(llm, image, pull_policy, defaults, hub_access(llm, defaults, bound_claims), architecture)
    injection = _injection(llm)
    read = [spec, injection] if any(injection.values()) else spec
    content = hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()[:8]
    labels = injection["labels"] | names.inspection_labels(llm.name, content)
    annotations = {"annotations": injection["annotations"]} if injection["annotations"] else {}
    head = child(llm, kinds.POD, f"{llm.name}-inspect-{content}", labels=labels, **annotations)
    return head | {"spec": spec}


def _injection(llm: LLMDeployment) -> dict[str, dict[str, str]]:
    """Labels and annotations by which admission webhooks add a token, a proxy or an identity to the serving pods."""
    metadata = pod_metadata(llm)
    return {
        "labels": {key: value for key, value in metadata["labels"].items() if _INJECTED.search(key)},
        "annotations": {
            k: v for k, v in metadata["annotations"].items() if not k.endswith(f"/{names.SERVER_CONTAINER}")
        },
    }


def _pod_spec(
    llm: LLMDeployment, image: str, pull_policy: str, defaults: Defaults, access: HubAccess, architecture: str
) -> dict[str, Any]:
    found = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": _DEADLINE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": restricted_pod(fixed_user=defaults.fixed_user),
        "containers": [_container(llm, image, pull_policy, access)],
        "volumes": _volumes(llm) + access.volumes,
        "nodeSelector": llm.spec.scheduling.node_selector,
        "affinity": _node_affinity(llm, architecture),
        # It also runs in clusters where all nodes have the taint of GPU nodes.
        "tolerations": tolerations(llm),
        "imagePullSecrets": image_pull_secrets(llm, defaults),
        "serviceAccountName": llm.spec.pod_template.service_account_name,
    }
    return {key: value for key, value in found.items() if value not in (None, [], {})}


def _node_affinity(llm: LLMDeployment, architecture: str) -> dict[str, Any] | None:
    """Which nodes the serving pods require; preferences may be about GPUs.

    Where they require none, it runs on nodes of the operator's architecture: the image may have no other.
    """
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    affinity = ((llm.spec.scheduling.affinity or {}).get("nodeAffinity") or {}).get(required)
    if not affinity and architecture and not llm.spec.scheduling.node_selector:
        same = {"key": "kubernetes.io/arch", "operator": "In", "values": [architecture]}
        affinity = {"nodeSelectorTerms": [{"matchExpressions": [same]}]}
    return {"nodeAffinity": {required: affinity}} if affinity else None


def _container(llm: LLMDeployment, image: str, pull_policy: str, access: HubAccess) -> dict[str, Any]:
    source = llm.spec.model.source
    return {
        "name": names.INSPECTION_CONTAINER,
        "image": image,
        **({"imagePullPolicy": pull_policy} if pull_policy else {}),
        "command": ["python3", "-m", "triton_vllm_operator.inspect"],
        "args": source.inspection_arguments(MODEL_DIR),
        "env": access.env,
        **({"envFrom": access.env_from} if access.env_from else {}),
        "resources": _resources(llm),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *source.inspection_mounts(MODEL_DIR), *access.mounts],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": restricted_container(),
    }


def _resources(llm: LLMDeployment) -> dict[str, Any]:
    """A limit for each resource that has one in the serving pod: the quota of the namespace may require it.

    It is not above that one, which the namespace accepts, and the request is the same: a LimitRange may limit the
    ratio.
    """
    given = llm.spec.resources
    exact = {}
    if given.cpu_limit is not None:
        exact["cpu"] = _smaller(given.cpu_limit, "500m")
    if given.ephemeral_storage is not None:
        exact["ephemeral-storage"] = _smaller(given.ephemeral_storage, "256Mi")
    return {"requests": {"cpu": "50m", "memory": "128Mi"} | exact, "limits": {"memory": "512Mi"} | exact}


def _smaller(*quantities: str | int) -> str:
    return str(min(quantities, key=quantity.parse))


def _volumes(llm: LLMDeployment) -> list[dict[str, Any]]:
    return [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}, *llm.spec.model.source.volumes()]
