"""Names: the API group, labels, annotations, and the names of an LLMDeployment's children."""

from collections.abc import Mapping
from typing import Final

GROUP: Final = "serving.triton-vllm.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "LLMDeployment"
PLURAL: Final = "llmdeployments"

FIELD_MANAGER: Final = "triton-vllm-operator"
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
INSTANCE_LABEL: Final = f"{GROUP}/llmdeployment"
CONFIG_HASH_ANNOTATION: Final = f"{GROUP}/config-hash"
# On inspection pods, which must not have INSTANCE_LABEL: Services select serving pods by it.
INSPECTS_LABEL: Final = f"{GROUP}/inspects"
INSPECTION_LABEL: Final = f"{GROUP}/inspection"
ATTEMPT_ANNOTATION: Final = f"{GROUP}/attempt"
SERVER_CONTAINER: Final = "server"
INSPECTION_CONTAINER: Final = "inspect"
# On the Deployment: the automatic configuration, written together with its effect.
CHOSEN_ANNOTATION: Final = f"{GROUP}/chosen"
APPLIED_HASH_ANNOTATION: Final = f"{GROUP}/applied-hash"

# On the Deployment: the revision of its pod template, unless that is the first one; and why the operator paused it.
REVISION_ANNOTATION: Final = f"{GROUP}/revision"
PAUSED_BECAUSE_ANNOTATION: Final = f"{GROUP}/paused-because"
# On ControllerRevisions: what changed, that all pods of it have served, and why it failed.
CHANGES_ANNOTATION: Final = f"{GROUP}/changes"
SERVED_ANNOTATION: Final = f"{GROUP}/served"
FAILED_ANNOTATION: Final = f"{GROUP}/failed"
# On the LLMDeployment, set by `kubectl llm rollout proceed`: a revision, and when it was set.
PROCEED_ANNOTATION: Final = f"{GROUP}/proceed"
# Set by Kubernetes on a ReplicaSet and its pods.
POD_TEMPLATE_HASH_LABEL: Final = "pod-template-hash"

# The longest child name is NAME-headless and a Service name has at most 63 characters.
HEADLESS_SUFFIX: Final = "-headless"
NAME_MAX_LENGTH: Final = 63 - len(HEADLESS_SUFFIX)
# A Service name starts with a letter (DNS-1035) and has no dots.
OBJECT_NAME_PATTERN: Final = "^[a-z]([-a-z0-9]*[a-z0-9])?$"


def labels(name: str) -> dict[str, str]:
    """Labels of every child of the LLMDeployment `name`."""
    return {
        "app.kubernetes.io/name": "triton-vllm",
        "app.kubernetes.io/instance": name,
        MANAGED_BY_LABEL: FIELD_MANAGER,
        INSTANCE_LABEL: name,
    }


_NOT_INHERITED: Final = (
    "app.kubernetes.io/",
    "kubernetes.io/",
    "k8s.io/",
    f"{GROUP}/",
    "helm.sh/",
    "argocd.argoproj.io/",
    "toolkit.fluxcd.io/",
    "fleet.cattle.io/",
)
"""Prefixes of labels by which tools find the objects that they have applied: on a child they would be wrong."""


def inherited(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels of an LLMDeployment for its children: all but those of Kubernetes, the operator and delivery tools."""
    return {key: value for key, value in labels.items() if not _is_of_a_tool(key)}


def _is_of_a_tool(key: str) -> bool:
    return any(key.startswith(prefix) or f".{prefix}" in key for prefix in _NOT_INHERITED)


def inspection_labels(name: str, content: str) -> dict[str, str]:
    """Labels of an inspection pod of the LLMDeployment `name`; `content` is a hash of what it reads, and how."""
    return {
        "app.kubernetes.io/name": "triton-vllm-inspection",
        MANAGED_BY_LABEL: FIELD_MANAGER,
        INSPECTS_LABEL: name,
        INSPECTION_LABEL: content,
    }


def selector(name: str) -> dict[str, str]:
    """Labels that select the serving pods of the LLMDeployment `name`. They never change: a Deployment's selector is
    immutable."""
    return {INSTANCE_LABEL: name}


def headless(name: str) -> str:
    """Name of the headless Service, which publishes the address of each pod."""
    return f"{name}{HEADLESS_SUFFIX}"


def repository(name: str, config_hash: str) -> str:
    """Name of the ConfigMap with the model repository: changed content makes a new ConfigMap."""
    return f"{name}-{config_hash}"


def revision(name: str, template_hash: str) -> str:
    """Name of the ControllerRevision with a pod template."""
    return f"{name}-{template_hash}"
