"""From a request's tensors to the engine and back."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import Any, Protocol

from backend.engine.sampling_parameters import Sampling, SamplingRules, parameter_fields, typed_settings
from backend.engine.startup_checks import Answer, Generate
from backend.errors import BadRequest, Cancelled, RequestError, Unavailable
from backend.openai.client_errors import GRAMMAR_MESSAGE, unreadable_request
from backend.settings import BadModel, ModelSettings
from backend.triton.embedding import EmbeddingRequest, read_embedding_inputs, read_embedding_request
from backend.triton.inputs import Inputs, open_images, read_inputs, read_text, read_timeout
from backend.triton.outputs import build_embedding_tensors, build_tensors
from backend.triton.stream_pacing import StreamPacer
from contract import files
from contract.startup_checks import StartupCheck

logger = logging.getLogger("triton_vllm")
STOPPING = "Model is unavailable: it is being unloaded"
EXPIRED = "Model is unavailable: the server is stopping, and the time to finish requests is over"
UNHEALTHY = "Model is unavailable due to unhealthy vLLM engine"


class Job(Protocol):
    """One request (`bridge.Job` in the server)."""

    task: asyncio.Task[None] | None

    def read(self, name: str) -> Any | None: ...

    def parameters(self) -> str: ...

    def timeout(self) -> int: ...


class Sender(Protocol):
    """Where responses go (`bridge.ResponseSender` in the server)."""

    def send(
        self, job: Any, tensors: Any = None, *, error: RequestError | None = None, final: bool
    ) -> asyncio.Future[None]: ...


class Service:
    """Answers the requests of one model. `threads`: that the container can run at once."""

    def __init__(
        self,
        engine: Any,
        rules: SamplingRules,
        settings: ModelSettings,
        outbox: Sender,
        tasks: tuple[str, ...],
        threads: int,
    ) -> None:
        self.engine = engine
        self._pacer = StreamPacer(threads)
        self._tasks = tasks
        # What requests get that come too late, and what those get that are ended.
        self._closed: RequestError | None = None
        self._failure: RequestError | None = None
        self.active: set[Any] = set()
        self._rules = rules
        self._settings = settings
        self._outbox = outbox
        self._numbers = itertools.count()
        self._adapters = {name: index for index, name in enumerate(settings.loras, start=1)}
        self._lora_enabled = engine.vllm_config.lora_config is not None

    def accept(self, jobs: list[Any]) -> None:
        """Start answering. Only from the loop."""
        for job in jobs:
            self.active.add(job)
            job.task = asyncio.create_task(self._answer(job))

    def cancel(self, job: Any) -> None:
        """Stop answering a request whose client is gone."""
        if job.task is not None:
            job.task.cancel()

    async def fail_all(self, error: RequestError) -> None:
        """Answer every request with `error`, those that come later too. Returns when the answers are sent."""
        self._closed = self._failure = error
        tasks = [job.task for job in self.active]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def drain(self) -> None:
        """Take no more requests; returns when those that run are answered."""
        self._closed = self._closed or Unavailable(STOPPING)
        if self.active:
            logger.warning("waiting for %d requests before the engine stops", len(self.active))
        await asyncio.gather(*(job.task for job in self.active), return_exceptions=True)

    async def _answer(self, job: Any) -> None:
        if self._closed is not None:
            await self._fail(job, self._closed)
            self.active.discard(job)
            return
        seconds = self._settings.limits.request_timeout_seconds
        try:
            own = read_timeout(job.parameters(), job.timeout())
            seconds = min(filter(None, (seconds, own)), default=0)
            async with asyncio.timeout(seconds or None):
                await self._serve(job)
        except TimeoutError:
            await self._fail(job, Cancelled(f"the request took longer than its limit of {seconds:g} seconds"))
        except asyncio.CancelledError:
            await self._fail(job, self._failure or Cancelled("Request was cancelled"))
        except Exception as error:  # noqa: BLE001 - each becomes the answer; as_request_error logs what is our fault
            await self._fail(job, as_request_error(error))
        finally:
            self.active.discard(job)

    async def _fail(self, job: Any, error: RequestError) -> None:
        await self._outbox.send(job, error=error, final=True)

    async def _serve(self, job: Any) -> None:
        if (embedding := read_text(job.read, "embedding_request")) is not None:
            if "embed" not in self._tasks:
                raise BadRequest(
                    "embedding_request: the model does not support embeddings; supported tasks: "
                    + ", ".join(self._tasks)
                )
            context = self.engine.model_config.max_model_len
            await self._embed(job, read_embedding_request(embedding, self._settings.limits, context))
            return
        if "generate" not in self._tasks:
            raise BadRequest(
                "the model does not generate text: use embedding_request; supported tasks: " + ", ".join(self._tasks)
            )
        inputs = read_inputs(job.read, job.parameters(), self._settings.limits)
        sampling = self._rules.build(inputs.sampling, as_text=inputs.sampling_as_text)
        await self._generate(job, inputs, sampling)

    async def _generate(self, job: Any, inputs: Inputs, sampling: Sampling) -> None:
        if inputs.requested.cumulative_logprob and sampling.values.get("logprobs") is None:
            # The engine adds up what it is asked for: that of the tokens it has chosen.
            sampling.values["logprobs"] = 0
        params = _sampling_params(sampling, inputs.stream)
        outputs = self.engine.generate(
            await self._prompt(inputs),
            params,
            self._request_id(),
            lora_request=self._lora_request(sampling.lora_name),
            tokenization_kwargs=sampling.tokenization,
            priority=sampling.priority,
        )
        if inputs.stream:
            outputs = self._pacer.keep(outputs)
        prepend = inputs.text if inputs.prepend_input else ""
        async for output in outputs:
            if any(completion.finish_reason == "error" for completion in output.outputs):
                raise _given_up(params)
            tensors = build_tensors(output, params.n, inputs.requested, prepend)
            await self._outbox.send(job, tensors, final=output.finished)

    async def _embed(self, job: Any, request: EmbeddingRequest) -> None:
        from vllm import PoolingParams
        from vllm.outputs import EmbeddingRequestOutput

        requested = read_embedding_inputs(job.read, job.parameters())
        params = PoolingParams(task="embed", **request.pooling)
        asked = {"tokenization_kwargs": request.tokenization, "priority": request.priority}
        async for output in self.engine.encode(request.prompt, params, self._request_id(), **asked):
            vector = EmbeddingRequestOutput.from_base(output)
            tensors = build_embedding_tensors(vector.outputs.embedding, len(output.prompt_token_ids), requested)
            await self._outbox.send(job, tensors, final=True)

    async def _prompt(self, inputs: Inputs) -> Any:
        if not inputs.images:
            return {"prompt": inputs.text}
        if not self.engine.model_config.is_multimodal_model:
            raise BadRequest("input 'image' does not apply: the model reads text only. Leave it out")
        # Large images take seconds, in which other requests go on.
        images = await asyncio.to_thread(open_images, inputs.images)
        return {"prompt": inputs.text, "multi_modal_data": {"image": images}}

    def _request_id(self) -> str:
        return f"triton-{next(self._numbers)}"

    def _lora_request(self, name: str | None) -> Any | None:
        if name is None:
            return None
        if not self._lora_enabled:
            raise BadRequest("LoRA feature is not enabled.")
        if name not in self._adapters:
            raise BadRequest(f"LoRA {name} is not supported, we currently support {list(self._adapters)}")
        from vllm.lora.request import LoRARequest

        return LoRARequest(name, self._adapters[name], self._settings.loras[name])


def sampling_rules(engine: Any, settings: ModelSettings) -> SamplingRules:
    """The rules of a model, tried once: defaults or a profile that the engine refuses would refuse every request.

    Raises BadModel.
    """
    from vllm import SamplingParams

    fields = parameter_fields(SamplingParams)
    rules = SamplingRules(
        fields=fields,
        settings=typed_settings(settings.sampling, fields),
        limits=settings.limits,
        model_defaults=engine.model_config.get_diff_sampling_param(),
        context=engine.model_config.max_model_len,
        watermarks=getattr(engine.vllm_config, "watermark_config", None) is not None,
        priorities=engine.vllm_config.scheduler_config.policy == "priority",
    )
    for profile in (None, *settings.sampling.profiles):
        try:
            _sampling_params(rules.build({"profile": profile}), stream=False)
        except BadRequest as error:
            where = "defaults" if profile is None else f"profile {profile!r}"
            raise BadModel(f"{files.SAMPLING}: {where}: {error}") from None
    return rules


def check_generator(engine: Any, rules: SamplingRules) -> Generate:
    """Return what answers a startup check: greedily, else as a request that sets nothing.

    It raises BadModel where the engine refuses the request, as with a prompt that is too long.
    """

    async def generate(check: StartupCheck, request_id: str) -> Answer:
        try:
            params = _sampling_params(rules.build({"temperature": 0, "max_tokens": check.max_tokens}), stream=False)
            async for output in engine.generate({"prompt": check.prompt}, params, request_id):
                answer = output.outputs[0]
        except Exception as error:
            if isinstance(error, BadRequest) or _is_clients_fault(error):
                raise BadModel(f"{files.CHECKS}: {request_id}: {error}") from None
            raise
        if answer.finish_reason == "error":
            raise _given_up(params)
        return Answer(answer.text, len(answer.token_ids))

    return generate


def _sampling_params(sampling: Sampling, stream: bool) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    kind = RequestOutputKind.DELTA if stream else RequestOutputKind.FINAL_ONLY
    try:
        return SamplingParams(**sampling.values, output_kind=kind, skip_clone=True)
    except Exception as error:
        if isinstance(error, TypeError) or _is_clients_fault(error):
            raise BadRequest(f"invalid sampling parameters: {error}") from None
        raise


def _given_up(params: Any) -> RequestError:
    """Why the engine ended a request without a word: a grammar that its check took and its compiler refuses."""
    if params.structured_outputs is not None:
        return BadRequest(GRAMMAR_MESSAGE)
    return RequestError("the engine failed the request; see its log lines")


def as_request_error(error: Exception) -> RequestError:
    """Return the error that a client receives for an exception. Only a fault of ours or the engine's is logged."""
    from vllm.v1.engine.exceptions import EngineDeadError

    if isinstance(error, RequestError):
        return error
    if isinstance(error, EngineDeadError):
        return Unavailable(UNHEALTHY)
    if type(error).__name__ in ("QueueOverflowError", "MaxQueuedTokensError"):
        return Unavailable(f"the engine's queue is full: {error}")
    if _is_clients_fault(error):
        return BadRequest(str(error))
    if unreadable := unreadable_request(error):
        return BadRequest(unreadable)
    logger.error("request failed", exc_info=error)
    return RequestError(f"Error generating stream: {error}")


def _is_clients_fault(error: Exception) -> bool:
    return isinstance(error, ValueError) or any(base.__name__ == "VLLMClientError" for base in type(error).__mro__)
