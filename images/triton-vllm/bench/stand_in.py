"""A stand-in for the design of Triton's stock vLLM backend, for `make bench-serving` only.

Written for this comparison, in the words of the stock backend's documentation: the engine runs in an event loop of
asyncio's own in the stub's interpreter; it gives the whole text so far for each token of each request, streaming or
not; every response is one object, made token by token, and goes to tritonserver through a queue and a thread that sends
one at a time; a client that left is asked about before each response. Checks of requests, LoRA, extra outputs and
metrics are left out, which favours it.
"""

from __future__ import annotations

import locale

locale.setlocale(locale.LC_ALL, "C.UTF-8")

import asyncio  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import queue  # noqa: E402
import threading  # noqa: E402
import uuid  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import triton_python_backend_utils as pb_utils  # noqa: E402

from backend.container.resources import on_cpu, prepare  # noqa: E402
from backend.triton import bridge  # noqa: E402
from contract.tensors import INPUTS, OUTPUTS  # noqa: E402

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    """One engine; one response object a token."""

    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        """The tensors of the contract."""
        return bridge.complete_config(config, INPUTS, OUTPUTS)

    def initialize(self, args: dict[str, str]) -> None:
        """Start the engine in a loop of its own thread."""
        file = Path(args["model_repository"]) / args["model_version"] / "model.json"
        arguments = json.loads(file.read_text())
        if on_cpu(os.environ):
            prepare(arguments, os.environ)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._engine = asyncio.run_coroutine_threadsafe(_start(arguments), self._loop).result()
        self._responses: queue.Queue[Any] = queue.Queue()
        threading.Thread(target=self._send, daemon=True).start()

    def execute(self, requests: list[Any]) -> None:
        """Each request becomes a coroutine."""
        for request in requests:
            asyncio.run_coroutine_threadsafe(self._answer(request), self._loop)

    async def _answer(self, request: Any) -> None:
        from vllm import SamplingParams

        sender = request.get_response_sender()
        text = pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy()[0].decode()
        tensor = pb_utils.get_input_tensor_by_name(request, "stream")
        stream = tensor is not None and bool(tensor.as_numpy()[0])
        sampling = SamplingParams(**json.loads(request.parameters() or "{}"))
        sent, last = 0, None
        async for output in self._engine.generate({"prompt": text}, sampling, uuid.uuid4().hex):
            if sender.is_cancelled():
                return
            last = output
            if stream:
                said = output.outputs[0].text
                self._put(sender, said[sent:], output.finished)
                sent = len(said)
        if not stream and last is not None:
            self._put(sender, text + last.outputs[0].text, True)

    def _put(self, sender: Any, text: str, final: bool) -> None:
        tensor = pb_utils.Tensor("text_output", np.asarray([text.encode("utf-8")], dtype=np.object_))
        self._responses.put((sender, pb_utils.InferenceResponse(output_tensors=[tensor]), FINAL if final else 0))

    def _send(self) -> None:
        while True:
            sender, response, flags = self._responses.get()
            sender.send(response, flags)

    def finalize(self) -> None:
        """Stop the engine."""
        self._engine.shutdown()


async def _start(arguments: dict[str, Any]) -> Any:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
