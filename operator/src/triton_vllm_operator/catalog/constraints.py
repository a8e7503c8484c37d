"""Engine arguments that are right one by one and wrong together: vLLM refuses them, or silently ignores one.

Each rule is vLLM's own (its configuration classes raise the same); a rule that came or went carries its versions.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.version import Version

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog.versions import parse_vllm_version
from triton_vllm_operator.catalog.violations import Problem, problem

Args = Mapping[str, Any]

_LORA = ("max_loras", "max_lora_rank", "max_cpu_loras", "lora_dtype", "fully_sharded_loras", "lora_target_modules")
_GRAPHS = ("cudagraph_capture_sizes", "max_cudagraph_capture_size", "cuda_graph_sizes", "max_seq_len_to_capture")
_TWICE = (
    ("attention_backend", "attention_config", "backend"),
    ("cudagraph_capture_sizes", "compilation_config", "cudagraph_capture_sizes"),
    ("max_cudagraph_capture_size", "compilation_config", "max_cudagraph_capture_size"),
)


@dataclass(frozen=True, slots=True)
class Clash:
    """`name` is the argument to change, `other` the one it clashes with, `instead` the change."""

    name: str
    other: str
    why: str
    instead: str
    ignored: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """`since` and `until` are vLLM versions, both included; None leaves that side open."""

    clashes: Callable[[Args], Iterator[Clash]]
    since: str | None = None
    until: str | None = None

    def holds(self, version: str) -> bool:
        parsed = parse_vllm_version(version)
        return (self.since is None or Version(self.since) <= parsed) and (
            self.until is None or parsed <= Version(self.until)
        )


def find(args: Args, version: str, fields: Mapping[str, str]) -> list[Problem]:
    """Problems among arguments that passed their own checks. `fields`: argument -> its path in the custom resource."""
    return [_problem(clash, fields) for rule in RULES if rule.holds(version) for clash in rule.clashes(args)]


def _problem(clash: Clash, fields: Mapping[str, str]) -> Problem:
    reason = Reason.ARGUMENT_IGNORED if clash.ignored else Reason.ARGUMENTS_CONTRADICT
    name, other = (fields.get(item, f"spec.engine.extraArgs.{item}") for item in (clash.name, clash.other))
    instead = clash.instead.format_map(fields)
    return problem(name, reason, other=other, why=clash.why, instead=instead)


def _number(args: Args, name: str) -> float | None:
    value = args.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _batch_holds_sequences(args: Args) -> Iterator[Clash]:
    tokens, sequences = _number(args, "max_num_batched_tokens"), _number(args, "max_num_seqs")
    if tokens is not None and sequences is not None and tokens < sequences:
        why = f"a step of {tokens:g} tokens cannot hold one token for each of {sequences:g} sequences"
        instead = f"{{max_num_batched_tokens}}: {sequences:g} or more"
        yield Clash("max_num_batched_tokens", "max_num_seqs", why, instead)


def _batch_holds_prompt(args: Args) -> Iterator[Clash]:
    tokens, length = _number(args, "max_num_batched_tokens"), _number(args, "max_model_len")
    if args.get("enable_chunked_prefill") is False and tokens is not None and length is not None and tokens < length:
        why = f"without chunked prefill a prompt of {length:g} tokens must fit into one step of {tokens:g}"
        yield Clash("max_num_batched_tokens", "enable_chunked_prefill", why, "{enable_chunked_prefill}: true")


def _lora_is_on(args: Args) -> Iterator[Clash]:
    if args.get("enable_lora") is not True:
        for name in (name for name in _LORA if name in args):
            why = "it has no effect while LoRA is off"
            yield Clash(name, "enable_lora", why, "spec.engine.extraArgs.enable_lora: true", ignored=True)


def _loras_in_memory(args: Args) -> Iterator[Clash]:
    cpu, active = _number(args, "max_cpu_loras"), _number(args, "max_loras") or 1
    if args.get("enable_lora") is True and cpu is not None and cpu < active:
        why = f"{active:g} adapters can be active, but only {cpu:g} are kept in CPU memory"
        yield Clash("max_cpu_loras", "max_loras", why, f"{{max_cpu_loras}}: {active:g} or more")


def _balancer_has_experts(args: Args) -> Iterator[Clash]:
    if args.get("enable_eplb") is True and args.get("enable_expert_parallel") is not True:
        why = "the expert balancer works on experts that are spread over GPUs"
        yield Clash("enable_eplb", "enable_expert_parallel", why, "spec.engine.extraArgs.enable_expert_parallel: true")


def _context_divides_tensor(args: Args) -> Iterator[Clash]:
    context, tensor = _number(args, "decode_context_parallel_size"), _number(args, "tensor_parallel_size") or 1
    if context is not None and args.get("prefill_context_parallel_size", 1) == 1 and tensor % context:
        why = f"{tensor:g} tensor parallel GPUs cannot be divided into groups of {context:g}"
        instead = f"a divisor of {tensor:g} in {{decode_context_parallel_size}}"
        yield Clash("decode_context_parallel_size", "tensor_parallel_size", why, instead)


def _asynchronous_pipeline(args: Args) -> Iterator[Clash]:
    if args.get("async_scheduling") is True and (_number(args, "pipeline_parallel_size") or 1) > 1:
        why = "this version schedules asynchronously only without a pipeline"
        yield Clash("async_scheduling", "pipeline_parallel_size", why, "{async_scheduling}: false")


def _prefill_threshold(args: Args) -> Iterator[Clash]:
    threshold, length = _number(args, "long_prefill_token_threshold"), _number(args, "max_model_len")
    if threshold is not None and length is not None and threshold > length:
        why = f"no prompt is longer than {length:g} tokens"
        yield Clash("long_prefill_token_threshold", "max_model_len", why, f"at most {length:g}")


def _active_sequences(args: Args) -> Iterator[Clash]:
    active, sequences = _number(args, "max_num_active_seqs"), _number(args, "max_num_seqs")
    if active is not None and sequences is not None and active > sequences:
        why = f"at most {sequences:g} sequences run at a time"
        yield Clash("max_num_active_seqs", "max_num_seqs", why, f"at most {sequences:g}")


def _traces_have_a_target(args: Args) -> Iterator[Clash]:
    if args.get("collect_detailed_traces") and not args.get("otlp_traces_endpoint"):
        why = "traces need an endpoint to go to"
        instead = "spec.engine.extraArgs.otlp_traces_endpoint: http://HOST:4317"
        yield Clash("collect_detailed_traces", "otlp_traces_endpoint", why, instead)


def _numa_is_bound(args: Args) -> Iterator[Clash]:
    for name in ("numa_bind_nodes", "numa_bind_cpus"):
        if args.get(name) is not None and args.get("numa_bind") is not True:
            why = "it needs binding to be on"
            yield Clash(name, "numa_bind", why, "spec.engine.extraArgs.numa_bind: true")


def _mamba_blocks(args: Args) -> Iterator[Clash]:
    if args.get("mamba_block_size") is not None and args.get("enable_prefix_caching") is False:
        why = "the block size of the state cache is set only with prefix caching"
        yield Clash("mamba_block_size", "enable_prefix_caching", why, "{enable_prefix_caching}: true")


def _said_once(args: Args) -> Iterator[Clash]:
    for flat, nested, key in _TWICE:
        inside = args.get(nested)
        if args.get(flat) is not None and isinstance(inside, Mapping) and inside.get(key) is not None:
            why = f"{nested}.{key} says the same"
            yield Clash(flat, nested, why, f"only one of them: leave {key} out of {{{nested}}}")


def _graphs_are_made(args: Args) -> Iterator[Clash]:
    if args.get("enforce_eager") is True:
        for name in (name for name in _GRAPHS if args.get(name) is not None):
            why = "no CUDA graphs are captured in eager mode"
            yield Clash(name, "enforce_eager", why, "{enforce_eager}: false", ignored=True)


RULES: tuple[Rule, ...] = (
    Rule(_batch_holds_sequences),
    Rule(_batch_holds_prompt),
    Rule(_lora_is_on),
    Rule(_loras_in_memory),
    Rule(_balancer_has_experts, since="0.10.2"),
    Rule(_context_divides_tensor, since="0.10.2"),
    Rule(_asynchronous_pipeline, until="0.11.0"),
    Rule(_prefill_threshold),
    Rule(_active_sequences),
    Rule(_traces_have_a_target, since="0.11.1"),
    Rule(_numa_is_bound),
    Rule(_mamba_blocks, since="0.11.1"),
    Rule(_said_once, since="0.13.0"),
    Rule(_graphs_are_made),
)
