"""Arguments that conflict with each other: each constraint from both sides, by version, and the values it offers."""

from __future__ import annotations

from typing import Any

import pytest

from triton_vllm_operator.catalog import argument_values, constraints
from triton_vllm_operator.catalog.argument_table import Argument, JSONType
from triton_vllm_operator.catalog.spelling import canonical, nearest

Args = dict[str, Any]
NEW = "0.30.0"
EXTRA = "spec.engine.extraArgs"
FIELDS = {
    "max_num_batched_tokens": "spec.engine.maxNumBatchedTokens",
    "enable_chunked_prefill": "spec.engine.enableChunkedPrefill",
    "enable_prefix_caching": "spec.engine.enablePrefixCaching",
    "enforce_eager": "spec.engine.enforceEager",
    **{name: f"{EXTRA}.{name}" for name in (
        "max_cpu_loras", "decode_context_parallel_size", "async_scheduling", "long_prefill_token_threshold",
        "max_num_active_seqs", "attention_config", "compilation_config",
    )},
}  # fmt: skip


def messages(args: Args, version: str = NEW) -> list[str]:
    """Messages about these arguments."""
    return [one.message for one in constraints.check(args, version, FIELDS)]


Row = tuple[list[Args], Args, str]
"""Arguments that are accepted, arguments that conflict, and the message about these."""


def numa(name: str) -> Row:
    """A setting of NUMA binding."""
    message = f"{EXTRA}.{name} conflicts with {EXTRA}.numa_bind: NUMA binding is off. Set {EXTRA}.numa_bind: true."
    return (
        [{name: [0], "numa_bind": True}, {"numa_bind": False}, {name: None}],
        {name: [0], "numa_bind": False},
        message,
    )


def twice(flat: str, nested: str, key: str) -> Row:
    """An argument that another one has inside."""
    message = (
        f"{EXTRA}.{flat} conflicts with {EXTRA}.{nested}: {nested}.{key} sets the same. Set only one of them: remove "
        f"{key} from {EXTRA}.{nested}."
    )
    accepted: list[Args] = [{flat: 1, nested: {"other": 1}}, {flat: 1, nested: "x"}, {nested: {key: 1}},
                            {flat: 1, nested: {key: None}}]  # fmt: skip
    return accepted, {flat: 1, nested: {key: 2}}, message


CONFLICTS: list[Row] = [
    (
        [{"max_num_batched_tokens": 8, "max_num_seqs": 8}, {"max_num_batched_tokens": 8}, {"max_num_seqs": 8},
         {"max_num_batched_tokens": True, "max_num_seqs": 8}, {"max_num_batched_tokens": "8", "max_num_seqs": 9}],
        {"max_num_batched_tokens": 8, "max_num_seqs": 9},
        f"spec.engine.maxNumBatchedTokens conflicts with {EXTRA}.max_num_seqs: a step of 8 tokens cannot hold "
        f"one token "
        "for each of 9 sequences. Set spec.engine.maxNumBatchedTokens: 9 or more.",
    ),
    (
        [{"max_num_batched_tokens": 8, "max_model_len": 8, "enable_chunked_prefill": False},
         {"max_num_batched_tokens": 8, "max_model_len": 9, "enable_chunked_prefill": True},
         {"max_num_batched_tokens": 8, "max_model_len": 9}, {"max_model_len": 9, "enable_chunked_prefill": False},
         {"max_num_batched_tokens": 8, "enable_chunked_prefill": False}],
        {"max_num_batched_tokens": 8, "max_model_len": 9, "enable_chunked_prefill": False},
        "spec.engine.maxNumBatchedTokens conflicts with spec.engine.enableChunkedPrefill: without chunked prefill a "
        "prompt of 9 tokens must fit into one step of 8. Set spec.engine.enableChunkedPrefill: true.",
    ),
    (
        [{"enable_lora": True, "max_loras": 2}, {"enable_lora": False}],
        {"enable_lora": False, "lora_dtype": "auto"},
        f"{EXTRA}.lora_dtype has no effect: LoRA is off. Set {EXTRA}.enable_lora: true, or remove {EXTRA}.lora_dtype.",
    ),
    (
        [{"enable_lora": True, "max_cpu_loras": 4, "max_loras": 4}, {"enable_lora": True, "max_cpu_loras": 1},
         {"enable_lora": True, "max_loras": 4}],
        {"enable_lora": True, "max_cpu_loras": 3, "max_loras": 4},
        f"{EXTRA}.max_cpu_loras conflicts with {EXTRA}.max_loras: 4 adapters can be active, but only 3 are kept in CPU "
        f"memory. Set {EXTRA}.max_cpu_loras: 4 or more.",
    ),
    (
        [{"enable_eplb": True, "enable_expert_parallel": True}, {"enable_eplb": False}],
        {"enable_eplb": True, "enable_expert_parallel": False},
        f"{EXTRA}.enable_eplb conflicts with {EXTRA}.enable_expert_parallel: the expert balancer works on experts that "
        f"are spread over GPUs. Set {EXTRA}.enable_expert_parallel: true.",
    ),
    (
        [{"decode_context_parallel_size": 2, "tensor_parallel_size": 4}, {"decode_context_parallel_size": 1},
         {"tensor_parallel_size": 4}, {"decode_context_parallel_size": 1, "prefill_context_parallel_size": 1},
         {"decode_context_parallel_size": 3, "tensor_parallel_size": 4, "prefill_context_parallel_size": 2}],
        {"decode_context_parallel_size": 3, "tensor_parallel_size": 4},
        f"{EXTRA}.decode_context_parallel_size conflicts with {EXTRA}.tensor_parallel_size: 4 tensor parallel GPUs "
        f"cannot be divided into groups of 3. Set {EXTRA}.decode_context_parallel_size: a divisor of 4.",
    ),
    (
        [{"decode_context_parallel_size": 1, "tensor_parallel_size": 1}],
        {"decode_context_parallel_size": 2, "prefill_context_parallel_size": 1},
        f"{EXTRA}.decode_context_parallel_size conflicts with {EXTRA}.tensor_parallel_size: 1 tensor parallel GPUs "
        f"cannot be divided into groups of 2. Set {EXTRA}.decode_context_parallel_size: a divisor of 1.",
    ),
    (
        [{"long_prefill_token_threshold": 8, "max_model_len": 8}, {"long_prefill_token_threshold": 8},
         {"max_model_len": 8}],
        {"long_prefill_token_threshold": 9, "max_model_len": 8},
        f"{EXTRA}.long_prefill_token_threshold conflicts with {EXTRA}.max_model_len: no prompt is longer than "
        f"8 tokens. "
        f"Set {EXTRA}.long_prefill_token_threshold: 8 or less.",
    ),
    (
        [{"max_num_active_seqs": 8, "max_num_seqs": 8}, {"max_num_active_seqs": 8}],
        {"max_num_active_seqs": 9, "max_num_seqs": 8},
        f"{EXTRA}.max_num_active_seqs conflicts with {EXTRA}.max_num_seqs: at most 8 sequences run at a time. Set "
        f"{EXTRA}.max_num_active_seqs: 8 or less.",
    ),
    (
        [{"collect_detailed_traces": ["all"], "otlp_traces_endpoint": "x"}, {"collect_detailed_traces": []}],
        {"collect_detailed_traces": ["all"], "otlp_traces_endpoint": ""},
        f"{EXTRA}.collect_detailed_traces conflicts with {EXTRA}.otlp_traces_endpoint: traces need an "
        f"endpoint to go to. "
        f"Set {EXTRA}.otlp_traces_endpoint: http://HOST:4317.",
    ),
    numa("numa_bind_nodes"),
    numa("numa_bind_cpus"),
    (
        [{"mamba_block_size": 8, "enable_prefix_caching": True}, {"mamba_block_size": 8},
         {"enable_prefix_caching": False}],
        {"mamba_block_size": 8, "enable_prefix_caching": False},
        f"{EXTRA}.mamba_block_size conflicts with spec.engine.enablePrefixCaching: the block size of the "
        f"state cache is "
        "set only with prefix caching. Set spec.engine.enablePrefixCaching: true.",
    ),
    twice("attention_backend", "attention_config", "backend"),
    twice("cudagraph_capture_sizes", "compilation_config", "cudagraph_capture_sizes"),
    twice("max_cudagraph_capture_size", "compilation_config", "max_cudagraph_capture_size"),
    (
        [{"enforce_eager": False, "cuda_graph_sizes": [1]}, {"enforce_eager": True, "cuda_graph_sizes": None}],
        {"enforce_eager": True, "cuda_graph_sizes": [1]},
        f"{EXTRA}.cuda_graph_sizes has no effect: no CUDA graphs are captured in eager mode. Set "
        f"spec.engine.enforceEager: false, or remove {EXTRA}.cuda_graph_sizes.",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("accepted", "conflicting", "message"), CONFLICTS)
def test_each_conflict_from_both_sides(accepted: list[Args], conflicting: Args, message: str) -> None:
    assert messages(conflicting) == [message]
    assert [args for args in accepted if messages(args)] == []


LORA = ("max_loras", "max_lora_rank", "max_cpu_loras", "lora_dtype", "fully_sharded_loras", "lora_target_modules")
GRAPHS = ("cudagraph_capture_sizes", "max_cudagraph_capture_size", "cuda_graph_sizes", "max_seq_len_to_capture")


def test_every_argument_of_what_is_off_is_without_effect() -> None:
    assert len(messages(dict.fromkeys(LORA, 1))) == len(LORA)
    assert len(messages(dict.fromkeys(GRAPHS, 1) | {"enforce_eager": True})) == len(GRAPHS)


PIPELINE = {"async_scheduling": True, "pipeline_parallel_size": 2}


@pytest.mark.parametrize(
    ("args", "with_it", "without_it"),
    [
        ({"enable_eplb": True}, "0.10.2", "0.10.1.1"),
        ({"decode_context_parallel_size": 2}, "0.10.2", "0.10.1.1"),
        (PIPELINE, "0.11.0", "0.11.1"),
        ({"collect_detailed_traces": ["all"]}, "0.11.1", "0.11.0"),
        ({"mamba_block_size": 8, "enable_prefix_caching": False}, "0.11.1", "0.11.0"),
        ({"attention_backend": "x", "attention_config": {"backend": "x"}}, "0.13.0", "0.12.0"),
    ],
)
def test_a_constraint_holds_for_the_versions_that_have_it(args: Args, with_it: str, without_it: str) -> None:
    assert len(messages(args, with_it)) == 1
    assert messages(args, without_it) == []


def test_a_pipeline_is_not_scheduled_asynchronously_by_old_versions() -> None:
    assert messages(PIPELINE, "0.11.0") == [
        f"{EXTRA}.async_scheduling conflicts with {EXTRA}.pipeline_parallel_size: this version schedules "
        f"asynchronously "
        f"only without a pipeline. Set {EXTRA}.async_scheduling: false."
    ]
    for args in ({**PIPELINE, "pipeline_parallel_size": 1}, {**PIPELINE, "async_scheduling": False},
                 {"async_scheduling": True}):  # fmt: skip
        assert messages(args, "0.11.0") == []


def argument(*types: JSONType) -> Argument:
    """An argument of these types."""
    return Argument("x", types)


@pytest.mark.parametrize(
    ("types", "value", "valid"),
    [
        (("int",), 1, True), (("int",), True, False), (("int",), 1.0, False), (("float",), 1, True),
        (("float",), True, False), (("bool",), True, True), (("bool",), 1, False), (("str",), "1", True),
        (("list",), [], True), (("object",), {}, True), (("object",), [], False), (("null",), None, True),
        (("int", "str"), "x", True), (("any",), object(), True), (("int",), object(), False), ((), 1, False),
    ],
)  # fmt: skip
def test_which_values_have_a_valid_type(types: tuple[JSONType, ...], value: object, valid: bool) -> None:
    assert argument_values.has_valid_type(argument(*types), value) is valid


@pytest.mark.parametrize(
    ("types", "value", "meant"),
    [
        (("int",), "4", 4), (("int",), "x", None), (("int",), "4.5", None), (("bool",), "True", True),
        (("bool",), "FALSE", False), (("object",), '{"a": 1}', {"a": 1}), (("list",), "a", ["a"]),
        (("list",), "[1]", [1]), (("str",), "null", None), (("int",), 4.0, 4), (("int",), 4.5, None),
        (("list",), 4.0, [4.0]), (("list",), 4, [4]), (("list",), True, None), (("list",), {}, None),
        (("str",), 4, None), (("int",), True, None), (("int", "list"), 4.0, 4),
    ],
)  # fmt: skip
def test_the_value_that_was_probably_meant(types: tuple[JSONType, ...], value: object, meant: object) -> None:
    found = argument_values.intended_value(argument(*types), value)
    assert (found, type(found)) == (meant, type(meant))


@pytest.mark.parametrize(
    ("bounds", "value", "violated"),
    [
        ({"ge": 1}, 1, None), ({"ge": 1}, 0, "at least 1"), ({"gt": 0}, 0, "greater than 0"), ({"gt": 0}, 0.1, None),
        ({"le": 2}, 2, None), ({"le": 2}, 3, "at most 2"), ({"lt": 1}, 1, "less than 1"), ({"lt": 1}, 0.5, None),
        ({"ge": 0.5, "le": 1}, 2, "at most 1"), ({"ge": 1}, True, None), ({"ge": 1}, "0", None), ({}, -1, None),
    ],
)  # fmt: skip
def test_a_value_outside_its_bounds(bounds: dict[str, float], value: object, violated: str | None) -> None:
    assert argument_values.violated_bound(bounds, value) == violated


def test_values_in_messages() -> None:
    assert argument_values.type_names(argument("list", "null", "str")) == "a list or a string"
    assert argument_values.yaml_line({"b": [1, "x"], "a": None}) == "{b: [1, x], a: null}"
    assert argument_values.yaml_line("x") == "x"
    assert argument_values.yaml_line("x " * 99).endswith("x '")
    assert argument_values.abbreviated("x" * 78) == f'"{"x" * 78}"'
    assert argument_values.abbreviated("x" * 79) == f'"{"x" * 76}...'
    assert argument_values.choice_advice("f", "a") == "Set f: a"
    assert argument_values.choice_advice("f", None) == "Set f to one of the valid values"


KNOWN = frozenset({"max_model_len", "enable_lora", "max_loras", "no_think", "quantization"})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("max_model_len", 1, ("max_model_len", 1)),
        ("--max-model-len", 1, ("max_model_len", 1)),
        ("maxModelLen", 1, ("max_model_len", 1)),
        ("--no-enable-lora", True, ("enable_lora", False)),
        ("--no-enable-lora", False, ("enable_lora", True)),
        ("no_think", True, ("no_think", True)),
        ("--no-think", True, ("no_think", True)),
        ("--no-such-thing", True, ("no_such_thing", True)),
        ("someThing", 1, ("some_thing", 1)),
        ("Some", 1, ("Some", 1)),
    ],
)
def test_every_spelling_of_an_argument(name: str, value: object, expected: tuple[str, object]) -> None:
    assert canonical(name, value, KNOWN) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("max_model_length", "max_model_len"), ("quantisation", "quantization"), ("quan", "quantization"),
        ("qua", None), ("max_", None), ("enab", "enable_lora"), ("nothing_like_it", None),
    ],
)  # fmt: skip
def test_the_nearest_known_name(name: str, expected: str | None) -> None:
    assert nearest(name, KNOWN) == expected
