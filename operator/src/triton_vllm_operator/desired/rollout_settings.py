"""How the Deployment may replace its pods, and which revision it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from triton_vllm_operator.api import kinds, names

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """How the Deployment may replace its pods; by default it deletes a ready pod only when its successor is ready.

    Attributes:
        paused_because: the step for which it replaces none; "" where it does.
        size: number of pods that it has; None for those of the spec.
    """

    max_surge: int = 1
    max_unavailable: int = 0
    paused_because: str = ""
    size: int | None = None

    def strategy(self) -> Object:
        """The Deployment's `spec.strategy`."""
        limits = {"maxSurge": self.max_surge, "maxUnavailable": self.max_unavailable}
        return {"type": "RollingUpdate", "rollingUpdate": limits}


def resting(strategy: str, max_unavailable: int | None) -> RolloutSettings:
    """The settings of a Deployment that has no pods to replace; `strategy`: that of the spec."""
    return RolloutSettings(0, max_unavailable or 1) if strategy == "Replace" else RolloutSettings()


@dataclass(frozen=True, slots=True)
class DeployedRevision:
    """What a rollout sets in the children.

    Attributes:
        settings: of the Deployment; None where it has no pods to replace.
        mark: value of the Deployment's annotation with its revision; "" for the first one, so that recording it writes
            no Deployment.
        template: pod template of a former revision that is restored; None for that of the spec.
        repository: name and data of the ConfigMap that this template mounts.
    """

    settings: RolloutSettings | None = None
    mark: str = ""
    template: Object | None = None
    repository: Object | None = None

    def set_in(self, obj: Object) -> Object:
        """Return a child with what the rollout sets in it."""
        if obj["kind"] == kinds.CONFIG_MAP.kind and self.repository is not None:
            meta = {**obj["metadata"], "name": self.repository["name"]}
            return {**obj, "metadata": meta, "data": self.repository["data"]}
        return self._set_in_deployment(obj) if obj["kind"] == kinds.DEPLOYMENT.kind else obj

    def _set_in_deployment(self, obj: Object) -> Object:
        annotations, spec = dict(obj["metadata"].get("annotations", {})), dict(obj["spec"])
        if self.mark:
            annotations[names.REVISION_ANNOTATION] = self.mark
        if self.template is not None:
            spec["template"] = self.template
        if self.settings is not None:
            spec["strategy"] = self.settings.strategy()
            if self.settings.size is not None:
                spec["replicas"] = self.settings.size
            if self.settings.paused_because:
                spec["paused"] = True
                annotations[names.PAUSED_BECAUSE_ANNOTATION] = self.settings.paused_because
        more = {"annotations": annotations} if annotations else {}
        return {**obj, "metadata": {**obj["metadata"], **more}, "spec": spec}
