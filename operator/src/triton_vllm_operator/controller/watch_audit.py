"""Finds changes of LLMDeployments that kopf's watch has missed, by listing them now and then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Key
from triton_vllm_operator.kube.client import Client
from triton_vllm_operator.kube.errors import KubeError

log = logging.getLogger(__name__)

GRACE_S = 10.0
"""How far kopf's watch may lag behind a list."""


class Watch(Protocol):
    """The watch that is checked."""

    heard: float | None

    def restart(self) -> None:
        """List everything again."""


@dataclass
class WatchAudit:
    """Compares what the watch has seen with a list.

    Attributes:
        add: gets the key of each LLMDeployment that is new or changed.
        missed: gets the number of changes that the watch has missed.
        listed: the namespaces that have been listed at least once.
        errors: of the last list of a namespace, where it failed.
    """

    client: Client
    scopes: tuple[str | None, ...]
    interval_s: float
    add: Callable[[Key], None]
    missed: Callable[[float], None]
    listed: set[str | None] = field(default_factory=set)
    errors: dict[str | None, KubeError] = field(default_factory=dict)
    _seen: dict[Key, int] = field(default_factory=dict)  # the newest resourceVersion from the watch
    _suspects: dict[Key, int] = field(default_factory=dict)  # versions in the list that the watch has not seen yet
    _restarted: set[str | None] = field(default_factory=set)  # namespaces of which nothing was seen since the restart

    @property
    def keys(self) -> Iterable[Key]:
        """Every LLMDeployment that the watch has seen."""
        return tuple(self._seen)

    def seen(self, key: Key, version: int) -> None:
        """The watch has seen an LLMDeployment."""
        self._seen[key] = version
        self._restarted.difference_update((None, key.namespace))
        if self._suspects.get(key, version) <= version:
            self._suspects.pop(key, None)
        self.add(key)

    def forget(self, key: Key) -> None:
        """The LLMDeployment was deleted."""
        self._seen.pop(key, None)
        self._suspects.pop(key, None)

    async def run(self, watch: Callable[[], Watch]) -> None:
        """Never returns; cancel it. Namespaces are listed independently: a slow one does not delay the others."""
        async with asyncio.TaskGroup() as group:
            for namespace in self.scopes:
                group.create_task(self._run(namespace, watch))

    async def _run(self, namespace: str | None, watch: Callable[[], Watch]) -> None:
        while True:
            try:
                await self._compare(namespace)
                self._succeed(namespace)
            except KubeError as error:
                self._fail(namespace, error)
            await asyncio.sleep(GRACE_S)
            self._judge(namespace, watch())
            await asyncio.sleep(self.interval_s if namespace in self.listed else 0)

    def _succeed(self, namespace: str | None) -> None:
        self.listed.add(namespace)
        if self.errors.pop(namespace, None) is not None:
            log.info("LLMDeployments in namespace %s can be listed again", namespace or "*")

    def _fail(self, namespace: str | None, error: KubeError) -> None:
        repeated = str(self.errors.get(namespace, "")) == str(error)
        self.errors[namespace] = error
        level = logging.DEBUG if repeated else logging.WARNING
        log.log(level, "cannot list LLMDeployments in namespace %s: %s; it is tried again", namespace or "*", error)

    async def _compare(self, namespace: str | None) -> None:
        """Add every LLMDeployment of a namespace whose newest version the watch has not seen."""
        self._take_suspects(namespace)
        async for page in self.client.pages(kinds.LLM_DEPLOYMENT, namespace, metadata_only=True):
            for meta in (item["metadata"] for item in page.items):
                key, version = Key(meta["namespace"], meta["name"]), int(meta["resourceVersion"])
                if self._seen.get(key, 0) < version:
                    self._suspects[key] = version
                    self.add(key)

    def _judge(self, namespace: str | None, watch: Watch) -> None:
        """A change that the watch has not seen after `GRACE_S` was missed.

        A restart lists all namespaces again, so a namespace of which the watch sees nothing even then has no other.
        """
        missed = self._take_suspects(namespace)
        if not missed or watch.heard is None:
            return
        self.missed(missed)
        if namespace in self._restarted:
            log.warning("the watch of LLMDeployments missed %d changes in namespace %s", missed, namespace or "*")
            return
        log.warning("the watch of LLMDeployments missed %d changes: restarting it", missed)
        if len(self.scopes) > 1:
            self._restarted.add(namespace)
        watch.restart()

    def _take_suspects(self, namespace: str | None) -> int:
        """Forget the suspects of a namespace, and return their number."""
        found = [key for key in self._suspects if namespace in (None, key.namespace)]
        for key in found:
            del self._suspects[key]
        return len(found)
