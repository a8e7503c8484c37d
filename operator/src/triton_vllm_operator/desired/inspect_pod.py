"""The inspection pod: reads config.json and safetensors headers, and reports the model's shape when it terminates.

It runs in the LLMDeployment's namespace with that namespace's token or claim, so the operator itself reads no Secret
and needs no access to the internet. It requests no GPU and reads no weights.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from contract.paths import MODEL_DIR
from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.desired.inputs import Defaults
from triton_vllm_operator.desired.objects import child, restricted_container, restricted_pod

Objects = list[dict[str, Any]]

_DEADLINE_SECONDS = 300  # for a pod that never starts its container; the program itself ends much earlier
# Variables with which the hub is reached. Others could change what Python runs, so they are not passed on.
_NETWORK_VARIABLE = re.compile(
    r"HF_(?!HOME$)\w+|(HTTPS?|NO|ALL)_PROXY|SSL_CERT_(FILE|DIR)|(REQUESTS|CURL)_CA_BUNDLE", re.IGNORECASE
)


def inspect_pod(llm: LLMDeployment, image: str, pull_policy: str, defaults: Defaults) -> dict[str, Any]:
    """The inspection pod, without the number of its attempt.

    Args:
        image: the operator's own image.
        pull_policy: of that image; "" for Kubernetes' default.
    """
    spec = _pod_spec(llm, image, pull_policy, defaults)
    content = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:8]
    head = child(llm, kinds.POD, f"{llm.name}-inspect-{content}", labels=names.inspection_labels(llm.name, content))
    return head | {"spec": spec}


def _pod_spec(llm: LLMDeployment, image: str, pull_policy: str, defaults: Defaults) -> dict[str, Any]:
    additions = llm.spec.pod_template
    env = _env(llm, defaults)
    mounts, volumes = _files_of(env, llm)
    secrets = [*additions.image_pull_secrets, *({"name": name} for name in defaults.image_pull_secrets)]
    found = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": _DEADLINE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": restricted_pod(),
        "containers": [_container(llm, image, pull_policy, env, mounts)],
        "volumes": _volumes(llm) + volumes,
        # It also runs in clusters where all nodes have the taint of GPU nodes.
        "tolerations": [
            {"key": llm.spec.resources.gpu.resource_name, "operator": "Exists"},
            *llm.spec.scheduling.tolerations,
        ],
        "imagePullSecrets": secrets,
        "serviceAccountName": additions.service_account_name,
    }
    return {key: value for key, value in found.items() if value not in (None, [])}


def _container(llm: LLMDeployment, image: str, pull_policy: str, env: Objects, mounts: Objects) -> dict[str, Any]:
    source = llm.spec.model.source
    return {
        "name": names.INSPECTION_CONTAINER,
        "image": image,
        **({"imagePullPolicy": pull_policy} if pull_policy else {}),
        "command": ["python3", "-m", "triton_vllm_operator.inspect"],
        "args": source.inspection_arguments(MODEL_DIR),
        "env": env,
        **({"envFrom": llm.spec.pod_template.env_from} if llm.spec.pod_template.env_from else {}),
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *source.inspection_mounts(MODEL_DIR), *mounts],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": restricted_container(),
    }


def _env(llm: LLMDeployment, defaults: Defaults) -> list[dict[str, Any]]:
    """The operator's variables by name, then the user's; of both, only those with which the hub is reached."""
    plain = {"HOME": "/tmp", "HF_HOME": "/tmp/huggingface", **_network(defaults.env)}
    found: dict[str, dict[str, Any]] = {name: {"name": name, "value": value} for name, value in plain.items()}
    found |= {entry["name"]: entry for entry in llm.spec.model.environment}
    theirs = [entry for entry in llm.spec.pod_template.env if _NETWORK_VARIABLE.fullmatch(entry["name"])]
    given = {entry["name"] for entry in theirs}
    return [found[name] for name in sorted(found) if name not in given] + theirs


def _network(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if _NETWORK_VARIABLE.fullmatch(name)}


def _files_of(env: Objects, llm: LLMDeployment) -> tuple[Objects, Objects]:
    """Mounts and volumes of the files that these variables name, such as the CA certificate of a mirror.

    Only from ConfigMaps and Secrets: a claim could bind the pod to a node without GPUs.
    """
    named = [PurePosixPath(str(entry.get("value", ""))) for entry in env]
    plain = {volume.name: volume for volume in llm.spec.pod_template.volumes if volume.config_map or volume.secret}
    mounts = [
        mount
        for mount in llm.spec.pod_template.volume_mounts
        if mount["name"] in plain and any(path.is_relative_to(mount["mountPath"]) for path in named)
    ]
    used = {mount["name"] for mount in mounts}
    return mounts, [v.model_dump(by_alias=True, exclude_none=True) for name, v in plain.items() if name in used]


def _volumes(llm: LLMDeployment) -> list[dict[str, Any]]:
    return [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}, *llm.spec.model.source.volumes()]
