"""A slice of the walk over vLLM's registry, in every run; `make oracle-walk` walks all of it."""

from __future__ import annotations

import runpy
from typing import Any

import pytest

from tests.oracle.answers import answers_of
from tests.oracle.conftest import ENVIRONMENT
from tests.oracle.real_configs import CONFIGS, FIELDS
from tests.oracle.walk import NO_CONFIG, PER_CASE, cases_of, judge
from triton_vllm_operator.catalog.architectures import table

#: One of each kind: dense, experts, windows, latent cache with an indexer, states, images.
SLICE = (
    "DeepseekV32ForCausalLM", "Gemma3ForConditionalGeneration", "Gemma4ForCausalLM", "Glm4MoeForCausalLM",
    "Llama4ForConditionalGeneration", "Ministral3ForCausalLM", "Qwen2VLForConditionalGeneration",
    "Qwen3_5ForConditionalGeneration",
)  # fmt: skip
#: What no engine has to be asked for.
MADE_UP: dict[str, Any] = {"architecture": "MadeUpForCausalLM"}


@pytest.fixture(scope="session")
def walked() -> dict[str, list[dict[str, Any]]]:
    """The newest engine's answers by architecture."""
    python = str(runpy.run_path(str(ENVIRONMENT))["ensure"]("cpu"))
    cases = [case for name in SLICE for case in cases_of(name)]
    found: dict[str, list[dict[str, Any]]] = {}
    for answer in answers_of(python, [*cases, MADE_UP], PER_CASE):
        found.setdefault(answer["architecture"], []).append(answer)
    return found


@pytest.mark.parametrize("architecture", SLICE)
def test_what_the_table_promises_is_what_the_engine_answers(
    architecture: str, walked: dict[str, list[dict[str, Any]]]
) -> None:
    findings = [judge(answer) for answer in walked[architecture]]
    planned = table().planned[architecture]
    assert {finding.model_type for finding in findings} <= set(planned)
    worse = [one for one in findings if one.proof != planned[one.model_type] and one.proof != "config"]
    assert worse == []
    assert len(findings) == 1 + len(CONFIGS.get(architecture, ()))


def test_an_architecture_that_the_engine_does_not_have_is_not_compared(walked: dict[str, list[dict[str, Any]]]) -> None:
    (finding,) = map(judge, walked["MadeUpForCausalLM"])
    assert (finding.proof, finding.why) == ("", NO_CONFIG)


def test_given_fields_are_of_architectures_that_are_in_the_table() -> None:
    known = {*table().planned, *table().unknown}
    assert {*CONFIGS, *FIELDS} <= known
