"""Keys of object arguments, by vLLM's own configuration classes."""

from typing import Any

import pytest

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog import argument_effects, argument_table, arguments, engine_rules, nested_arguments

EXTRA = "spec.engine.extraArgs"
LINES = [version for version in argument_table.versions() if engine_rules.has_rules(version)]


def keys(argument: str, version: str) -> set[str]:
    """The keys that an object argument has."""
    forms = nested_arguments.forms(version)
    start = f"{forms[argument].config}."
    return {name.removeprefix(start) for name in forms if name.startswith(start)}


def test_every_line_has_the_classes_of_its_objects() -> None:
    for version in LINES:
        forms = nested_arguments.forms(version)
        named = {form.config for form in forms.values() if form.config is not None}
        assert {"SpeculativeConfig", "CompilationConfig", "KVTransferConfig"} <= named
        assert named <= forms.keys()
        assert keys("speculative_config", version) >= {"method", "num_speculative_tokens"}


def test_no_key_is_classed_that_no_line_has() -> None:
    for name, effects in argument_effects.table().nested.items():
        ever = {key for version in LINES for key in keys(name, version)}
        assert effects.planned | effects.without_effect <= ever
        assert not effects.planned & effects.without_effect


# version, argument, value, (field, reason)
WRONG: list[tuple[str, str, dict[str, Any], str, Reason]] = [
    ("0.32.0", "compilation_config", {"level": 3}, "level", Reason.ARGUMENT_UNKNOWN),
    ("0.32.0", "compilation_config", {"cudagraph_modes": "FULL"}, "cudagraph_modes", Reason.ARGUMENT_MISSPELT),
    ("0.32.0", "compilation_config", {"compile_sizes": 4}, "compile_sizes", Reason.ARGUMENT_TYPE),
    ("0.32.0", "compilation_config", {"pass_config": {"x": 1}}, "pass_config.x", Reason.ARGUMENT_UNKNOWN),
    ("0.32.0", "speculative_config", {"num_speculative_token": 3}, "num_speculative_token", Reason.ARGUMENT_MISSPELT),
    ("0.32.0", "speculative_config", {"method": "psychic"}, "method", Reason.ARGUMENT_CHOICE),
    ("0.32.0", "speculative_config", {"num_speculative_tokens": "2"}, "num_speculative_tokens", Reason.ARGUMENT_TYPE),
    ("0.32.0", "kv_transfer_config", {"kv_role": "both"}, "kv_role", Reason.ARGUMENT_CHOICE),
    ("0.10.2", "speculative_config", {"num_speculative_token": 3}, "num_speculative_token", Reason.ARGUMENT_IGNORED),
    ("0.9.0", "speculative_config", {"num_speculative_token": 3}, "num_speculative_token", Reason.ARGUMENT_MISSPELT),
    ("0.32.0", "logging_config", {"pylogging_config_file": "x"}, "pylogging_config_file", Reason.ARGUMENT_UNSAFE),
    ("0.32.0", "compilation_config", {"inductor_passes": {}}, "inductor_passes", Reason.ARGUMENT_UNSAFE),
    ("0.32.0", "speculative_config", {"code_revision": "x"}, "code_revision", Reason.ARGUMENT_UNSAFE),
]


@pytest.mark.parametrize(("version", "name", "value", "path", "reason"), WRONG)
def test_a_wrong_key_is_named(version: str, name: str, value: dict[str, Any], path: str, reason: Reason) -> None:
    found = [one for one in arguments.check({name: value}, version) if one.reason is not Reason.ARGUMENT_RISKY]
    assert [(one.field, one.reason) for one in found] == [(f"{EXTRA}.{name}.{path}", reason)]
    assert found[0].rejects == (reason is not Reason.ARGUMENT_IGNORED)


@pytest.mark.parametrize(
    ("version", "name", "value"),
    [
        (
            "0.32.0",
            "compilation_config",
            {"mode": 3, "cudagraph_mode": "FULL_AND_PIECEWISE", "compile_sizes": [1, "x"]},
        ),
        ("0.17.1", "compilation_config", {"level": 3}),
        ("0.32.0", "compilation_config", {"pass_config": {"fuse_norm_quant": True, "fuse_act_quant": None}}),
        ("0.32.0", "speculative_config", {"method": "eagle3", "model": "org/x", "num-speculative-tokens": 3}),
        ("0.32.0", "speculative_config", {"model": None, "method": "mtp", "num_speculative_tokens": 1}),
        ("0.9.0", "speculative_config", {"method": "deepseek_mtp", "num_speculative_tokens": 1}),
        ("0.32.0", "kv_transfer_config", {"kv_connector": "X", "kv_connector_extra_config": {"any": [1]}}),
        ("0.32.0", "attention_config", {"backend": "flashinfer"}),
        ("0.8.4", "speculative_config", {"anything": 1}),
    ],
)
def test_right_keys_pass(version: str, name: str, value: dict[str, Any]) -> None:
    assert [one for one in arguments.check({name: value}, version) if one.reason is not Reason.ARGUMENT_RISKY] == []


def test_the_right_spelling_is_advised() -> None:
    [found] = arguments.check({"speculative_config": {"num_speculative_token": 3}}, "0.32.0")
    assert f"Did you mean {EXTRA}.speculative_config.num_speculative_tokens: 3?" in found.message
