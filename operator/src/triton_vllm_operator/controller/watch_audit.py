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
    """

    client: Client
    scopes: tuple[str | None, ...]
    interval_s: float
    add: Callable[[Key], None]
    missed: Callable[[float], None]
    listed: bool = False  # all of them, at least once
    _seen: dict[Key, int] = field(default_factory=dict)  # the newest resourceVersion from the watch
    _suspects: dict[Key, int] = field(default_factory=dict)  # versions in the list that the watch has not seen yet

    @property
    def keys(self) -> Iterable[Key]:
        """Every LLMDeployment that the watch has seen."""
        return tuple(self._seen)

    def seen(self, key: Key, version: int) -> None:
        """The watch has seen an LLMDeployment."""
        self._seen[key] = version
        if self._suspects.get(key, version) <= version:
            self._suspects.pop(key, None)
        self.add(key)

    def forget(self, key: Key) -> None:
        """The LLMDeployment was deleted."""
        self._seen.pop(key, None)
        self._suspects.pop(key, None)

    async def run(self, watch: Callable[[], Watch]) -> None:
        """Never returns; cancel it."""
        while True:
            try:
                await self._compare()
                self.listed = True
            except KubeError as error:
                log.warning("cannot list LLMDeployments: %s", error)
            await asyncio.sleep(GRACE_S)
            self._judge(watch())
            await asyncio.sleep(self.interval_s if self.listed else 0)

    async def _compare(self) -> None:
        """Add every LLMDeployment whose newest version the watch has not seen."""
        self._suspects.clear()
        for namespace in self.scopes:
            async for page in self.client.pages(kinds.LLM_DEPLOYMENT, namespace, metadata_only=True):
                for meta in (item["metadata"] for item in page.items):
                    key, version = Key(meta["namespace"], meta["name"]), int(meta["resourceVersion"])
                    if self._seen.get(key, 0) < version:
                        self._suspects[key] = version
                        self.add(key)

    def _judge(self, watch: Watch) -> None:
        """A change that the watch has not seen after `GRACE_S` was missed."""
        if self._suspects and watch.heard is not None:
            log.warning("the watch of LLMDeployments missed %d changes: restarting it", len(self._suspects))
            self.missed(len(self._suspects))
            watch.restart()
        self._suspects.clear()
