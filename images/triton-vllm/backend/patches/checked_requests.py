"""Check each request as the engine core will read it, before it leaves this process.

Changes: `add_request` of the output processor of an AsyncLLM. Every request of every task and protocol passes it just
before it is sent, and one that it raises for is neither registered nor sent.

Why: the engine core decodes requests in a thread that a value of the wrong type ends, such as a boolean among token
ids: it then receives nothing more, and every client waits until the image gives it up. Its workers keep sampling
parameters in arrays of fixed sizes and 32 or 64 bits, and index the model's embeddings by token ids; a number that does
not fit ends them. vLLM checks most of these values where a request comes in, but not all, and not on every way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from backend.patches.upstream import Target, Upstream

# Sizes of the arrays in which a worker on GPUs keeps a request's parameters.
MAX_ALLOWED_TOKEN_IDS = 1024
MAX_LOGIT_BIAS = 1024
MAX_STOP_TOKEN_IDS = 128
# Children of a request have its seed and their index.
SEEDS = range(-(2**63), 2**63)
# min_tokens of a request that sets none. In a body it would have to be at most what the prompt leaves of the context,
# which only vLLM knows.
DEFAULT_MIN_TOKENS: ContextVar[int] = ContextVar("default_min_tokens", default=0)
# Whether the model's reasoning comes before what a grammar is for: where the protocol separates the two. Elsewhere
# vLLM would let a model with a reasoning parser generate without the grammar until it has ended its reasoning.
MAY_REASON: ContextVar[bool] = ContextVar("may_reason", default=False)
# vLLM ignores a priority where requests are run in the order of their arrival.
NO_PRIORITIES = (
    "'priority' must be 0: the engine runs requests in the order of their arrival. "
    "Leave it out, or set scheduling_policy: priority in the engine's arguments (spec.engine.extraArgs)"
)
# Parameters for a connector to another engine, which vLLM ignores where there is none.
TRANSFERS = ("kv_transfer_params", "ec_transfer_params")
SAMPLER = "vllm.v1.worker.gpu.sample"
UPSTREAM = Upstream(
    (
        Target("vllm.v1.engine.output_processor", "OutputProcessor.add_request", parameters=("request",)),
        Target(
            "vllm.v1.engine.async_llm",
            "AsyncLLM._add_request",
            source=("self.output_processor.add_request(request, prompt, parent_req, index, queue)",),
        ),
        Target("vllm.v1.engine", "EngineCoreRequest.reasoning_ended"),
        Target("vllm.v1.engine", "EngineCoreRequest.priority"),
        Target("vllm.config.scheduler", "SchedulerConfig.policy"),
        Target("vllm.config.vllm", "VllmConfig.kv_transfer_config"),
        Target("vllm.config.vllm", "VllmConfig.ec_transfer_config"),
        Target("vllm.v1.engine.core", "EngineCoreProc.process_input_sockets", source=("MsgpackDecoder",)),
        Target(f"{SAMPLER}.logit_bias", source=(f"MAX_NUM_ALLOWED_TOKEN_IDS = {MAX_ALLOWED_TOKEN_IDS}",)),
        Target(f"{SAMPLER}.logit_bias", source=(f"MAX_NUM_LOGIT_BIAS_TOKENS = {MAX_LOGIT_BIAS}",)),
        Target(f"{SAMPLER}.logit_bias", source=(f"MAX_NUM_STOP_TOKEN_IDS = {MAX_STOP_TOKEN_IDS}",)),
        Target("vllm.envs", "VLLM_MAX_BAD_WORDS_TOTAL_TOKENS"),
        Target("vllm.exceptions", "VLLMClientError"),
    )
)


def install(engine: Any) -> None:
    """Check every request of an AsyncLLM from now on."""
    from vllm.exceptions import VLLMClientError

    processor = engine.output_processor
    check, add = RequestCheck.of(engine), processor.add_request

    def add_request(request: Any, *args: Any, **kwargs: Any) -> Any:
        if problem := check.problem(request):
            raise VLLMClientError(problem)
        return add(request, *args, **kwargs)

    processor.add_request = add_request


@dataclass(frozen=True, slots=True)
class RequestCheck:
    """What is wrong with a request for the engine core.

    `encode`, `decode`: as the two processes do; `max_bad_word_tokens`: of all bad words of a request;
    `prompt_logprobs`: whether the engine has them. On a CPU they break the kernels of an engine with LoRA.
    `priorities`: whether it schedules requests by their priority; `transfers`: whether it sends anything of a request
    to another engine.
    """

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    vocabulary: int
    max_model_len: int
    max_bad_word_tokens: int
    prompt_logprobs: bool = True
    priorities: bool = False
    transfers: bool = False

    @classmethod
    def of(cls, engine: Any) -> RequestCheck:
        """The check for the requests of an AsyncLLM."""
        from vllm import envs
        from vllm.v1.engine import EngineCoreRequest
        from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder

        config = engine.vllm_config
        model = config.model_config
        return cls(
            MsgpackEncoder().encode,
            MsgpackDecoder(EngineCoreRequest).decode,
            model.get_vocab_size(),
            model.max_model_len,
            envs.VLLM_MAX_BAD_WORDS_TOTAL_TOKENS,
            config.lora_config is None or config.device_config.device_type != "cpu",
            config.scheduler_config.policy == "priority",
            config.kv_transfer_config is not None or config.ec_transfer_config is not None,
        )

    def problem(self, request: Any) -> str:
        """Return why the engine core would not survive a request, in words for its client; "" if it would.

        Numbers of tokens beyond the context become the context's: they mean the same.
        """
        if request.sampling_params is not None:
            self._bound_lengths(request.sampling_params)
            if request.sampling_params.structured_outputs is not None and not MAY_REASON.get():
                request.reasoning_ended = True
        try:
            self.decode(self.encode(request))
        except RecursionError:
            return "a parameter is nested too deeply"
        except (OverflowError, UnicodeError):
            return "a parameter is too large, or a string is not valid Unicode"
        except (TypeError, ValueError) as error:
            return f"a parameter has the wrong type: {_named(str(error), request)}"
        return next(self._values(request), "")

    def _bound_lengths(self, params: Any) -> None:
        params.max_tokens = min(params.max_tokens, self.max_model_len)
        params.min_tokens = params.min_tokens or DEFAULT_MIN_TOKENS.get()
        params.min_tokens = min(params.min_tokens, params.max_tokens)

    def _values(self, request: Any) -> Iterator[str]:
        unknown = self._unknown_token(request)
        if unknown is not None:
            yield f"token id {unknown} is out of the model's vocabulary of {self.vocabulary} tokens"
        if request.priority and not self.priorities:
            # Of pooling too, and in the header X-Vllm-Priority.
            yield NO_PRIORITIES
        params = request.sampling_params
        if params is None:
            return
        for name in TRANSFERS:
            if (params.extra_args or {}).get(name) and not self.transfers:
                yield f"{name} does not apply: the engine has no connector to another one. Leave it out"
        if params.seed is not None and params.seed not in SEEDS:
            yield "seed must be within 64 bits, also when the number of each of 'n' sequences is added to it"
        if params.prompt_logprobs is not None and not self.prompt_logprobs:
            yield "prompt_logprobs and echo with logprobs are not available on a CPU engine with LoRA adapters"
        yield from _too_many("allowed_token_ids", len(params.allowed_token_ids or ()), MAX_ALLOWED_TOKEN_IDS)
        yield from _too_many("logit_bias", len(params.logit_bias or ()), MAX_LOGIT_BIAS)
        if params.min_tokens > 0:
            number = len(params.all_stop_token_ids)
            yield from _too_many("stop_token_ids with min_tokens", number, MAX_STOP_TOKEN_IDS)
        tokens = sum(len(word) for word in params.bad_words_token_ids or ())
        yield from _too_many("bad_words", tokens, self.max_bad_word_tokens, "tokens")

    def _unknown_token(self, request: Any) -> int | None:
        """Return a token id of the prompt that the model has no embedding for.

        The places of images and the like have ids of their own, which are never looked up.
        """
        tokens = request.prompt_token_ids
        if not tokens or (min(tokens) >= 0 and max(tokens) < self.vocabulary):
            return None
        seen = [feature.mm_position for feature in request.mm_features or ()]
        places = {place for each in seen for place in range(each.offset, each.offset + each.length)}
        unknown = (token for place, token in enumerate(tokens) if place not in places)
        return next((token for token in unknown if not 0 <= token < self.vocabulary), None)


def _too_many(name: str, number: int, limit: int, what: str = "entries") -> Iterator[str]:
    if number > limit:
        yield f"{name} has {number} {what}; the maximum is {limit}"


def _named(message: str, request: Any) -> str:
    """Return an error of the decoder with the field's name instead of its number."""
    found = re.search(r"\$\[(\d+)\]", message)
    if found is None:
        return message
    return message.replace(found[0], str(request.__struct_fields__[int(found[1])]))
