"""Engine arguments: what each vLLM takes, and the line to write where it does not."""

from typing import Any

import pytest

from tests.catalog.samples import nested
from triton_vllm_operator.api import spec
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog import argument_table, arguments
from triton_vllm_operator.catalog.argument_policy import policy
from triton_vllm_operator.catalog.argument_values import MAX_DEPTH
from triton_vllm_operator.catalog.renamed_arguments import renamed_arguments
from triton_vllm_operator.catalog.violations import Violation

NEW = "0.27.1"
EXTRA = "spec.engine.extraArgs"


def one(version: str, name: str, value: Any) -> Violation:
    [found] = arguments.check({name: value}, version)
    return found


# argument, value, field that says it instead
HAS_FIELD = [
    ("tensor_parallel_size", 2, "spec.engine.tensorParallelSize: 2"),
    ("tensor-parallel-size", 2, "spec.engine.tensorParallelSize: 2"),
    ("--max-model-len", 4096, "spec.engine.maxModelLen: 4096"),
    ("maxModelLen", 4096, "spec.engine.maxModelLen: 4096"),
    ("--no-enforce-eager", True, "spec.engine.enforceEager: false"),
    ("quantization", "fp8", "spec.engine.quantization: fp8"),
    ("model", "org/model", "spec.model.uri"),
    ("--model", "org/model", "spec.model.uri"),
    ("served_model_name", "llama", "spec.model.name"),
    ("served-model-name", "llama", "spec.model.name"),
    ("revision", "main", "spec.model.revision"),
    ("hf_token", "hf_x", "spec.model.tokenSecretRef"),
    ("data-parallel-size", 2, "spec.replicas"),
]


@pytest.mark.parametrize("version", ["0.10.1.1", NEW, "0.32.0"])
@pytest.mark.parametrize(("name", "value", "instead"), HAS_FIELD)
def test_what_has_a_field_is_refused_with_that_field(version: str, name: str, value: Any, instead: str) -> None:
    found = one(version, name, value)
    assert (found.field, found.rejects) == (f"{EXTRA}.{name}", True)
    assert f"Set {instead}" in found.message


# version, argument, value, reason, what the message says
REFUSED = [
    (NEW, "enable-lora", True, Reason.ARGUMENT_SPELLING, f"Set {EXTRA}.enable_lora: true."),
    (NEW, "enableLora", True, Reason.ARGUMENT_SPELLING, f"Set {EXTRA}.enable_lora: true."),
    (NEW, "trust-remote-code", True, Reason.ARGUMENT_UNSAFE, "Remove it."),
    (NEW, "--swap-space", 4, Reason.ARGUMENT_REMOVED, "Remove"),
    ("0.9.2", "enable_log_requests", True, Reason.ARGUMENT_NEEDS_RELEASE, '"25.09" or newer'),
    ("0.10.1.1", "disable_log_requests", True, Reason.ARGUMENT_MOVED, f"Set {EXTRA}.enable_log_requests: false."),
    (NEW, "disable_log_requests", False, Reason.ARGUMENT_MOVED, f"Set {EXTRA}.enable_log_requests: true."),
    (NEW, "disable-log-requests", True, Reason.ARGUMENT_MOVED, f"Set {EXTRA}.enable_log_requests: false."),
    (NEW, "guided_decoding_backend", "xgrammar", Reason.ARGUMENT_MOVED, "{backend: xgrammar}"),
    (NEW, "enable_lora", 1, Reason.ARGUMENT_TYPE, "true or false"),
    (NEW, "max_loras", "4", Reason.ARGUMENT_TYPE, f"Set {EXTRA}.max_loras: 4."),
    (NEW, "max_loras", True, Reason.ARGUMENT_TYPE, "an integer"),
    (NEW, "max_loras", 0, Reason.ARGUMENT_BOUND, "at least 1"),
    (NEW, "video_pruning_rate", 1.0, Reason.ARGUMENT_BOUND, "less than 1"),
    (NEW, "distributed_executor_backend", "my.Executor", Reason.ARGUMENT_CHOICE, "ray, mp"),
    (NEW, "api_key", "x", Reason.ARGUMENT_OF_SERVER, "HTTP server"),
    (NEW, "top_p", 0.5, Reason.ARGUMENT_OF_REQUEST, "with the request"),
    (NEW, "enable_loar", True, Reason.ARGUMENT_MISSPELT, f"Did you mean {EXTRA}.enable_lora: true?"),
    (NEW, "max_model_length", 1, Reason.ARGUMENT_MISSPELT, "Did you mean spec.engine.maxModelLen: 1?"),
    (NEW, "", 1, Reason.ARGUMENT_UNKNOWN, "does not support"),
]


@pytest.mark.parametrize(("version", "name", "value", "reason", "text"), REFUSED)
def test_a_wrong_argument_is_refused_with_the_line_to_write(
    version: str, name: str, value: Any, reason: Reason, text: str
) -> None:
    found = one(version, name, value)
    assert (found.reason, found.rejects, found.field) == (reason, True, f"{EXTRA}.{name}")
    assert text in found.message


@pytest.mark.parametrize("version", ["0.6.3.post1", "0.9.0", "0.9.2"])
def test_an_argument_is_taken_by_the_versions_that_have_it(version: str) -> None:
    assert arguments.check({"disable_log_requests": True}, version) == []


def test_right_arguments_pass() -> None:
    extra = {"enable_lora": True, "max_loras": 2, "max_cpu_loras": 4, "hf_overrides": {"rope_theta": 1e6}}
    assert arguments.check(extra, NEW) == []
    assert arguments.check({}, NEW, {"tensor_parallel_size": 2, "dtype": "bfloat16"}) == []


@pytest.mark.parametrize(
    "value",
    [{"auto_map": {}}, {"text_config": {"auto_map": {"AutoModel": "x.Y"}}}, {"layers": [{"auto_map": {}}]}],
)
def test_code_is_found_inside_objects_at_any_depth(value: Any) -> None:
    assert one(NEW, "hf_overrides", value).reason is Reason.ARGUMENT_UNSAFE


@pytest.mark.parametrize("name", ["hf_overrides", "max_loras", "--enable-lora", "no_such_argument"])
@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 9_000])
def test_a_hostile_nesting_is_refused_wherever_it_stands(name: str, levels: int) -> None:
    assert one(NEW, name, nested(levels)).reason is Reason.ARGUMENT_TOO_DEEP


def test_nesting_up_to_the_limit_is_taken() -> None:
    assert arguments.check({"hf_overrides": nested(MAX_DEPTH)}, NEW) == []


# arguments, field to change, reason
CONTRADICTIONS = [
    ({"enable_lora": True, "max_loras": 8, "max_cpu_loras": 4}, "max_cpu_loras", Reason.ARGUMENTS_CONTRADICT),
    ({"max_lora_rank": 8}, "max_lora_rank", Reason.ARGUMENT_IGNORED),
    ({"enable_eplb": True}, "enable_eplb", Reason.ARGUMENTS_CONTRADICT),
    ({"collect_detailed_traces": ["all"]}, "collect_detailed_traces", Reason.ARGUMENTS_CONTRADICT),
    ({"numa_bind_nodes": [0]}, "numa_bind_nodes", Reason.ARGUMENTS_CONTRADICT),
    (
        {"attention_backend": "FLASH_ATTN", "attention_config": {"backend": "FLASHINFER"}},
        "attention_backend",
        Reason.ARGUMENTS_CONTRADICT,
    ),
]


@pytest.mark.parametrize(("extra", "name", "reason"), CONTRADICTIONS)
def test_arguments_that_contradict_each_other(extra: dict[str, Any], name: str, reason: Reason) -> None:
    [found] = arguments.check(extra, NEW)
    assert (found.field, found.reason) == (f"{EXTRA}.{name}", reason)


# typed fields, extra arguments, field to change
TYPED_CONTRADICTIONS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"max_num_batched_tokens": 64, "max_num_seqs": 128}, {}, "spec.engine.maxNumBatchedTokens"),
    (
        {"max_num_batched_tokens": 64, "max_model_len": 128, "enable_chunked_prefill": False},
        {},
        "spec.engine.maxNumBatchedTokens",
    ),
    ({"tensor_parallel_size": 4}, {"decode_context_parallel_size": 3}, f"{EXTRA}.decode_context_parallel_size"),
    ({"max_model_len": 128}, {"long_prefill_token_threshold": 256}, f"{EXTRA}.long_prefill_token_threshold"),
]


@pytest.mark.parametrize(("typed", "extra", "field"), TYPED_CONTRADICTIONS)
def test_a_typed_field_can_contradict_too(typed: dict[str, Any], extra: dict[str, Any], field: str) -> None:
    [found] = arguments.check(extra, NEW, typed)
    assert (found.field, found.reason) == (field, Reason.ARGUMENTS_CONTRADICT)


def test_a_refused_argument_is_not_blamed_twice() -> None:
    found = arguments.check({"enable_lora": True, "max_loras": "8", "max_cpu_loras": 4}, NEW)
    assert [violation.reason for violation in found] == [Reason.ARGUMENT_TYPE]


def test_every_argument_that_ever_went_away_has_advice() -> None:
    gone = {name for version in argument_table.versions() for name in argument_table.load(version).last_known} - set(
        argument_table.load(argument_table.versions()[-1]).arguments
    )
    owned = policy().owned.keys() | policy().unsafe.keys()
    assert gone - {move.argument for move in renamed_arguments()} - owned == set()


def test_advice_and_rules_name_arguments_that_exist() -> None:
    ever = {name for version in argument_table.versions() for name in argument_table.load(version).arguments}
    rules = policy()
    named = rules.owned.keys() | rules.unsafe.keys() | rules.warned.keys() | rules.closed
    assert {move.argument for move in renamed_arguments()} <= ever
    assert named - ever == set()


def test_every_typed_field_is_an_argument_of_every_version() -> None:
    for version in argument_table.versions():
        assert arguments.typed_fields().keys() <= argument_table.load(version).arguments.keys()
    assert len(arguments.typed_fields()) == len(spec.EngineSpec.model_fields) - 1


@pytest.mark.parametrize("version", argument_table.versions())
def test_the_engines_own_defaults_are_accepted(version: str) -> None:
    rules = policy()
    refused = rules.owned.keys() | rules.unsafe.keys() | arguments.typed_fields().keys() | rules.server | rules.sampling
    known = argument_table.load(version).arguments
    extra = {n: a.default for n, a in known.items() if n not in refused and a.default is not None}
    assert len(extra) > 20
    wrong = [p for p in arguments.check(extra, version) if p.reason is not Reason.ARGUMENT_IGNORED]
    assert wrong == []
