"""Engine arguments that are valid one by one and conflict with each other: vLLM rejects them, or ignores one.

Each constraint is vLLM's own (its configuration classes raise the same); one that was added or removed has versions.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.version import Version

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog.versions import parse_vllm_version
from triton_vllm_operator.catalog.violations import Violation, violation

Args = Mapping[str, Any]

_LORA = ("max_loras", "max_lora_rank", "max_cpu_loras", "lora_dtype", "fully_sharded_loras", "lora_target_modules")
_GRAPHS = ("cudagraph_capture_sizes", "max_cudagraph_capture_size", "cuda_graph_sizes", "max_seq_len_to_capture")
_TWICE = (
    ("attention_backend", "attention_config", "backend"),
    ("cudagraph_capture_sizes", "compilation_config", "cudagraph_capture_sizes"),
    ("max_cudagraph_capture_size", "compilation_config", "max_cudagraph_capture_size"),
)


@dataclass(frozen=True, slots=True)
class Conflict:
    """`name` conflicts with `other`; `instead` is the change to make, `ignored` says that vLLM only ignores `name`."""

    name: str
    other: str
    why: str
    instead: str
    ignored: bool = False


@dataclass(frozen=True, slots=True)
class Constraint:
    """A check of all arguments, for the vLLM versions `since` to `until`, both included; None leaves a side open."""

    conflicts: Callable[[Args], Iterator[Conflict]]
    since: str | None = None
    until: str | None = None

    def applies_to(self, version: str) -> bool:
        """Whether a vLLM version has the constraint."""
        parsed = parse_vllm_version(version)
        return (self.since is None or Version(self.since) <= parsed) and (
            self.until is None or parsed <= Version(self.until)
        )


def check(args: Args, version: str, fields: Mapping[str, str]) -> list[Violation]:
    """Conflicts among arguments that passed their own checks. `fields`: argument -> its path in the custom resource."""
    return [
        _as_violation(conflict, fields)
        for constraint in CONSTRAINTS
        if constraint.applies_to(version)
        for conflict in constraint.conflicts(args)
    ]


def _as_violation(conflict: Conflict, fields: Mapping[str, str]) -> Violation:
    reason = Reason.ARGUMENT_IGNORED if conflict.ignored else Reason.ARGUMENTS_CONTRADICT
    name, other = (fields.get(item, f"spec.engine.extraArgs.{item}") for item in (conflict.name, conflict.other))
    instead = conflict.instead.format_map(fields)
    return violation(name, reason, other=other, why=conflict.why, instead=instead)


def _number(args: Args, name: str) -> float | None:
    value = args.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _batch_holds_sequences(args: Args) -> Iterator[Conflict]:
    tokens, sequences = _number(args, "max_num_batched_tokens"), _number(args, "max_num_seqs")
    if tokens is not None and sequences is not None and tokens < sequences:
        why = f"a step of {tokens:g} tokens cannot hold one token for each of {sequences:g} sequences"
        instead = f"{{max_num_batched_tokens}}: {sequences:g} or more"
        yield Conflict("max_num_batched_tokens", "max_num_seqs", why, instead)


def _batch_holds_prompt(args: Args) -> Iterator[Conflict]:
    tokens, length = _number(args, "max_num_batched_tokens"), _number(args, "max_model_len")
    if args.get("enable_chunked_prefill") is False and tokens is not None and length is not None and tokens < length:
        why = f"without chunked prefill a prompt of {length:g} tokens must fit into one step of {tokens:g}"
        yield Conflict("max_num_batched_tokens", "enable_chunked_prefill", why, "{enable_chunked_prefill}: true")


def _lora_is_on(args: Args) -> Iterator[Conflict]:
    if args.get("enable_lora") is not True:
        for name in (name for name in _LORA if name in args):
            why = "LoRA is off"
            yield Conflict(name, "enable_lora", why, "spec.engine.extraArgs.enable_lora: true", ignored=True)


def _loras_in_memory(args: Args) -> Iterator[Conflict]:
    cpu, active = _number(args, "max_cpu_loras"), _number(args, "max_loras") or 1
    if args.get("enable_lora") is True and cpu is not None and cpu < active:
        why = f"{active:g} adapters can be active, but only {cpu:g} are kept in CPU memory"
        yield Conflict("max_cpu_loras", "max_loras", why, f"{{max_cpu_loras}}: {active:g} or more")


def _balancer_has_experts(args: Args) -> Iterator[Conflict]:
    if args.get("enable_eplb") is True and args.get("enable_expert_parallel") is not True:
        why = "the expert balancer works on experts that are spread over GPUs"
        yield Conflict(
            "enable_eplb", "enable_expert_parallel", why, "spec.engine.extraArgs.enable_expert_parallel: true"
        )


def _context_divides_tensor(args: Args) -> Iterator[Conflict]:
    context, tensor = _number(args, "decode_context_parallel_size"), _number(args, "tensor_parallel_size") or 1
    if context is not None and args.get("prefill_context_parallel_size", 1) == 1 and tensor % context:
        why = f"{tensor:g} tensor parallel GPUs cannot be divided into groups of {context:g}"
        instead = f"{{decode_context_parallel_size}}: a divisor of {tensor:g}"
        yield Conflict("decode_context_parallel_size", "tensor_parallel_size", why, instead)


def _asynchronous_pipeline(args: Args) -> Iterator[Conflict]:
    if args.get("async_scheduling") is True and (_number(args, "pipeline_parallel_size") or 1) > 1:
        why = "this version schedules asynchronously only without a pipeline"
        yield Conflict("async_scheduling", "pipeline_parallel_size", why, "{async_scheduling}: false")


def _prefill_threshold(args: Args) -> Iterator[Conflict]:
    threshold, length = _number(args, "long_prefill_token_threshold"), _number(args, "max_model_len")
    if threshold is not None and length is not None and threshold > length:
        why = f"no prompt is longer than {length:g} tokens"
        yield Conflict(
            "long_prefill_token_threshold",
            "max_model_len",
            why,
            f"{{long_prefill_token_threshold}}: {length:g} or less",
        )


def _active_sequences(args: Args) -> Iterator[Conflict]:
    active, sequences = _number(args, "max_num_active_seqs"), _number(args, "max_num_seqs")
    if active is not None and sequences is not None and active > sequences:
        why = f"at most {sequences:g} sequences run at a time"
        yield Conflict("max_num_active_seqs", "max_num_seqs", why, f"{{max_num_active_seqs}}: {sequences:g} or less")


def _traces_have_a_target(args: Args) -> Iterator[Conflict]:
    if args.get("collect_detailed_traces") and not args.get("otlp_traces_endpoint"):
        why = "traces need an endpoint to go to"
        instead = "spec.engine.extraArgs.otlp_traces_endpoint: http://HOST:4317"
        yield Conflict("collect_detailed_traces", "otlp_traces_endpoint", why, instead)


def _numa_is_bound(args: Args) -> Iterator[Conflict]:
    for name in ("numa_bind_nodes", "numa_bind_cpus"):
        if args.get(name) is not None and args.get("numa_bind") is not True:
            why = "NUMA binding is off"
            yield Conflict(name, "numa_bind", why, "spec.engine.extraArgs.numa_bind: true")


def _mamba_blocks(args: Args) -> Iterator[Conflict]:
    if args.get("mamba_block_size") is not None and args.get("enable_prefix_caching") is False:
        why = "the block size of the state cache is set only with prefix caching"
        yield Conflict("mamba_block_size", "enable_prefix_caching", why, "{enable_prefix_caching}: true")


def _set_once(args: Args) -> Iterator[Conflict]:
    for flat, nested, key in _TWICE:
        inside = args.get(nested)
        if args.get(flat) is not None and isinstance(inside, Mapping) and inside.get(key) is not None:
            why = f"{nested}.{key} sets the same"
            yield Conflict(flat, nested, why, f"only one of them: remove {key} from {{{nested}}}")


def _graphs_are_made(args: Args) -> Iterator[Conflict]:
    if args.get("enforce_eager") is True:
        for name in (name for name in _GRAPHS if args.get(name) is not None):
            why = "no CUDA graphs are captured in eager mode"
            yield Conflict(name, "enforce_eager", why, "{enforce_eager}: false", ignored=True)


CONSTRAINTS: tuple[Constraint, ...] = (
    Constraint(_batch_holds_sequences),
    Constraint(_batch_holds_prompt),
    Constraint(_lora_is_on),
    Constraint(_loras_in_memory),
    Constraint(_balancer_has_experts, since="0.10.2"),
    Constraint(_context_divides_tensor, since="0.10.2"),
    Constraint(_asynchronous_pipeline, until="0.11.0"),
    Constraint(_prefill_threshold),
    Constraint(_active_sequences),
    Constraint(_traces_have_a_target, since="0.11.1"),
    Constraint(_numa_is_bound),
    Constraint(_mamba_blocks, since="0.11.1"),
    Constraint(_set_once, since="0.13.0"),
    Constraint(_graphs_are_made),
)
