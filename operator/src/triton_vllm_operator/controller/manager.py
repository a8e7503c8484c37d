"""The operator as a process: watches feed keys to the queue, the leader's queue runs `reconcile`.

`run(reconcile, settings)` is all that `main` and the tests need. Followers keep their stores warm and their queue
full, so that a takeover starts working at once.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial

from triton_vllm_operator import http_server
from triton_vllm_operator.api.kinds import Key
from triton_vllm_operator.controller import health, readiness
from triton_vllm_operator.controller.cluster import ClusterView
from triton_vllm_operator.controller.leader import Leader, LeaseSettings
from triton_vllm_operator.controller.metrics import Metrics
from triton_vllm_operator.controller.queue import KeyedQueue, Result
from triton_vllm_operator.controller.scopes import Scope, Scopes
from triton_vllm_operator.controller.settings import Settings
from triton_vllm_operator.controller.watch_audit import WatchAudit
from triton_vllm_operator.controller.watches import KopfWatch
from triton_vllm_operator.desired.children import WATCHED_KINDS
from triton_vllm_operator.kube import login
from triton_vllm_operator.kube.client import Client
from triton_vllm_operator.kube.events import EventRecorder
from triton_vllm_operator.kube.reflector import Reflector
from triton_vllm_operator.kube.store import Store
from triton_vllm_operator.webhook.handler import AdmissionHandler
from triton_vllm_operator.webhook.review import Review
from triton_vllm_operator.webhook.server import Webhook

log = logging.getLogger(__name__)

NOT_SYNCED_S = 5.0
"""Until a key is tried again whose namespace is not synced; it is added when that is synced, too."""

Reconcile = Callable[[ClusterView, Key], Awaitable[Result]]
MakeReview = Callable[[ClusterView], Review]


@dataclass
class Manager:
    """One operator process. Build it with `Manager.make`, run it with `run`."""

    settings: Settings
    reconcile: Reconcile
    cluster: ClusterView
    metrics: Metrics
    queue: KeyedQueue[Key]
    leader: Leader
    scopes: Scopes
    watch: KopfWatch
    audit: WatchAudit
    port: asyncio.Future[int]
    webhook: Webhook | None = None

    @classmethod
    async def make(cls, reconcile: Reconcile, settings: Settings, make_review: MakeReview | None = None) -> Manager:
        """The operator with the credentials that the settings name."""
        metrics = Metrics()
        client = Client(await login.load(settings.kubeconfig, settings.context), observe=metrics.called)
        return cls.on(client, reconcile, settings, metrics, make_review)

    @classmethod
    def on(
        cls,
        client: Client,
        reconcile: Reconcile,
        settings: Settings,
        metrics: Metrics,
        make_review: MakeReview | None = None,
    ) -> Manager:
        """The operator on an existing client; call it in the event loop that will run it."""
        stores = {kind: Store(kind) for kind in WATCHED_KINDS}
        events = EventRecorder(client, settings.identity)
        cluster = ClusterView(client, events, stores, scopes=settings.scopes, operator=settings.name)
        watched = [*stores.values(), cluster.inspections]
        queue: KeyedQueue[Key] = KeyedQueue(settings.queue, observer=metrics)
        audit = WatchAudit(client, settings.scopes, settings.audit_s, queue.add, metrics.missed.inc)
        scopes = Scopes(
            tuple(
                Scope(namespace, tuple(Reflector(client, store, namespace, store.label) for store in watched))
                for namespace in settings.scopes
            )
        )
        cluster.blocking_error, cluster.wake = scopes.blocking_error, queue.add
        manager = cls(
            settings=settings,
            reconcile=reconcile,
            cluster=cluster,
            metrics=metrics,
            queue=queue,
            leader=Leader(client, LeaseSettings(settings.lease_namespace, settings.lease_name), settings.identity),
            scopes=scopes,
            watch=KopfWatch(settings, audit.seen),
            audit=audit,
            port=asyncio.get_running_loop().create_future(),
        )
        if settings.webhook is not None and make_review is not None:
            handler = AdmissionHandler(make_review(cluster), metrics.reviewed)
            manager.webhook = Webhook(client, settings.webhook, handler.application())
        if settings.leader_election:
            client.fence_with(manager.leader.check)
        for store in watched:
            store.subscribe(queue.add)
        metrics.live(partial(readiness.gauges, manager))
        return manager

    @property
    def reflectors(self) -> list[Reflector]:
        """The watches of children, in all namespaces."""
        return [reflector for scope in self.scopes.all for reflector in scope.reflectors]

    async def run(self) -> None:
        """Until SIGTERM or SIGINT, then stop cleanly: reconciles in progress finish, the lease is released."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        if self.webhook is not None:
            await self.webhook.start()
        app = health.application(
            partial(readiness.liveness_problems, self), partial(readiness.readiness_problems, self), self.metrics.text
        )
        runner, port = await http_server.listen(app, self.settings.http_host, self.settings.http_port)
        self.port.set_result(port)
        log.info("health and metrics on port %d", port)
        self.watch.start()
        tasks = [asyncio.ensure_future(coro) for coro in self.loops()]
        try:
            await _first_of(stop.wait(), *tasks)
        finally:
            await self._stop(tasks)
            await self.watch.stop()
            if self.webhook is not None:
                await self.webhook.stop()
            await runner.cleanup()
            await self.cluster.probes.close()
            await self.cluster.client.close()
        for task in tasks:
            if not task.cancelled():
                task.result()  # a loop never ends by itself: raises what ended it, for the exit code and the log

    def loops(self) -> list[Coroutine[None, None, None]]:
        """What runs beside kopf until the process ends: the watches of children, the audit and the work."""
        lead = self.leader.run(self._lead) if self.settings.leader_election else self._lead()
        certificate = [self.webhook.run()] if self.webhook is not None else []
        audit = self.audit.run(lambda: self.watch)
        return [*(reflector.run() for reflector in self.reflectors), audit, *certificate, lead]

    async def _stop(self, tasks: list[asyncio.Task[None]]) -> None:
        self.queue.close()
        await self.queue.drained(self.settings.stop_s)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def _lead(self) -> None:
        """Work on every known key, from when the first namespace is synced; runs while we hold the lease."""
        async with asyncio.TaskGroup() as group:
            waits = [group.create_task(self._add_synced(scope)) for scope in self.scopes.all]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            await self.queue.run(self._work)

    async def _add_synced(self, scope: Scope) -> None:
        """Add every key of a namespace when its children have been listed."""
        await scope.synced()
        for key in self.audit.keys:
            if self.scopes.of(key.namespace) is scope:
                self.queue.add(key)

    async def _work(self, key: Key) -> Result:
        scope = self.scopes.of(key.namespace)
        if scope is not None and not scope.is_synced and scope.error is None:
            return Result("NotSynced", after=NOT_SYNCED_S)
        result = await self.reconcile(self.cluster, key)
        if result.gone:
            self.audit.forget(key)
        return result


async def _first_of(*waits: Awaitable[object]) -> None:
    """Return when the first one ends."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    tasks[0].cancel()


async def run(reconcile: Reconcile, settings: Settings, make_review: MakeReview | None = None) -> None:
    """Run the operator until the process is terminated."""
    manager = await Manager.make(reconcile, settings, make_review)
    await manager.run()
