"""Between Triton's requests and the event loop.

Sending a response waits for tritonserver to take it (a round trip of some ten microseconds): a thread of its own does
that, so that the event loop goes on. A request's next delta is built only when its last one is gone; what the engine
makes meanwhile is merged by vLLM's own collector, so that a slow front end gets fewer, longer deltas.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import triton_python_backend_utils as pb_utils

from backend.errors import RequestError
from backend.triton.outputs import Tensors

logger = logging.getLogger("triton_vllm")
FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class Job:
    """One request of Triton and the way to answer it."""

    __slots__ = ("_finished", "_request", "_sender", "task")

    def __init__(self, request: Any) -> None:
        self._request = request
        self._sender = request.get_response_sender()
        self._finished = False
        self.task: asyncio.Task[None] | None = None

    def read(self, name: str) -> Any | None:
        """An input tensor as a flat array, None when the request does not have it."""
        tensor = pb_utils.get_input_tensor_by_name(self._request, name)
        return None if tensor is None else tensor.as_numpy().reshape(-1)

    def parameters(self) -> str:
        """Triton's request parameters as JSON text."""
        return str(self._request.parameters())

    def timeout(self) -> int:
        """Triton's own timeout of the request in microseconds, 0 when it has none."""
        return int(self._request.timeout())

    def cancelled(self) -> bool:
        """Whether the client has gone away, as far as Triton knows.

        Only from the thread that sends: tritonserver dies of this question when the final response is on its way.
        """
        return not self._finished and bool(self._sender.is_cancelled())

    def send(self, tensors: Tensors | None, error: RequestError | None, final: bool) -> None:
        """Send one response. Blocks until tritonserver has it.

        Nothing is sent after the final one: a client's leaving may be noticed while that is on its way.
        """
        if self._finished:
            return
        self._finished = final
        flags = FINAL if final else 0
        if error is not None:
            self._sender.send(pb_utils.InferenceResponse(error=_triton_error(error)), flags=flags)
        elif tensors is not None:
            outputs = [pb_utils.Tensor(name, array) for name, array in tensors.items()]
            self._sender.send(pb_utils.InferenceResponse(output_tensors=outputs), flags=flags)
        else:
            self._sender.send(flags=flags)


def _triton_error(error: RequestError) -> Any:
    # Half of a surrogate pair, which JSON can say and UTF-8 cannot, may come from a name that the message repeats.
    message = str(error).encode("utf-8", "replace").decode()
    return pb_utils.TritonError(message, getattr(pb_utils.TritonError, error.code))


@dataclass(slots=True)
class _Item:
    job: Job
    tensors: Tensors | None
    error: RequestError | None
    final: bool
    sent: asyncio.Future[None]


class ResponseSender:
    """Sends responses from a thread; whole batches cross between the thread and the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[_Item] = []
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="responses", daemon=True)
        self._thread.start()

    def send(self, job: Job, tensors: Tensors | None = None, *, error: RequestError | None = None, final: bool) -> Any:
        """Queue a response; the future is done when tritonserver has it. Only from the loop."""
        item = _Item(job, tensors, error, final, self._loop.create_future())
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(item)
        return item.sent

    def cancelled(self, jobs: list[Job]) -> asyncio.Future[list[Job]]:
        """Those of the jobs whose clients have gone away. Only from the loop."""
        found = self._loop.create_future()
        self._work.put(functools.partial(self._ask, jobs, found))
        return found

    def close(self) -> None:
        """Send what is queued and end the thread."""
        self._work.put(None)
        self._thread.join(timeout=5)

    def _flush(self) -> None:
        batch, self._waiting = self._waiting, []
        self._work.put(functools.partial(self._send_all, batch))

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    def _send_all(self, batch: list[_Item]) -> None:
        failures = [self._send(item) for item in batch]
        self._loop.call_soon_threadsafe(_done, batch, failures)

    def _ask(self, jobs: list[Job], found: asyncio.Future[list[Job]]) -> None:
        gone = [job for job in jobs if job.cancelled()]
        self._loop.call_soon_threadsafe(_answer, found, gone)

    def _send(self, item: _Item) -> Exception | None:
        try:
            item.job.send(item.tensors, item.error, item.final)
        except Exception as error:
            logger.exception("failed to send a response")
            return error
        return None


def _answer(found: asyncio.Future[list[Job]], gone: list[Job]) -> None:
    if not found.done():
        found.set_result(gone)


def _done(batch: list[_Item], failures: list[Exception | None]) -> None:
    for item, failure in zip(batch, failures, strict=True):
        if item.sent.done():
            continue
        if failure is None:
            item.sent.set_result(None)
        else:
            item.sent.set_exception(failure)


def make_family(name: str, gauge: bool, description: str) -> Callable[[dict[str, str]], Any]:
    """A family of Triton's custom metrics; the result makes one of its series."""
    kind = pb_utils.MetricFamily.GAUGE if gauge else pb_utils.MetricFamily.COUNTER
    family = pb_utils.MetricFamily(name=name, description=description, kind=kind)
    return lambda labels: family.Metric(labels=labels)


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
