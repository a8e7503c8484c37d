"""The namespaces that the operator serves, each by itself: one that is gone or forbidden does not stop the others."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from triton_vllm_operator.kube.errors import KubeError
from triton_vllm_operator.kube.reflector import Reflector


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """One namespace with its watches of children; `namespace` None: all of them."""

    namespace: str | None
    reflectors: tuple[Reflector, ...]

    @property
    def name(self) -> str:
        """The namespace, as logs and metrics show it."""
        return self.namespace or "*"

    @property
    def is_synced(self) -> bool:
        """Whether every kind has been listed."""
        return all(reflector.synced.is_set() for reflector in self.reflectors)

    @property
    def error(self) -> KubeError | None:
        """The last error of a watch that has not worked since; None while all of them work."""
        return next((reflector.error for reflector in self.reflectors if reflector.error is not None), None)

    async def synced(self) -> None:
        """Wait until every kind has been listed."""
        await asyncio.gather(*(reflector.synced.wait() for reflector in self.reflectors))


@dataclass(frozen=True, slots=True)
class Scopes:
    """All namespaces that the operator serves."""

    all: tuple[Scope, ...]

    def of(self, namespace: str) -> Scope | None:
        """The scope that has a namespace; None for one that the operator does not serve."""
        return next((scope for scope in self.all if scope.namespace in (None, namespace)), None)

    def blocking_error(self, namespace: str) -> KubeError | None:
        """Why the children in a namespace have never been listed; None where they have, or where no list has failed."""
        scope = self.of(namespace)
        return None if scope is None or scope.is_synced else scope.error
