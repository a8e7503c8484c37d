"""Bytes of weights on each pipeline stage's first rank: ours, and what the engine's model classes allocate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from packaging.version import Version

from triton_vllm_operator.catalog.versions import parse_vllm_version

from .engine import Answered, our_weights, our_weights_of_tensors
from .families import FAMILIES, MORE_ARCHITECTURES

#: An MTP layer shares tables with its model.
NOT_FROM_CONFIG = frozenset({"mtp_mla", "mtp_delta"})
#: Architectures whose class changed, with the version whose class the planner's table describes.
SINCE = {"gpt_neox": Version("0.32.0")}
COMPARED = sorted((set(FAMILIES) | set(MORE_ARCHITECTURES)) - NOT_FROM_CONFIG)


@pytest.mark.parametrize("family", COMPARED)
def test_weights_equal_what_the_engines_class_allocates(
    family: str, of_family: Callable[[str], list[Answered]]
) -> None:
    differences = [found for one in of_family(family) if current(one) for found in differing(one)]
    assert not differences, differences[:3]


def current(one: Answered) -> bool:
    """Whether this version's class is the one that the planner's table describes."""
    return parse_vllm_version(one.answer["version"]) >= SINCE.get(one.case["family"], Version("0"))


def differing(one: Answered) -> list[dict[str, Any]]:
    """The stages' bytes when ours are not the engine's."""
    ours, theirs = our_weights(one.case), one.answer["weights"]
    if ours == theirs:
        return []
    return [{"case": one.case["id"], "tp": one.case["tp"], "pp": one.case["pp"], "vllm": theirs, "us": ours}]


@pytest.mark.parametrize("family", sorted(MORE_ARCHITECTURES))
def test_weights_from_the_checkpoints_tensors_are_the_same(
    family: str, of_family: Callable[[str], list[Answered]]
) -> None:
    known = [one for one in of_family(family) if current(one)]
    tensors: list[list[Any]] = next((one.answer["tensors"] for one in known if one.case["tensors"]), [])
    differences = [
        (one.case["id"], one.answer["weights"], ours)
        for one in known
        if (ours := our_weights_of_tensors(one.case, tensors)) != one.answer["weights"]
    ]
    assert not differences
    assert tensors or family in SINCE


def test_at_least_twenty_architectures_are_compared(answers: list[Answered]) -> None:
    built = {one.case["config"]["architectures"][0] for one in answers if one.case["family"] in COMPARED}
    assert len(built) >= 20
