"""What the Deployment that exists was made with, and whether its configuration may still be replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triton_vllm_operator.api import names
from triton_vllm_operator.api.autoconfig import AutoConfig
from triton_vllm_operator.api.conditions import find_in
from triton_vllm_operator.api.kinds import is_owned
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.desired import repository
from triton_vllm_operator.desired.pod import CONTAINER
from triton_vllm_operator.observed import pods
from triton_vllm_operator.plan.autoconfig import empty_autoconfig, recorded

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Running:
    """An LLMDeployment's own Deployment, if there is one, and its pods."""

    deployment: Object | None = None
    pods: Sequence[Object] = ()

    @classmethod
    def of(cls, llm: LLMDeployment, deployment: Object | None, pods: Sequence[Object]) -> Running:
        """Without the Deployment where it has another owner."""
        return cls(deployment if deployment is not None and is_owned(deployment, llm.uid) else None, pods)

    @property
    def config_hash(self) -> str | None:
        """Hash of the configuration in the Deployment's pod template."""
        template = (self.deployment or {}).get("spec", {}).get("template", {}).get("metadata", {})
        found: str | None = template.get("annotations", {}).get(names.CONFIG_HASH_ANNOTATION)
        return found


def autoconfig_in_use(llm: LLMDeployment, running: Running, status: Mapping[str, Any]) -> AutoConfig | None:
    """The automatic configuration of the Deployment, else of the status; None where it has to be computed.

    A Deployment without the record was made by an operator that configured nothing.
    """
    if running.deployment is None:
        return recorded(llm, status.get("chosen"))
    record = running.deployment["metadata"].get("annotations", {}).get(names.CHOSEN_ANNOTATION)
    if record is not None:
        return recorded(llm, record)
    empty = empty_autoconfig(llm)
    return empty if is_deployed(llm.with_chosen(empty), running) else None


def is_deployed(llm: LLMDeployment, running: Running) -> bool:
    """Whether the Deployment has this configuration already, so that a verdict comes too late to hold its pods back."""
    return running.config_hash == repository.content_hash(llm)


def is_provisional(llm: LLMDeployment, config: AutoConfig | None, running: Running) -> bool:
    """Whether the Deployment was made with nothing configured, and no pod of it has served yet.

    `NewReplicaSetAvailable` stays set after pods fail, so it survives operator restarts.
    """
    if running.deployment is None or config is None or config.values:
        return False
    progressing = find_in(running.deployment, "Progressing") or {}
    if progressing.get("reason") == "NewReplicaSetAvailable":
        return False
    config_hash = repository.content_hash(llm.with_chosen(config))
    states = pods.read_all(running.pods, CONTAINER)
    return not any(one.config_hash == config_hash and (one.server.started or one.ready) for one in states)
