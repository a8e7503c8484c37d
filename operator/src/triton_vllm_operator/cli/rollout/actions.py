"""What `rollout` reads and writes: the LLMDeployment and its ControllerRevisions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.conditions import ConditionType, find
from triton_vllm_operator.api.kinds import Object, Ref
from triton_vllm_operator.cli.common import cluster
from triton_vllm_operator.cli.common.deployments import validated
from triton_vllm_operator.cli.common.errors import InputError
from triton_vllm_operator.desired import revisions
from triton_vllm_operator.desired.revisions import Revision
from triton_vllm_operator.kube import login
from triton_vllm_operator.kube.client import Client
from triton_vllm_operator.plan.revisions import Proceed

_GOES_ON = ("Complete", "Surging", "Replacing", "Finishing", "Paused")
"""Steps of `status.rollout` that wait for no decision of the user about a gap or a failure."""


@dataclass(frozen=True, slots=True)
class Target:
    """The LLMDeployment that a command is about, and the kubeconfig to reach it."""

    name: str
    namespace: str | None
    kubeconfig: str | None
    context: str | None

    def run(self, action: Callable[[Client, Object], Awaitable[str]]) -> str:
        """Read the LLMDeployment, do something with it and return what to print.

        Raises:
            InputError: it was not found, or the cluster rejects the request.
        """

        async def connected(client: Client) -> str:
            namespace = self.namespace or login.namespace(self.kubeconfig, self.context)
            found = await client.find(kinds.LLM_DEPLOYMENT, namespace, self.name)
            if found is None:
                raise InputError(
                    f"LLMDeployment {self.name} not found in namespace {namespace}; kubectl get llm -A lists all"
                )
            return await action(client, found)

        return cluster.run(self.kubeconfig, self.context, connected)


async def status(_: Client, obj: Object) -> str:
    """The rollout of the newest revision, as the operator reports it."""
    state: Mapping[str, Any] = obj.get("status", {})
    rollout = state.get("rollout")
    if rollout is None:
        return "The operator has not reported a rollout yet; kubectl llm explain says why."
    lines = [f"revision {rollout['revision']}: {rollout['step']}"]
    if rollout["deployedRevision"] != rollout["revision"]:
        lines[0] += f"; revision {rollout['deployedRevision']} is deployed"
    lines += [f"  {label}: {rollout[key]}" for key, label in _LABELS.items() if key in rollout]
    if rollout["step"] == "Replacing" and "expectedGapSeconds" not in rollout:
        lines.append("  expected gap in seconds: not known, because no start has been measured yet")
    condition = find(state.get("conditions", []), ConditionType.UP_TO_DATE)
    if condition is not None:
        lines.append(f"{condition['reason']}: {condition['message']}")
    return "\n".join(lines)


_LABELS = {
    "changes": "changes",
    "reason": "why",
    "fromRevision": "from revision",
    "podsToReplace": "pods to replace",
    "updatedPods": "pods of the revision",
    "readyPods": "ready pods",
    "minReadyPods": "ready pods at least",
    "expectedGapSeconds": "expected gap in seconds",
    "gpuSeconds": "GPU-seconds",
    "deadline": "deadline",
}


async def history(client: Client, obj: Object) -> str:
    """The revisions with what changed, the newest last."""
    lines = ["REVISION  STATE    CHANGES"]
    for one in await _revisions(client, obj):
        state = "failed" if one.failure else "served" if one.served else "-"
        lines.append(f"{one.number:<8}  {state:<7}  {one.changes or '-'}")
        if one.failure:
            lines.append(f"{'':<19}{one.failure.why}")
    return "\n".join(lines)


def undo(to: int | None) -> Callable[[Client, Object], Awaitable[str]]:
    """Return the action that writes the spec of a revision back. `to`: its number; None for the one before."""

    async def action(client: Client, obj: Object) -> str:
        found = await _revisions(client, obj)
        revision = _selected(found, to)
        kept = {key: value for key, value in obj["spec"].items() if key in revisions.NOT_RECORDED}
        spec = {**revision.data["spec"], **kept}
        try:
            validated({**obj, "spec": spec}, obj["metadata"]["namespace"], None, datetime.now(UTC).date())
        except InputError as error:
            raise InputError(
                f"revision {revision.number} cannot be restored: {error} Set what the message names in the spec "
                f"yourself: kubectl edit llm/{obj['metadata']['name']}"
            ) from None
        # Removed fields have to be named: a merge patch leaves what it does not name.
        removed = {key: None for key in obj["spec"] if key not in spec}
        meta = {"resourceVersion": obj["metadata"]["resourceVersion"]}
        await client.merge(_ref(obj), {"metadata": meta, "spec": {**removed, **_replacing(obj["spec"], spec)}})
        return f"spec is that of revision {revision.number} again; replicas, autoscaling and rollout are as they were"

    return action


def _replacing(before: Any, after: Any) -> Any:
    """The merge patch that makes `after` of `before`."""
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        return after
    gone = {key: None for key in before if key not in after}
    return {**gone, **{key: _replacing(before.get(key), value) for key, value in after.items()}}


def paused(value: bool) -> Callable[[Client, Object], Awaitable[str]]:
    """Return the action that sets `spec.rollout.paused`."""

    async def action(client: Client, obj: Object) -> str:
        await client.merge(_ref(obj), {"spec": {"rollout": {"paused": value}}})
        return f"spec.rollout.paused is {str(value).lower()}"

    return action


async def proceed(client: Client, obj: Object) -> str:
    """Accept the gap of the newest revision; where it has failed, have it tried again."""
    found = await _revisions(client, obj)
    if not found:
        raise InputError("no revision is recorded yet; kubectl llm explain says why")
    step = ((obj.get("status") or {}).get("rollout") or {}).get("step", "")
    if step in _GOES_ON:
        what = f"revision {found[-1].number} does not wait: its step is {step}"
        raise InputError(f"{what}. proceed is for a revision that is held or has failed")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    value = str(Proceed(found[-1].name, found[-1].number, now))
    await client.merge(_ref(obj), {"metadata": {"annotations": {names.PROCEED_ANNOTATION: value}}})
    return f"revision {found[-1].number} goes on: a pod may be replaced while no other is ready"


async def _revisions(client: Client, obj: Object) -> list[Revision]:
    """The recorded revisions of an LLMDeployment, by number."""
    meta = obj["metadata"]
    selector = f"{names.INSTANCE_LABEL}={meta['name']}"
    listed = await client.list_all(kinds.REVISION, meta["namespace"], label_selector=selector)
    found = [revisions.read(one) for one in listed]
    return sorted((one for one in found if one is not None), key=lambda one: one.number)


def _selected(found: list[Revision], to: int | None) -> Revision:
    numbers = ", ".join(str(one.number) for one in found) or "none"
    if to is not None:
        one = next((one for one in found if one.number == to), None)
        if one is None:
            raise InputError(f"revision {to} not found; choose one of the revisions that exist: {numbers}")
        return one
    before = [one for one in found[:-1] if one.served]
    if not before:
        raise InputError(f"no revision before the newest one has served; name one with --to, of {numbers}")
    return before[-1]


def _ref(obj: Object) -> Ref:
    return Ref(kinds.LLM_DEPLOYMENT, obj["metadata"]["namespace"], obj["metadata"]["name"])
