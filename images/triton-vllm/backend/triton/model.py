"""The model that Triton loads: starts the engine, hands requests to it, stops it."""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import os
import time
from pathlib import Path
from typing import Any

from backend.container import events, report
from backend.container.host_memory import HostMeter
from backend.container.processes import below, halted, stopped
from backend.container.resources import allow_stop_strings, keep_to_loopback, on_cpu, prepare, read_limits, show_gpus
from backend.container.shutdown import DRAIN_VARIABLE, on_shutdown
from backend.engine import forkserver, memory, startup_checks
from backend.engine.async_llm import (
    EngineLoop,
    cause_of_death,
    engine_arguments,
    engine_report,
    finish_start,
    first_token,
    log_statistics,
    prove_all,
    proven_task,
    start_engine,
)
from backend.engine.health import GAVE_UP, EngineWatch
from backend.engine.metrics import Copier, Mirror, Reader
from backend.errors import Unavailable
from backend.openai import http_server
from backend.openai.application import build_application, server_arguments
from backend.patches import flashinfer_selection
from backend.settings import BadModel, is_true, read_model
from backend.triton import bridge
from backend.triton.service import EXPIRED, UNHEALTHY, Service, check_generator, sampling_rules
from contract import files
from contract.report import HOST, MODEL, PER_GPU, STARTUP, TASK
from contract.tensors import INPUTS, OUTPUTS
from contract.timing import DEFAULT_DRAIN_SECONDS, FAREWELL_SECONDS

logger = logging.getLogger("triton_vllm")
# A client that went away is noticed at most this much later.
CANCELLATION_SECONDS = 0.3
# How often a stopping model looks for requests that run.
LOAD_SECONDS = 0.1


class TritonPythonModel:
    """One instance of the backend: one engine."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """The tensors of the contract, decoupled, batching left to the engine."""
        return bridge.complete_config(auto_complete_model_config, INPUTS, OUTPUTS)

    def initialize(self, args: dict[str, str]) -> None:
        """Start the engine; returns when it has made a token. An exception fails the load."""
        events.send(os.environ, events.Event.STARTED)
        try:
            self._start(args)
        except BaseException:
            events.send(os.environ, events.Event.ENDED)
            raise

    def is_ready(self) -> bool:
        """Return whether the engine makes tokens: newer servers ask when they are asked for the model's health."""
        return not self._health.problem()

    def _start(self, args: dict[str, str]) -> None:
        begun = time.monotonic()
        host = HostMeter()
        config = bridge.model_config(args)
        folder = Path(args["model_repository"]) / args["model_version"]
        self._settings = read_model(folder)
        show_gpus(os.environ)
        keep_to_loopback(os.environ)
        prepare(self._settings.engine_arguments, os.environ)
        allow_stop_strings(self._settings.limits.max_list, os.environ)
        forkserver.attach(os.environ, self._settings.engine_arguments)
        if not on_cpu(os.environ):
            flashinfer_selection.install()
        arguments = engine_arguments(self._settings.engine_arguments)
        openai = self._settings.openai
        frontend = (
            None if openai is None else server_arguments(arguments, openai, args["model_name"], self._settings.loras)
        )
        self._loop = EngineLoop()
        self._engine = self._loop.call(start_engine(arguments, chats=frontend is not None))
        host.loaded()
        self._tasks = self._loop.call(self._engine.get_supported_tasks())
        begun_token = time.monotonic()
        self._loop.call(first_token(self._engine, self._tasks))
        report.phase("FirstToken", time.monotonic() - begun_token)
        host.first_token()
        begun_proof = time.monotonic()
        facts = self._loop.call(prove_all(self._engine, self._tasks, self._settings.loras))
        report.phase("Proof", time.monotonic() - begun_proof, **facts)
        self._outbox = bridge.ResponseSender(self._loop.loop)
        self._rules = sampling_rules(self._engine, self._settings)
        self._check_answers()
        threads = read_limits().threads
        self._service = Service(self._engine, self._rules, self._settings, self._outbox, self._tasks, threads)
        self._metrics = self._copy_metrics(config, args)
        got: dict[str, Any] = {MODEL: args["model_name"], TASK: proven_task(self._engine, self._tasks)}
        got |= engine_report(self._engine).to_json()
        got[PER_GPU] = self._loop.call(memory.measured_terms(self._engine))
        self._loop.call(self._watch(self._loop.call(self._openai(arguments, frontend)), got, host))
        finish_start()
        report.phase("Serving", time.monotonic() - begun, **got, **{HOST: host.report().to_json()})

    def _check_answers(self) -> None:
        """Run the startup checks. Raises StartupCheckFailed, and BadModel where the model generates no text."""
        if not self._settings.checks:
            return
        if "generate" not in self._tasks:
            raise BadModel(f"{files.CHECKS}: the model does not generate text. Remove spec.server.startupChecks")
        begun = time.monotonic()
        generate = check_generator(self._engine, self._rules)
        facts = self._loop.call(startup_checks.run(generate, self._settings.checks))
        report.phase("StartupChecks", time.monotonic() - begun, checks=facts)

    async def _openai(self, arguments: Any, frontend: Any | None) -> Any | None:
        if frontend is None:
            return None
        return await build_application(self._engine, arguments, frontend, self._settings, self._tasks, self._rules)

    async def _watch(self, application: Any | None, got: dict[str, Any], host: HostMeter) -> None:
        numbers = itertools.count()
        server = os.getppid()
        workers = below(os.getpid()) | forkserver.copies(os.environ)
        self._front: Any = None
        self._application = application
        self._ending = False
        self._health = watch = EngineWatch(
            self._engine,
            probe=lambda: first_token(self._engine, self._tasks, f"probe-{next(numbers)}"),
            # Not the requests that are being answered: a client that reads slowly does not wait for the engine.
            busy=self._engine.output_processor.has_unfinished_requests,
            give_up=self._give_up,
            halted=lambda: halted(workers),
            death=lambda: cause_of_death(self._engine, os.environ),
            obstacle=lambda: "tritonserver is stopped" if stopped([server]) else "",
        )
        lasting = (watch.run(), self._watch_cancellation(), log_statistics(self._engine))
        self._watching = [asyncio.ensure_future(each) for each in lasting]
        on_shutdown(os.environ, self._start_drain)
        try:
            self._paths = http_server.HTTPApplication(self._sources(watch, got, host), application)
            self._front, self._front_task = await http_server.serve(self._paths)
            if application is not None:
                application.runs_in(self._front)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            # Several models in one server share its ports: the first of them has this one.
            logger.warning("the health of this model has no port of its own: %s", error)

    def _sources(self, watch: EngineWatch, got: dict[str, Any], host: HostMeter) -> http_server.Sources:
        from prometheus_client import generate_latest
        from vllm.v1.metrics.prometheus import get_prometheus_registry

        numbers = itertools.count()

        async def prove() -> str:
            return await first_token(self._engine, self._tasks, f"proof-{next(numbers)}")

        return http_server.Sources(
            problem=watch.problem,
            report=lambda: {**got, HOST: host.report().to_json(), STARTUP: report.phases()},
            metrics=lambda: generate_latest(get_prometheus_registry()),
            prove=prove,
        )

    async def _give_up(self, reason: str) -> None:
        """Answer who waits, then end this process: the supervisor ends the rest, and the container restarts."""
        logger.error("%s%s", GAVE_UP, reason)
        await self._service.fail_all(Unavailable(UNHEALTHY))
        await asyncio.sleep(FAREWELL_SECONDS)
        os._exit(1)

    def _copy_metrics(self, config: dict[str, Any], args: dict[str, str]) -> Copier | None:
        """Metrics are on unless the configuration or the engine's arguments switch them off."""
        if is_true(config, files.METRICS_PARAMETER) is False or not self._engine.log_stats:
            return None
        from prometheus_client import REGISTRY

        labels = {"model": args["model_name"], "version": args["model_version"]}
        return Copier(Mirror(bridge.make_family, labels), Reader(REGISTRY))

    def execute(self, requests: list[Any]) -> None:
        """Take requests; their responses are sent later, from the loop."""
        jobs = [bridge.Job(request) for request in requests]
        self._loop.loop.call_soon_threadsafe(self._service.accept, jobs)

    def finalize(self) -> None:
        """Answer the requests that run, then stop the engine and its processes.

        tritonserver does not count requests of a decoupled model as running: it would stop it under them.
        """
        self._loop.call(self._drain())
        events.send(os.environ, events.Event.BUSY)  # until the engine has stopped
        if self._metrics is not None:
            self._metrics.close()
        self._engine.shutdown()
        self._outbox.close()
        self._loop.stop()
        events.send(os.environ, events.Event.ENDED)

    async def _drain(self) -> None:
        self._start_drain()  # where no supervisor has notified it
        await self._service.drain()
        if self._front is not None:
            # Ends when the requests that it has taken are answered.
            self._front.should_exit = True
            await self._front_task
        for task in self._watching:
            task.cancel()

    def _start_drain(self) -> None:
        """Start the drain: requests may run until its end. Only from the loop."""
        if self._ending:
            return
        self._ending = True
        seconds = float(os.environ.get(DRAIN_VARIABLE, DEFAULT_DRAIN_SECONDS))
        self._watching.append(asyncio.ensure_future(self._cancel_after(seconds)))
        self._watching.append(asyncio.ensure_future(self._report_load()))
        self._paths.closing = True

    async def _report_load(self) -> None:
        """Send the supervisor whether requests run, each time that it changes."""
        reported: events.Event | None = None
        while True:
            running = self._service.active or self._engine.output_processor.has_unfinished_requests()
            if self._application is not None:
                running = running or self._application.running
            if (now := events.Event.BUSY if running else events.Event.IDLE) is not reported:
                events.send(os.environ, now)
                reported = now
            await asyncio.sleep(LOAD_SECONDS)

    async def _cancel_after(self, seconds: float) -> None:
        """Cancel what still runs by then, on either port, and say how many."""
        await asyncio.sleep(seconds)
        running = self._engine.output_processor.get_num_unfinished_requests()
        if not running:
            return
        logger.error("%d requests are cancelled: they were not finished within %g seconds", running, seconds)
        await self._service.fail_all(Unavailable(EXPIRED))
        if self._application is not None:
            self._application.end(EXPIRED)

    async def _watch_cancellation(self) -> None:
        while True:
            await asyncio.sleep(CANCELLATION_SECONDS)
            if self._service.active:
                for job in await self._outbox.cancelled(list(self._service.active)):
                    self._service.cancel(job)
