"""What the proof asks of an engine before its model is ready, and what becomes of each answer. A stand-in engine."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from backend.engine import async_llm as starts
from backend.engine import proof
from backend.engine.proof import BATCH, GRAMMAR, GREEDY_KIND, KINDS, TOKENS, longest_batch, prove

PROMPT = {"prompt_token_ids": [3]}


class EngineDeadError(Exception):
    """As vLLM's."""


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the proof takes of vLLM: classes that keep what they are given."""

    def module(name: str, **contents: Any) -> None:
        made = ModuleType(name)
        vars(made).update(contents)
        monkeypatch.setitem(sys.modules, name, made)

    module("vllm", SamplingParams=SimpleNamespace)
    module(
        "vllm.sampling_params",
        RequestOutputKind=SimpleNamespace(FINAL_ONLY="final"),
        StructuredOutputsParams=SimpleNamespace,
    )
    module("vllm.lora")
    module("vllm.lora.request", LoRARequest=lambda *values: values)


class Engine:
    """Answers every request but those of kinds that fail; keeps what it was asked."""

    def __init__(self, sizes: list[int] | None = None, sequences: int = 256, **failing: Exception | str) -> None:
        self.vllm_config = SimpleNamespace(
            compilation_config=SimpleNamespace(cudagraph_capture_sizes=sizes),
            scheduler_config=SimpleNamespace(max_num_seqs=sequences),
        )
        self.model_config = SimpleNamespace(hf_text_config=SimpleNamespace(eos_token_id=[3, 4]))
        self.failing = failing
        self.asked: list[Any] = []
        self.running = self.at_once = 0

    async def generate(self, prompt: Any, params: Any, request_id: str, lora_request: Any) -> AsyncIterator[Any]:
        self.asked.append(SimpleNamespace(prompt=prompt, params=params, id=request_id, adapter=lora_request))
        self.running += 1
        self.at_once = max(self.at_once, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        error = next((error for kind, error in self.failing.items() if f"proof-{kind}-" in request_id), None)
        if isinstance(error, Exception):
            raise error
        yield SimpleNamespace(outputs=[SimpleNamespace(finish_reason=error or "length")])


def failing(kind: str, error: Exception | str) -> Any:
    """A stand-in engine with CUDA graphs for which this kind fails."""
    return Engine([1, 2, 4], **{kind: error})


async def test_a_stand_in_engine_is_asked_for_every_kind() -> None:
    engine = Engine([1, 2, 4])
    proved = await prove(engine, PROMPT, {"poet": "/poet", "bard": "/bard"})
    kinds = {*KINDS, GRAMMAR, BATCH, "adapter poet", "adapter bard"}
    assert set(proved.proven) == kinds
    assert all(seconds >= 0 for seconds in proved.proven.values())
    assert proved.facts() == {"proven": proved.proven, "batch": 4}
    assert {one.id.split("-", 1)[1].rsplit("-", 1)[0] for one in engine.asked} == kinds
    ids = [one.id for one in engine.asked]
    assert len(set(ids)) == len(ids)
    for one in engine.asked:
        assert one.prompt == PROMPT
        # Not ended by chance at the first token: the second is decoded.
        assert (one.params.max_tokens, one.params.ignore_eos, one.params.output_kind) == (TOKENS, True, "final")


async def test_each_kind_asks_a_stand_in_engine_for_what_it_is_called() -> None:
    engine = Engine([1])
    await prove(engine, PROMPT, {"poet": "/poet", "bard": "/bard"})
    asked = {one.id.split("-", 1)[1].rsplit("-", 1)[0]: one for one in engine.asked}
    for kind, sampling in KINDS.items():
        assert vars(asked[kind].params).items() >= sampling.items()
        assert asked[kind].adapter is None
    assert vars(asked[GRAMMAR].params)["structured_outputs"].choice == ["yes", "no"]
    assert asked["adapter poet"].adapter == ("poet", 1, "/poet")
    assert asked["adapter bard"].adapter == ("bard", 2, "/bard")


def test_the_kinds_are_those_that_need_kernels_of_their_own() -> None:
    asked = {name for sampling in KINDS.values() for name in sampling}
    assert {"top_p", "top_k", "min_p", "seed", "logprobs", "presence_penalty", "logit_bias"} <= asked
    combined = [sampling for sampling in KINDS.values() if {"top_p", "top_k"} <= set(sampling)]
    alone = [{"top_p", "top_k"} & set(sampling) for sampling in KINDS.values()]
    assert combined
    assert {"top_p"} in alone
    assert {"top_k"} in alone
    assert KINDS[GREEDY_KIND] == {"temperature": 0.0}


async def test_the_longest_batch_is_asked_of_a_stand_in_engine_at_once() -> None:
    engine = Engine([1, 2, 4, 8])
    assert (await prove(engine, PROMPT, {})).batch == 8
    assert engine.at_once == 8


async def test_an_engine_without_graphs_is_asked_for_no_batch() -> None:
    proved = await prove(Engine(None), PROMPT, {})
    assert proved.batch == 0
    assert BATCH not in proved.proven


@pytest.mark.parametrize(
    ("sizes", "sequences", "longest"), [([1, 2, 512], 256, 256), ([1, 8], 256, 8), ([], 256, 0), (None, 256, 0)]
)
def test_longest_batch(sizes: list[int] | None, sequences: int, longest: int) -> None:
    assert longest_batch(Engine(sizes, sequences).vllm_config) == longest


@pytest.mark.parametrize("error", [ValueError("not with this engine"), NotImplementedError("not with this engine")])
@pytest.mark.parametrize("kind", ["min-p", GRAMMAR, "adapter poet"])
async def test_what_the_stand_in_engine_refuses_is_told_and_no_more(kind: str, error: Exception) -> None:
    proved = await prove(failing(kind, error), PROMPT, {"poet": "/poet"})
    assert proved.facts()["refused"] == {kind: "not with this engine"}
    assert kind not in proved.proven
    assert set(proved.proven) == {*KINDS, GRAMMAR, BATCH, "adapter poet"} - {kind}


async def test_a_long_refusal_is_cut() -> None:
    assert len((await prove(failing("seed", ValueError("x" * 999)), PROMPT, {})).refused["seed"]) == 200


@pytest.mark.parametrize("kind", [GREEDY_KIND, BATCH])
async def test_without_a_greedy_answer_the_proof_fails(kind: str) -> None:
    with pytest.raises(ValueError, match="no kernel"):
        await prove(failing(kind, ValueError("no kernel")), PROMPT, {})


@pytest.mark.parametrize("kind", [GREEDY_KIND, "top-p", GRAMMAR, BATCH])
async def test_an_engine_that_dies_fails_the_proof(kind: str) -> None:
    with pytest.raises(EngineDeadError):
        await prove(failing(kind, EngineDeadError()), PROMPT, {})


async def test_a_request_that_the_engine_gave_up_is_refused() -> None:
    proved = await prove(failing("top-p", "error"), PROMPT, {})
    assert proved.refused == {"top-p": "the engine failed the request"}


async def test_a_model_that_generates_nothing_is_not_asked() -> None:
    engine = Engine()
    assert await starts.prove_all(engine, ("embed",), {}) == {}
    assert engine.asked == []


async def test_the_prompt_is_no_end_of_a_sequence() -> None:
    engine = Engine()
    facts = await starts.prove_all(engine, ("generate",), {})
    assert set(facts["proven"]) == {*KINDS, GRAMMAR}
    assert {str(one.prompt) for one in engine.asked} == {str({"prompt_token_ids": [5]})}


def test_facts_without_a_refusal_have_none() -> None:
    assert proof.Proof().facts() == {"proven": {}, "batch": 0}
