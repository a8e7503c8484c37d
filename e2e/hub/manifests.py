"""The hub's objects: a pod of the serving image that makes tiny models and serves them; and a filled claim."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

NAMESPACE = "hub"
PORT = 8080
ENDPOINT = f"http://hub.{NAMESPACE}.svc:{PORT}"
TOKEN = "let-me-in"
_HERE = Path(__file__).parent
_TINY = _HERE.parent.parent / "images" / "triton-vllm" / "testing" / "tiny.py"

RESTRICTED_POD: dict[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "runAsGroup": 1000,
    "fsGroup": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}
RESTRICTED_CONTAINER: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def namespace(name: str) -> dict[str, Any]:
    """A namespace that enforces the restricted Pod Security Standard."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "kubernetes.io/metadata.name": name}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def scripts(in_namespace: str) -> dict[str, Any]:
    """The ConfigMap with the programs."""
    files = {"server.py": (_HERE / "server.py").read_text(), "tiny.py": _TINY.read_text()}
    meta = {"name": "scripts", "namespace": in_namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": files}


def script_pod(image: str, command: list[str], **container: Any) -> dict[str, Any]:
    """A restricted pod spec of the serving image that runs `command` beside the scripts."""
    mounts = [
        {"name": "scripts", "mountPath": "/scripts", "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},
        *container.pop("volumeMounts", []),
    ]
    volumes = [
        {"name": "scripts", "configMap": {"name": "scripts"}},
        {"name": "tmp", "emptyDir": {}},
        *container.pop("volumes", []),
    ]
    env = [{"name": "HOME", "value": "/tmp"}, {"name": "TOKENIZERS_PARALLELISM", "value": "false"}]
    return {
        "securityContext": RESTRICTED_POD,
        "automountServiceAccountToken": False,
        "containers": [
            {
                "name": "main",
                "image": image,
                "command": command,
                "env": [*env, *container.pop("env", [])],
                "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}},
                "securityContext": RESTRICTED_CONTAINER,
                "volumeMounts": mounts,
                **container,
            }
        ],
        "volumes": volumes,
    }


def hub(image: str) -> list[dict[str, Any]]:
    """Everything that the hub needs."""
    labels = {"app": "hub"}
    programs = scripts(NAMESPACE)
    digest = hashlib.sha256(repr(programs).encode()).hexdigest()[:12]  # new programs need a new pod
    pod = script_pod(
        image,
        ["python3", "/scripts/server.py", "/tmp/models", str(PORT)],
        env=[{"name": "HUB_TOKEN", "value": TOKEN}],
        ports=[{"containerPort": PORT, "name": "http"}],
        readinessProbe={"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
    )
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "hub", "namespace": NAMESPACE},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "annotations": {"scripts": digest}}, "spec": pod},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "hub", "namespace": NAMESPACE},
        "spec": {"selector": labels, "ports": [{"name": "http", "port": PORT, "targetPort": "http"}]},
    }
    return [namespace(NAMESPACE), programs, deployment, service]


def filled_claim(in_namespace: str, name: str, image: str) -> list[dict[str, Any]]:
    """A claim and a Job that puts a tiny model into it, below `llama/7b`."""
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": in_namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}},
    }
    pod = script_pod(
        image,
        ["python3", "/scripts/tiny.py", "/claim/llama/7b"],
        volumeMounts=[{"name": "claim", "mountPath": "/claim"}],
        volumes=[{"name": "claim", "persistentVolumeClaim": {"claimName": name}}],
    )
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"fill-{name}", "namespace": in_namespace},
        "spec": {"backoffLimit": 2, "template": {"spec": {**pod, "restartPolicy": "Never"}}},
    }
    return [scripts(in_namespace), claim, job]
