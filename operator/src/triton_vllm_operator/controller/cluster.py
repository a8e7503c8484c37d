"""The cluster as a reconcile sees it: the client, what the watches have seen, and the events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.kinds import Key, Kind, Object
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.controller.probe_pool import ProbePool
from triton_vllm_operator.kube.client import Client
from triton_vllm_operator.kube.errors import Conflict, KubeError, NotFound
from triton_vllm_operator.kube.events import EventRecorder
from triton_vllm_operator.kube.store import Store, owner_of
from triton_vllm_operator.plan.provisional import Running


@dataclass
class ClusterView:
    """What a reconcile may use.

    Attributes:
        stores: children by kind, as the watches have seen them.
        inspections: the inspection pods.
        scopes: namespaces that the operator serves; None is all.
        probes: requests to pods.
        operator: name of this operator, by which it claims LLMDeployments.
        contested: LLMDeployments that another operator reconciles or would, with its name.
        scaling: LLMDeployments with spec.autoscaling: the number of pods that should run, and the reason.
        wake: reconcile an LLMDeployment, of which something is known that no watch reports.
        blocking_error: why the children in a namespace have never been listed; None where nothing blocks them.
    """

    client: Client
    events: EventRecorder
    stores: dict[Kind, Store]
    inspections: Store = field(default_factory=lambda: Store(kinds.POD, label=names.INSPECTS_LABEL))
    scopes: tuple[str | None, ...] = (None,)
    probes: ProbePool = field(default_factory=ProbePool)
    operator: str = ""
    contested: dict[Key, str] = field(default_factory=dict)
    scaling: dict[Key, tuple[int, str]] = field(default_factory=dict)
    wake: Callable[[Key], None] = field(default=lambda _: None)
    blocking_error: Callable[[str], KubeError | None] = field(default=lambda _: None)

    def check_listed(self, namespace: str) -> None:
        """Check that the children in a namespace are known.

        Raises:
            KubeError: of the list of them.
        """
        error = self.blocking_error(namespace)
        if error is not None:
            raise type(error)(f"The children in namespace {namespace} cannot be listed: {error}")

    def children(self, kind: Kind, owner: Key) -> list[Object]:
        """The owner's children of one kind, by name, as the watch or the answer to our own last write has them."""
        return self.stores[kind].owned_by(owner)

    def running(self, llm: LLMDeployment) -> Running:
        """The LLMDeployment's own Deployment and its pods."""
        deployment = self.stores[kinds.DEPLOYMENT].get(llm.namespace, llm.name)
        return Running.of(llm, deployment, self.children(kinds.POD, Key(llm.namespace, llm.name)))

    async def apply(self, obj: Object, *, uid: str | None) -> Object:
        """Apply a child and note the result at once: the next reconcile must not read its state before this write.

        Args:
            uid: of the object as known: a namesake that others created meanwhile gives `Conflict`. None: it is new,
                and an existing object of its name gives `Conflict`; the caller then reads that.
        """
        try:
            applied = await self.client.apply(obj, uid=uid)
        except Conflict:
            if uid is not None:
                await self.refresh(kinds.ref_of(obj))
            raise
        self.note(applied)
        return applied

    async def merge(self, obj: Object, patch: Object) -> None:
        """Patch that very child, with preconditions in the patch, and note the result at once."""
        ref = kinds.ref_of(obj)
        try:
            patched = await self.client.merge(ref, patch)
        except (Conflict, NotFound):
            await self.refresh(ref)
            raise
        self.note(patched)

    async def delete(self, obj: Mapping[str, Any]) -> None:
        """Delete that very child. What the API server does not have any more is forgotten at once."""
        ref = kinds.ref_of(obj)
        try:
            await self.client.delete(ref)
        except Conflict:
            await self.refresh(ref)
            raise
        await self.refresh(ref)

    async def refresh(self, ref: kinds.Ref) -> Object | None:
        """Read a child from the API server, whose answer contradicted the store. Returns the object of that name."""
        store, namespace = self.stores[ref.kind], ref.namespace or ""
        version = store.version_of(namespace, ref.name)
        found = await self.client.find(ref.kind, ref.namespace, ref.name)
        if found is None or owner_of(found) is None:
            store.forget(namespace, ref.name, version)
        else:
            self.note(found)
        return found

    def note(self, obj: Object) -> None:
        """Keep an object as the API server returned it."""
        store = self.stores.get(kinds.kind_of(obj))
        if store is not None and owner_of(obj) is not None:
            store.put(obj)
