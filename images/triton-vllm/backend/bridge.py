"""Between Triton's requests and the event loop.

Sending a response waits for tritonserver to take it (a round trip of some ten microseconds): a thread of its own does
that, so that the event loop goes on. A request's next delta is built only when its last one is gone; what the engine
makes meanwhile is merged by vLLM's own collector, so that a slow front end gets fewer, longer deltas.
"""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import threading
from dataclasses import dataclass
from typing import Any

import triton_python_backend_utils as pb_utils

from backend.errors import RequestError
from backend.outputs import Tensors

logger = logging.getLogger("triton_vllm")
FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class Job:
    """One request of Triton and the way to answer it."""

    __slots__ = ("_request", "_sender", "task")

    def __init__(self, request: Any) -> None:
        self._request = request
        self._sender = request.get_response_sender()
        self.task: asyncio.Task[None] | None = None

    def read(self, name: str) -> Any | None:
        """An input tensor as a flat array, None when the request does not have it."""
        tensor = pb_utils.get_input_tensor_by_name(self._request, name)
        return None if tensor is None else tensor.as_numpy().reshape(-1)

    def parameters(self) -> str:
        """Triton's request parameters as JSON text."""
        return str(self._request.parameters())

    def cancelled(self) -> bool:
        """Whether the client has gone away, as far as Triton knows."""
        return bool(self._sender.is_cancelled())

    def send(self, tensors: Tensors | None, error: RequestError | None, final: bool) -> None:
        """Send one response. Blocks until tritonserver has it."""
        flags = FINAL if final else 0
        if error is not None:
            self._sender.send(pb_utils.InferenceResponse(error=_triton_error(error)), flags=flags)
        elif tensors is not None:
            outputs = [pb_utils.Tensor(name, array) for name, array in tensors.items()]
            self._sender.send(pb_utils.InferenceResponse(output_tensors=outputs), flags=flags)
        else:
            self._sender.send(flags=flags)


def _triton_error(error: RequestError) -> Any:
    return pb_utils.TritonError(str(error), getattr(pb_utils.TritonError, error.code))


@dataclass(slots=True)
class _Item:
    job: Job
    tensors: Tensors | None
    error: RequestError | None
    final: bool
    sent: asyncio.Future[None]


class Outbox:
    """Sends responses from a thread; whole batches cross between the thread and the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[_Item] = []
        self._batches: queue.SimpleQueue[list[_Item] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="responses", daemon=True)
        self._thread.start()

    def send(self, job: Job, tensors: Tensors | None = None, *, error: RequestError | None = None, final: bool) -> Any:
        """Queue a response; the future is done when tritonserver has it. Only from the loop."""
        item = _Item(job, tensors, error, final, self._loop.create_future())
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(item)
        return item.sent

    def close(self) -> None:
        """Send what is queued and end the thread."""
        self._batches.put(None)
        self._thread.join(timeout=5)

    def _flush(self) -> None:
        batch, self._waiting = self._waiting, []
        self._batches.put(batch)

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            failures = [self._send(item) for item in batch]
            self._loop.call_soon_threadsafe(_done, batch, failures)

    def _send(self, item: _Item) -> Exception | None:
        try:
            item.job.send(item.tensors, item.error, item.final)
        except Exception as error:
            logger.exception("response not sent")
            return error
        return None


def _done(batch: list[_Item], failures: list[Exception | None]) -> None:
    for item, failure in zip(batch, failures, strict=True):
        if item.sent.done():
            continue
        if failure is None:
            item.sent.set_result(None)
        else:
            item.sent.set_exception(failure)


def complete_config(config: Any, inputs: Any, outputs: Any) -> Any:
    """Auto-complete: add the contract's tensors that the configuration does not write, decoupled, no batching."""
    written = config.as_dict()
    names = {tensor["name"] for tensor in [*written["input"], *written["output"]]}
    for name, data_type, dims, optional in inputs:
        if name not in names:
            tensor = {"name": name, "data_type": data_type, "dims": [dims]}
            config.add_input({**tensor, "optional": True} if optional else tensor)
    for name, data_type, dims in outputs:
        if name not in names:
            config.add_output({"name": name, "data_type": data_type, "dims": [dims]})
    config.set_model_transaction_policy({"decoupled": True})
    config.set_max_batch_size(0)
    return config


def model_config(args: dict[str, str]) -> dict[str, Any]:
    """The model's configuration as tritonserver completed it."""
    config: dict[str, Any] = json.loads(args["model_config"])
    if not pb_utils.using_decoupled_model_transaction_policy(config):
        raise ValueError("the model must be configured with the decoupled model transaction policy")
    return config
