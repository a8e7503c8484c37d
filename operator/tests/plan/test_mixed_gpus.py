"""The choice among GPU classes: which plan is shown, the verdict on all of them, and what is configured for them."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tests.builders.deployments import A10, H100, H200, LLAMA_8B, LLAMA_70B, T4, decided, node
from triton_vllm_operator.capacity import GPUClass, Plan, gpu_of_memory
from triton_vllm_operator.plan.mixed_gpus import combined_verdict, representative

FITS, TIGHT, NO = "Fits", "Tight", "DoesNotFit"


class Verdict:
    """As much of a plan as the choice reads."""

    def __init__(self, verdict: str) -> None:
        self.verdict = verdict
        self.message = f"the {verdict} sentence"


def plans(verdicts: dict[int, str]) -> list[tuple[GPUClass, Plan]]:
    """Plans by the memory of the class in GiB."""
    return [(gpu_of_memory(float(size)), cast(Plan, Verdict(verdict))) for size, verdict in verdicts.items()]


def size_of(gpu: GPUClass) -> int:
    return round(gpu.memory_bytes / 2**30)


@pytest.mark.parametrize(
    ("verdicts", "shown"),
    [
        ({24: FITS, 80: FITS}, 24),
        ({80: FITS, 24: FITS}, 24),
        ({24: FITS, 48: FITS, 80: FITS}, 24),
        ({24: TIGHT, 80: TIGHT}, 24),
        ({24: TIGHT, 80: FITS}, 80),
        ({24: TIGHT, 48: FITS, 80: FITS}, 48),
        ({24: FITS, 80: TIGHT}, 24),
        ({24: NO, 80: FITS}, 80),
        ({24: NO, 80: TIGHT}, 80),
        ({16: NO, 24: TIGHT, 80: FITS}, 80),
        ({16: NO, 24: TIGHT, 80: TIGHT}, 24),
        ({24: NO, 80: NO}, 80),
        ({80: NO, 24: NO}, 80),
    ],
    ids=str,
)
def test_the_smallest_class_that_fits_is_shown_else_the_largest(verdicts: dict[int, str], shown: int) -> None:
    gpu, plan = representative(plans(verdicts))
    assert size_of(gpu) == shown
    assert plan.verdict == verdicts[shown]


@pytest.mark.parametrize("verdict", [FITS, TIGHT, NO])
def test_classes_that_agree_keep_the_verdict_of_the_shown_one(verdict: str) -> None:
    both = plans({24: verdict, 80: verdict})
    assert combined_verdict(both, representative(both)[0]) == {}


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        ({24: TIGHT, 80: FITS}, ["It fits on some GPUs that a pod may land on. On ", "24", "the Tight sentence."]),
        ({24: NO, 80: FITS}, ["A pod may land on ", "24", "does not fit: the DoesNotFit sentence. It fits on", "80"]),
        ({24: NO, 80: TIGHT}, ["A pod may land on ", "24", "the DoesNotFit sentence. It is tight on", "80"]),
        ({16: NO, 24: TIGHT, 80: FITS}, ["A pod may land on ", "16", "It fits on", "80"]),
    ],
    ids=str,
)
def test_classes_that_differ_are_tight_and_the_failing_one_is_named(verdicts: dict[int, str], words: list[str]) -> None:
    mixed = plans(verdicts)
    found = combined_verdict(mixed, representative(mixed)[0])
    assert (found["verdict"], found["reason"]) == (TIGHT, "DependsOnGPU")
    place = 0
    for word in words:
        assert word in found["message"][place:], found["message"]
        place = found["message"].index(word, place)


@pytest.mark.parametrize(
    ("config", "cards", "spec", "shown"),
    [
        (LLAMA_8B, [H100, H200], {}, H100),
        (LLAMA_8B, [H200, H100], {}, H100),
        (LLAMA_8B, [A10, H100, H200], {"engine": {"tensorParallelSize": 2}}, A10),
        (LLAMA_8B, [T4, H100, H200], {"engine": {"tensorParallelSize": 1}}, H100),
        (LLAMA_70B, [A10, T4], {"engine": {"tensorParallelSize": 1}}, A10),
        (LLAMA_70B, [T4, A10], {"engine": {"tensorParallelSize": 1}}, A10),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_status_plan_promises_no_more_than_the_smallest_gpu_on_which_it_fits(
    config: dict[str, Any], cards: list[Any], spec: dict[str, Any], shown: Any
) -> None:
    found = decided(config, *(node(card, name=f"n{number}") for number, card in enumerate(cards)), **spec)
    assert found.plan.gpu == shown[0]
    alone = decided(config, node(shown), **spec)
    tokens = found.plan.kv_cache_tokens
    assert tokens == alone.plan.kv_cache_tokens


@pytest.mark.parametrize(
    ("cards", "like"),
    [([T4, H100], H100), ([H100, H200], H200), ([A10, T4], A10), ([T4, A10, H100, H200], H200)],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_a_large_model_is_configured_for_the_class_that_serves_it_with_the_fewest_gpus(
    cards: list[Any], like: Any
) -> None:
    nodes = [node(card, name=f"n{number}") for number, card in enumerate(cards)]
    assert decided(LLAMA_70B, *nodes).chosen == decided(LLAMA_70B, node(like)).chosen
