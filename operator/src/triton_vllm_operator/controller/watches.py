"""Where keys come from: kopf watches the LLMDeployments, reflectors watch their children.

kopf runs in a thread with its own event loop, for two reasons. It ends on some errors (401, an ERROR event, a deleted
CRD) and has to be restarted; and when it ends it cancels every task of its loop that it does not know. Its handler only
passes on keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import aiohttp
import kopf
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.kinds import Key
from triton_vllm_operator.backoff import Backoff
from triton_vllm_operator.controller.kopf_settings import kopf_settings
from triton_vllm_operator.controller.settings import Settings
from triton_vllm_operator.kube import login
from triton_vllm_operator.kube.client import Client
from triton_vllm_operator.kube.errors import KubeError

log = logging.getLogger(__name__)

RESTART = Backoff(2.0, 15.0)
LONG_RUN_S = 60.0  # kopf that ran for so long starts again without a longer delay


@dataclass
class KopfWatch:
    """kopf in its thread, restarted whenever it ends.

    `found(key, version)` is called in the event loop that called `start`, for every event about a CR.
    """

    settings: Settings
    found: Callable[[Key, int], None]
    heard: float | None = None  # time.monotonic() of the last response to kopf without an error, None before the first
    turned: float = field(default_factory=time.monotonic)  # ... of the last request that kopf began
    starts: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _end: Callable[[], object] | None = None  # ends the running kopf, from any thread
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)
        self._thread.start()

    def restart(self) -> None:
        """End the running kopf; the next one lists everything again."""
        end = self._end
        if end is not None:
            with contextlib.suppress(RuntimeError):  # its loop has just closed: it restarts anyway
                end()

    async def stop(self) -> None:
        self._stop.set()
        self.restart()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 5.0)

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            began = time.monotonic()
            self.starts += 1
            try:
                asyncio.run(self._watch())
            except Exception as error:
                # Whatever ended kopf: the operator continues, and this thread tries again.
                log.warning("the watch of LLMDeployments ended: %s: %s", type(error).__name__, error)
                log.debug("traceback", exc_info=True)
            failures = 0 if time.monotonic() - began > LONG_RUN_S else failures + 1
            self.turned = time.monotonic()
            self._stop.wait(RESTART.delay_s(failures))

    async def _watch(self) -> None:
        # Not a threading.Event: kopf would wait for it in a thread that nothing can interrupt.
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        self._end = lambda: loop.call_soon_threadsafe(ended.set)
        await self._wait_for_crd(ended)
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)(self._on_event)
        await kopf.operator(
            registry=registry,
            settings=kopf_settings(),
            # Without it kopf asks for the user's name, which a pod's uid does not have.
            identity=cast(Any, self.settings.identity),
            standalone=True,
            clusterwide=not self.settings.namespaces,
            namespaces=self.settings.namespaces,
            stop_flag=ended,
        )

    async def _wait_for_crd(self, ended: asyncio.Event) -> None:
        """kopf lists the resources once and watches nothing, silently, where the CRD does not exist yet.

        One namespace whose LLMDeployments can be listed is enough.
        """
        client = Client(await self._configuration())
        try:
            while not (ended.is_set() or self._stop.is_set()):
                self.turned = time.monotonic()
                errors = await asyncio.gather(*(_list_error(client, namespace) for namespace in self.settings.scopes))
                if None in errors:
                    return  # kopf itself tries each of the other namespaces again and again
                log.warning("cannot list LLMDeployments yet: %s", errors[0])
                await asyncio.sleep(RESTART.first_s)
        finally:
            await client.close()

    async def _on_event(self, namespace: str | None, name: str, meta: Any, **_: Any) -> None:
        key = Key(namespace or "", name)
        self._loop.call_soon_threadsafe(self.found, key, int(meta["resourceVersion"]))

    async def _login(self, **_: Any) -> kopf.AiohttpSession:
        """A session with the current credentials, and a trace of kopf's requests and responses."""
        configuration = await self._configuration()
        rest: Any = RESTClientObject(configuration)
        headers = {auth["key"]: auth["value"] for auth in (await _auth(configuration)).values()}
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(self._on_request)
        trace.on_request_end.append(self._on_response)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=rest.ssl_context), headers=headers, trace_configs=[trace]
        )
        return kopf.AiohttpSession(server=configuration.host, default_namespace="default", aiohttp_session=session)

    async def _configuration(self) -> Configuration:
        return await login.load(self.settings.kubeconfig, self.settings.context)

    async def _on_request(self, *_: Any) -> None:
        self.turned = time.monotonic()

    async def _on_response(self, _session: Any, _context: Any, params: aiohttp.TraceRequestEndParams) -> None:
        if params.response.status < 400:
            self.heard = time.monotonic()


async def _list_error(client: Client, namespace: str | None) -> KubeError | None:
    """The error of a list of LLMDeployments, or None."""
    try:
        await anext(client.pages(kinds.LLM_DEPLOYMENT, namespace, metadata_only=True))
    except KubeError as error:
        return error
    return None


async def _auth(configuration: Configuration) -> dict[str, Any]:
    settings: Any = await configuration.auth_settings()
    return dict(settings)
