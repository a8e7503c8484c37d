"""Environment variables of the engine: known, removed, too new and misspelt."""

import pytest

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog import argument_effects, argument_table, engine_rules, environment

LINES = [version for version in argument_table.versions() if engine_rules.has_rules(version)]


@pytest.mark.parametrize("version", LINES)
def test_every_line_reads_the_variables_that_all_have(version: str) -> None:
    assert {"VLLM_LOGGING_LEVEL", "VLLM_CACHE_ROOT", "VLLM_NO_USAGE_STATS"} <= environment.known(version)


def test_no_variable_is_classed_that_no_line_reads() -> None:
    ever = {name for version in LINES for name in environment.known(version)}
    assert argument_effects.table().harmless_variables <= ever


@pytest.mark.parametrize(
    ("name", "version", "text"),
    [
        ("VLLM_LOGING_LEVEL", "0.32.0", "Did you mean VLLM_LOGGING_LEVEL?"),
        ("VLLM_ATTENTION_BACKEND", "0.32.0", "was the last version that did)"),
        ("VLLM_USE_V2_MODEL_RUNNER", "0.9.0", "is the first version that does)"),
        ("VLLM_XYZZY_PLUGH", "0.32.0", "Remove it from spec.podTemplate.env."),
    ],
)
def test_a_variable_without_effect_is_told(name: str, version: str, text: str) -> None:
    [found] = environment.check([name], version)
    assert (found.field, found.reason, found.rejects) == (
        f"spec.podTemplate.env.{name}",
        Reason.VARIABLE_NOT_READ,
        False,
    )
    assert f"vLLM {version} does not read the environment variable {name}" in found.message
    assert text in found.message


def test_other_variables_are_left_alone() -> None:
    assert not list(
        environment.check(["VLLM_LOGGING_LEVEL", "HF_TOKEN", "MY_VLLM_X", "CUDA_VISIBLE_DEVICES"], "0.32.0")
    )
    assert not list(environment.check(["VLLM_XYZZY"], "0.8.4"))


def test_a_variable_that_moves_memory_is_not_planned() -> None:
    names = ["VLLM_LOGGING_LEVEL", "VLLM_ALLOW_LONG_MAX_MODEL_LEN", "VLLM_XYZZY", "HF_TOKEN"]
    assert argument_effects.unplanned_variables(names, "0.32.1") == ["VLLM_ALLOW_LONG_MAX_MODEL_LEN"]
