"""The proof that an engine can do what requests may ask of it, made once, before the model is ready.

Which kernels a request needs depends on what it asks for. Most are compiled or loaded when the first request asks: an
engine that answers a greedy request can die of the first one with ``top_p``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

logger = logging.getLogger("triton_vllm")

GREEDY = {"temperature": 0.0}
# What it is called in the report -> sampling parameters by vLLM's names. All run in one batch.
KINDS: Mapping[str, Mapping[str, Any]] = {
    "greedy": GREEDY,
    "top-p and top-k": {"temperature": 1.0, "top_p": 0.9, "top_k": 20},
    "top-p": {"temperature": 1.0, "top_p": 0.9},
    "top-k": {"temperature": 1.0, "top_k": 20},
    "min-p": {"temperature": 1.0, "min_p": 0.1},
    "seed": {"temperature": 1.0, "top_p": 0.9, "seed": 1},
    "logprobs": {**GREEDY, "logprobs": 1},
    "penalties": {"temperature": 1.0, "presence_penalty": 0.1, "frequency_penalty": 0.1, "repetition_penalty": 1.1},
    "logit bias": {**GREEDY, "logit_bias": {5: 1.0}},
}
GRAMMAR = "grammar"
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

    proven: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    batch: int = 0

    def facts(self) -> dict[str, Any]:
        """For the report."""
        return {"proven": self.proven, "batch": self.batch, **({"refused": self.refused} if self.refused else {})}


async def prove(engine: Any, prompt: Any, adapters: Mapping[str, str]) -> Proof:
    """Ask for every kind at once, beside as many greedy requests as the longest batch with a CUDA graph has.

    ``prompt``: any; ``adapters``: name -> path. Raises the engine's error when one of them ends the engine or fails for
    another reason than that the engine does not offer it.
    """
    requests = list(_requests(adapters, grammar_parameters()))
    longest = longest_batch(engine.vllm_config)
    requests += [Request("batch", GREEDY)] * max(0, longest - len(requests))
    outcomes = await asyncio.gather(
        *(_ask(engine, prompt, each, f"proof-{number}") for number, each in enumerate(requests)), return_exceptions=True
    )
    return judge(requests, outcomes, longest)


def judge(requests: Sequence[Request], outcomes: Sequence[BaseException | None], longest: int) -> Proof:
    """The proof from what became of each request: None, or its error. Raises an error that is not a refusal."""
    proof = Proof(batch=longest)
    for request, outcome in zip(requests, outcomes, strict=True):
        if outcome is None:
            if request.kind not in proof.proven:
                proof.proven.append(request.kind)
        elif isinstance(outcome, (ValueError, NotImplementedError)) and request.kind not in ("greedy", "batch"):
            proof.refused[request.kind] = str(outcome)[:200]
        else:
            raise outcome
    return proof


def longest_batch(config: Any) -> int:
    """Sequences in the longest batch for which the engine captures a CUDA graph; 0 without graphs."""
    sizes = config.compilation_config.cudagraph_capture_sizes or []
    return int(min(max(sizes, default=0), config.scheduler_config.max_num_seqs))


def grammar_parameters() -> Any:
    """What vLLM takes for a request whose answer must be one of two words."""
    from vllm.sampling_params import StructuredOutputsParams

    return StructuredOutputsParams(choice=["yes", "no"])


def _requests(adapters: Mapping[str, str], grammar: Any) -> Iterator[Request]:
    for kind, sampling in KINDS.items():
        yield Request(kind, sampling)
    yield Request(GRAMMAR, {**GREEDY, "structured_outputs": grammar})
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
            raise ValueError("the engine gave the request up")
