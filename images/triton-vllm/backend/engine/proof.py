"""The proof that an engine can do what requests may ask of it, made once, before the model is ready.

Which kernels a request needs depends on its parameters. Many are compiled or loaded for the first such request: an
engine that answers a greedy request can die of the first one with `top_p`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

logger = logging.getLogger("triton_vllm")

GREEDY = {"temperature": 0.0}
GREEDY_KIND = "greedy"
# What it is called in the report -> sampling parameters by vLLM's names.
KINDS: Mapping[str, Mapping[str, Any]] = {
    GREEDY_KIND: GREEDY,
    "top-p and top-k": {"temperature": 1.0, "top_p": 0.9, "top_k": 20},
    "top-p": {"temperature": 1.0, "top_p": 0.9},
    "top-k": {"temperature": 1.0, "top_k": 20},
    "min-p": {"temperature": 1.0, "min_p": 0.1},
    "seed": {"temperature": 1.0, "top_p": 0.9, "seed": 1},
    "logprobs": {**GREEDY, "logprobs": 1},
    "penalties": {"temperature": 1.0, "presence_penalty": 0.1, "frequency_penalty": 0.1, "repetition_penalty": 1.1},
    "logit bias": {**GREEDY, "logit_bias": {5: 1.0}},
}
GRAMMAR, BATCH = "grammar", "batch"
# Two tokens: the first ends the prompt's step, the second is decoded.
TOKENS = 2


@dataclass(slots=True)
class Request:
    """One request of the proof: what is asked, and the adapter that is used."""

    kind: str
    sampling: Mapping[str, Any]
    adapter: Any | None = None


@dataclass(slots=True)
class Proof:
    """What was answered, and which kinds the engine refuses, with its reason: they cannot harm it."""

    # Kind -> seconds.
    proven: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    batch: int = 0

    def facts(self) -> dict[str, Any]:
        """For the report."""
        return {"proven": self.proven, "batch": self.batch, **({"refused": self.refused} if self.refused else {})}

    def take(self, kind: str, seconds: float, error: BaseException | None) -> None:
        """Note what became of a request. Raises its error, unless the engine refuses what not every engine offers."""
        if error is None:
            self.proven[kind] = round(seconds, 2)
        elif isinstance(error, (ValueError, NotImplementedError)) and kind not in (GREEDY_KIND, BATCH):
            self.refused[kind] = str(error)[:200]
        else:
            raise error


async def prove(engine: Any, prompt: Any, adapters: Mapping[str, str]) -> Proof:
    """Ask for every kind, one after another, and for as many greedy answers at once as the longest batch with a CUDA
    graph has. The grammar is compiled meanwhile.

    `prompt`: any; `adapters`: name -> path. Raises the engine's error when one of them ends the engine or fails for
    another reason than that the engine does not offer it.
    """
    proof = Proof(batch=longest_batch(engine.vllm_config))
    compiled = asyncio.ensure_future(_timed(engine, prompt, [Request(GRAMMAR, grammar_sampling())]))
    for request in _requests(adapters):
        proof.take(request.kind, *await _timed(engine, prompt, [request]))
    if proof.batch:
        proof.take(BATCH, *await _timed(engine, prompt, [Request(BATCH, GREEDY)] * proof.batch))
    proof.take(GRAMMAR, *await compiled)
    return proof


async def _timed(engine: Any, prompt: Any, requests: Sequence[Request]) -> tuple[float, BaseException | None]:
    """Seconds until all are answered, and the first error of one of them."""
    begun = time.monotonic()
    asked = (_ask(engine, prompt, each, f"proof-{each.kind}-{number}") for number, each in enumerate(requests))
    errors = [one for one in await asyncio.gather(*asked, return_exceptions=True) if one is not None]
    return time.monotonic() - begun, errors[0] if errors else None


def longest_batch(config: Any) -> int:
    """Sequences in the longest batch for which the engine captures a CUDA graph; 0 without graphs."""
    sizes = config.compilation_config.cudagraph_capture_sizes or []
    return int(min(max(sizes, default=0), config.scheduler_config.max_num_seqs))


def grammar_sampling() -> dict[str, Any]:
    """Sampling parameters of a request whose answer must be one of two words."""
    from vllm.sampling_params import StructuredOutputsParams

    return {**GREEDY, "structured_outputs": StructuredOutputsParams(choice=["yes", "no"])}


def _requests(adapters: Mapping[str, str]) -> Iterator[Request]:
    for kind, sampling in KINDS.items():
        yield Request(kind, sampling)
    if adapters:
        from vllm.lora.request import LoRARequest

        for number, (name, path) in enumerate(adapters.items(), start=1):
            yield Request(f"adapter {name}", GREEDY, LoRARequest(name, number, path))


async def _ask(engine: Any, prompt: Any, request: Request, request_id: str) -> None:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    params = SamplingParams(
        max_tokens=TOKENS, ignore_eos=True, output_kind=RequestOutputKind.FINAL_ONLY, **request.sampling
    )
    async for output in engine.generate(prompt, params, request_id, lora_request=request.adapter):
        if any(completion.finish_reason == "error" for completion in output.outputs):
            raise ValueError("the engine failed the request")
