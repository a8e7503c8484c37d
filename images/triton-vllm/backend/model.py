"""The model that Triton loads: starts the engine, hands requests to it, stops it."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

from backend import bridge, report
from backend.engine import EngineLoop, effective_settings, engine_arguments, first_token, start_engine
from backend.inputs import INPUTS, OUTPUTS
from backend.parameters import SamplingRules, parameter_fields
from backend.resources import prepare_cpu, read_limits
from backend.service import Service
from backend.settings import read_model

logger = logging.getLogger("triton_vllm")
# "cpu" in the image whose engine has no GPU; the image says it, so that the same code serves both.
DEVICE_VARIABLE = "TRITON_VLLM_DEVICE"
# A client that went away is noticed at most this much later.
CANCELLATION_SECONDS = 0.3


class TritonPythonModel:
    """One instance of the backend: one engine."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """The tensors of the contract, decoupled, batching left to the engine."""
        return bridge.complete_config(auto_complete_model_config, INPUTS, OUTPUTS)

    def initialize(self, args: dict[str, str]) -> None:
        """Start the engine; returns when it has made a token. An exception fails the load."""
        begun = time.monotonic()
        bridge.model_config(args)
        folder = Path(args["model_repository"]) / args["model_version"]
        self._settings = read_model(folder)
        if os.environ.get(DEVICE_VARIABLE) == "cpu":
            prepare_cpu(self._settings.engine_arguments, read_limits(), os.environ)
        arguments = engine_arguments(self._settings.engine_arguments)
        self._loop = EngineLoop()
        self._engine = self._loop.call(start_engine(arguments))
        tasks = self._loop.call(self._engine.get_supported_tasks())
        begun_token = time.monotonic()
        self._loop.call(first_token(self._engine, tasks))
        report.phase("FirstToken", time.monotonic() - begun_token)
        self._outbox = bridge.Outbox(self._loop.loop)
        self._service = Service(self._engine, self._rules(), self._settings, self._outbox)
        self._stopping = threading.Event()
        threading.Thread(target=self._watch_cancellation, name="cancellation", daemon=True).start()
        report.phase("Serving", time.monotonic() - begun, model=args["model_name"], **effective_settings(self._engine))

    def _rules(self) -> SamplingRules:
        from vllm import SamplingParams

        return SamplingRules(
            fields=parameter_fields(SamplingParams),
            settings=self._settings.sampling,
            limits=self._settings.limits,
            model_defaults=self._engine.model_config.get_diff_sampling_param(),
        )

    def execute(self, requests: list[Any]) -> None:
        """Take requests; their responses are sent later, from the loop."""
        jobs = [bridge.Job(request) for request in requests]
        self._loop.loop.call_soon_threadsafe(self._service.accept, jobs)

    def finalize(self) -> None:
        """Stop the engine and its processes."""
        self._stopping.set()
        self._engine.shutdown()
        self._outbox.close()
        self._loop.stop()

    def _watch_cancellation(self) -> None:
        while not self._stopping.wait(CANCELLATION_SECONDS):
            for job in list(self._service.active):
                if job.cancelled():
                    self._loop.loop.call_soon_threadsafe(self._service.cancel, job)
