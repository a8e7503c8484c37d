"""The operator as a process: watches feed keys to the queue, the leader's queue runs `reconcile`.

`run(reconcile, settings)` is all that `main` and the tests need. Followers keep their stores warm and their queue
full, so that a takeover starts working at once.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prometheus_client.core import Metric

from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.kinds import Key, Kind, Object
from triton_vllm_operator.controller import health
from triton_vllm_operator.controller.leader import Leader, LeaseSettings
from triton_vllm_operator.controller.metrics import Metrics, gauge
from triton_vllm_operator.controller.queue import KeyedQueue, Result
from triton_vllm_operator.controller.settings import Settings
from triton_vllm_operator.controller.watches import KopfWatch
from triton_vllm_operator.desired.children import WATCHED_KINDS
from triton_vllm_operator.kube import login
from triton_vllm_operator.kube.client import Client
from triton_vllm_operator.kube.errors import Conflict, KubeError
from triton_vllm_operator.kube.events import EventRecorder
from triton_vllm_operator.kube.reflector import Reflector
from triton_vllm_operator.kube.store import Store, owner_of
from triton_vllm_operator.webhook.handler import Admission, Change
from triton_vllm_operator.webhook.server import Webhook
from triton_vllm_operator.webhook.verdict import Verdict

log = logging.getLogger(__name__)

# No request begun for this long means a stuck loop, not a slow server: every request ends within 25 s and every pause
# within 15 s. A server that is down does not make us unhealthy: a restart would only add a crash loop's waiting.
STUCK_S = 120.0
GRACE_S = 10.0  # how far kopf's watch may lag behind a list


@dataclass
class Cluster:
    """What a reconcile may use: the client, the stores of children by kind, the inspection pods, and the events.

    `scopes`: namespaces that the operator serves; None is all.
    """

    client: Client
    events: EventRecorder
    stores: dict[Kind, Store]
    inspections: Store = field(default_factory=lambda: Store(kinds.POD, label=names.INSPECTS_LABEL))
    scopes: tuple[str | None, ...] = (None,)

    def children(self, kind: Kind, owner: Key) -> list[Object]:
        """The owner's children of one kind, by name, as last seen or as answered to our own last write."""
        return self.stores[kind].owned_by(owner)

    async def apply(self, obj: Object, *, uid: str | None) -> Object:
        """Apply a child, and see it at once: the next reconcile must not read its state before this write.

        `uid` is that of the object as known: a namesake that somebody made meanwhile gives `Conflict`. None: it is
        new, and whatever has its name gives `Conflict`; the caller then looks at that.
        """
        try:
            applied = await self.client.apply(obj, uid=uid)
        except Conflict:
            if uid is not None:
                await self.look(kinds.ref_of(obj))
            raise
        self.note(applied)
        return applied

    async def delete(self, obj: Mapping[str, Any]) -> None:
        """Delete that very child. What the API server does not know any more is forgotten at once."""
        ref = kinds.ref_of(obj)
        try:
            await self.client.delete(ref)
        except Conflict:
            await self.look(ref)
            raise
        await self.look(ref)

    async def look(self, ref: kinds.Ref) -> Object | None:
        """Read one child anew, because an answer said that what is known of it is wrong; what has its name now."""
        store, namespace = self.stores[ref.kind], ref.namespace or ""
        version = store.version_of(namespace, ref.name)
        found = await self.client.find(ref.kind, ref.namespace, ref.name)
        if found is None or owner_of(found) is None:
            store.forget(namespace, ref.name, version)
        else:
            self.note(found)
        return found

    def note(self, obj: Object) -> None:
        """Remember an object as answered by the API server."""
        store = self.stores.get(kinds.kind_of(obj))
        if store is not None and owner_of(obj) is not None:
            store.put(obj)


Reconcile = Callable[[Cluster, Key], Awaitable[Result]]
Review = Callable[[Cluster, Change], Awaitable[Verdict]]


@dataclass
class Shell:
    """One operator process. Build it with `Shell.make`, run it with `run`."""

    settings: Settings
    reconcile: Reconcile
    cluster: Cluster
    metrics: Metrics
    queue: KeyedQueue[Key]
    leader: Leader
    reflectors: list[Reflector]
    watch: KopfWatch
    port: asyncio.Future[int]
    webhook: Webhook | None = None
    _told: dict[Key, int] = field(default_factory=dict)  # the newest resourceVersion that kopf has told of each CR
    _suspects: dict[Key, int] = field(default_factory=dict)  # versions that the audit saw and kopf has not told yet
    _caught_up: bool = False

    @classmethod
    async def make(cls, reconcile: Reconcile, settings: Settings, review: Review | None = None) -> Shell:
        """The operator with the credentials that the settings name."""
        metrics = Metrics()
        client = Client(await login.load(settings.kubeconfig, settings.context), observe=metrics.called)
        return cls.on(client, reconcile, settings, metrics, review)

    @classmethod
    def on(
        cls,
        client: Client,
        reconcile: Reconcile,
        settings: Settings,
        metrics: Metrics,
        review: Review | None = None,
    ) -> Shell:
        """The operator on a client that is already there; call it in the event loop that will run it."""
        stores = {kind: Store(kind) for kind in WATCHED_KINDS}
        cluster = Cluster(client, EventRecorder(client, settings.identity), stores, scopes=settings.scopes)
        watched = [*stores.values(), cluster.inspections]
        shell = cls(
            settings=settings,
            reconcile=reconcile,
            cluster=cluster,
            metrics=metrics,
            queue=KeyedQueue(settings.queue, observer=metrics),
            leader=Leader(client, LeaseSettings(settings.lease_namespace, settings.lease_name), settings.identity),
            reflectors=[
                Reflector(client, store, namespace, store.label) for store in watched for namespace in settings.scopes
            ],
            watch=KopfWatch(settings, lambda key, version: shell.found(key, version)),
            port=asyncio.get_running_loop().create_future(),
        )
        if settings.webhook is not None and review is not None:
            admission = Admission(partial(review, cluster), metrics.reviewed)
            shell.webhook = Webhook(client, settings.webhook, admission.application())
        if settings.leader_election:
            client.fence_with(shell.leader.check)
        for store in watched:
            store.subscribe(shell.queue.add)
        metrics.live(shell._gauges)
        return shell

    async def run(self) -> None:
        """Until SIGTERM or SIGINT, then stop cleanly: reconciles under way finish, the lease is released."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        if self.webhook is not None:
            await self.webhook.start()
        app = health.application(self.alive_problems, self.ready_problems, self.metrics.text)
        runner, port = await health.serve(app, self.settings.http_host, self.settings.http_port)
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
            await self.cluster.client.close()
        for task in tasks:
            if not task.cancelled():
                task.result()  # a loop never ends by itself: raises what ended it, for the exit code and the log

    def loops(self) -> list[Coroutine[None, None, None]]:
        """What runs for ever besides kopf: the watches of children, the audit and the work."""
        lead = self.leader.run(self._lead) if self.settings.leader_election else self._lead()
        certificate = [self.webhook.run()] if self.webhook is not None else []
        return [*(reflector.run() for reflector in self.reflectors), self._audit(), *certificate, lead]

    async def _stop(self, tasks: list[asyncio.Task[None]]) -> None:
        self.queue.close()
        await self.queue.drained(self.settings.stop_s)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def _lead(self) -> None:
        """Work on every known key; runs while we hold the lease."""
        await asyncio.gather(*(reflector.synced.wait() for reflector in self.reflectors))
        for key in self._told:
            self.queue.add(key)
        await self.queue.run(self._work)

    async def _work(self, key: Key) -> Result:
        result = await self.reconcile(self.cluster, key)
        if result.gone:
            self._told.pop(key, None)
            self._suspects.pop(key, None)
        return result

    def found(self, key: Key, version: int) -> None:
        """kopf told us of an LLMDeployment."""
        self._told[key] = version
        if self._suspects.get(key, version) <= version:
            self._suspects.pop(key, None)
        self.queue.add(key)

    async def _audit(self) -> None:
        """List the CRs now and then: kopf's watch must not be the only way to learn of one."""
        while True:
            try:
                await self._compare()
                self._caught_up = True
            except KubeError as error:
                log.warning("cannot list LLMDeployments: %s", error)
            await asyncio.sleep(GRACE_S)
            self._judge()
            await asyncio.sleep(self.settings.audit_s if self._caught_up else 0)

    async def _compare(self) -> None:
        """Add every CR whose newest version kopf has not told us, and suspect kopf of having missed it."""
        self._suspects.clear()
        for namespace in self.settings.scopes:
            async for page in self.cluster.client.pages(kinds.LLM_DEPLOYMENT, namespace, metadata_only=True):
                for meta in (item["metadata"] for item in page.items):
                    key, version = Key(meta["namespace"], meta["name"]), int(meta["resourceVersion"])
                    if self._told.get(key, 0) < version:
                        self._suspects[key] = version
                        self.queue.add(key)

    def _judge(self) -> None:
        """A change that is still not told after `GRACE_S` was missed."""
        if self._suspects and self.watch.heard is not None:
            log.warning("the watch of LLMDeployments missed %d changes: starting it again", len(self._suspects))
            self.metrics.missed.inc(len(self._suspects))
            self.watch.restart()
        self._suspects.clear()

    # ------------------------------------------------------------- what others ask

    def alive_problems(self) -> list[str]:
        """What only a restart would cure."""
        now = asyncio.get_running_loop().time()
        problems = [
            f"watch {reflector.name} has done nothing for {now - reflector.health.turned:.0f} s"
            for reflector in self.reflectors
            if now - reflector.health.turned > STUCK_S
        ]
        if time.monotonic() - self.watch.turned > STUCK_S:
            problems.append(f"kopf has sent no request for {time.monotonic() - self.watch.turned:.0f} s")
        if self.queue.oldest_work() > self.settings.queue.stuck_s + STUCK_S:
            problems.append(f"a reconcile runs for {self.queue.oldest_work():.0f} s")
        if self.leader.leading and self.queue.longest_wait() > STUCK_S:
            problems.append(f"a key waits for {self.queue.longest_wait():.0f} s")
        return problems

    def ready_problems(self) -> list[str]:
        """What is not caught up yet. A follower is ready when it could take over at once."""
        problems = [
            f"watch {reflector.name} has not listed" for reflector in self.reflectors if not reflector.synced.is_set()
        ]
        # Once only: where the API server cannot be told, requests pass unchecked, and the operator works all the same.
        if self.webhook is not None and self.webhook.registered is None:
            problems.append("the API server does not know the webhook's certificate yet")
        if not self._caught_up:
            problems.append("the LLMDeployments were not listed")
        if self.leader.leading and self.queue.longest_wait() > 10.0:
            problems.append(f"{len(self.queue)} keys wait, the first for {self.queue.longest_wait():.0f} s")
        return problems

    def _gauges(self) -> Iterable[Metric]:
        yield gauge("queue_depth", "Keys that wait for a worker", len(self.queue))
        yield gauge("queue_working", "Seconds that the longest reconcile under way has taken", self.queue.oldest_work())
        yield gauge("leader", "1 while this process may write", float(self.leader.leading))
        if self.webhook is not None:
            known = float(bool(self.webhook.registered))
            yield gauge("webhook_registered", "1 while the API server knows the webhook's certificate", known)
            expires = self.webhook.expires_at.timestamp()
            yield gauge("webhook_certificate_expiry_seconds", "Unix time at which the certificate expires", expires)
        yield gauge("watch_starts", "How often kopf was started in this process", self.watch.starts)
        ages = gauge("watch_age_seconds", "Seconds since the API server last answered a watch", 0)
        ages.samples.clear()
        for name, age in self._ages():
            ages.add_sample(ages.name, {"watch": name}, age)
        yield ages

    def _ages(self) -> Iterable[tuple[str, float]]:
        now = asyncio.get_running_loop().time()
        for reflector in self.reflectors:
            yield reflector.name, now - (reflector.health.heard or float("-inf"))
        yield "llmdeployments", time.monotonic() - (self.watch.heard or float("-inf"))


async def _first_of(*waits: Awaitable[object]) -> None:
    """Return when the first one ends."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    tasks[0].cancel()


async def run(reconcile: Reconcile, settings: Settings, review: Review | None = None) -> None:
    """Run the operator until it is told to stop."""
    shell = await Shell.make(reconcile, settings, review)
    await shell.run()
