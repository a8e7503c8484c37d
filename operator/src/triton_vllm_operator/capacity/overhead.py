"""The terms of the memory budget that cannot be known exactly, each with an interval and the mechanism behind it.

vLLM measures them at start-up: it runs one batch of ``max_num_batched_tokens`` tokens and the sampler on
``max_num_seqs`` rows, and takes the peak. What is live at the peak follows from the model's widths; how well the
allocator and the compiler reuse memory does not, so each term is low, expected and high.
"""

from __future__ import annotations

from dataclasses import dataclass

from .settings import EngineSettings, Resolved
from .shape import ModelShape

GIB = 2**30
MIB = 2**20
#: Memory other than torch's that grows after the engine's first snapshot: kernels, cuBLAS, on several ranks NCCL.
#: One rank: 0.22 GiB on an H200 (vLLM 0.25.1), 0.06 to 0.3 in published logs.
_NON_TORCH_ONE = (0.05, 0.22, 0.45)
_NON_TORCH_MANY = (0.20, 0.50, 1.30)
#: CUDA context and the like, taken before the snapshot: outside the budget, but it must fit beside it.
BASELINE_GIB = (0.20, 0.51, 0.60)
#: Largest workspace, in tokens, that MLA's chunked prefill is profiled with.
_MLA_WORKSPACE_TOKENS = 64 * 1024


@dataclass(frozen=True, slots=True)
class Interval:
    """Bytes: the least that is plausible, what is expected, and what is promised not to be exceeded."""

    low: int
    expected: int
    high: int

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.low + other.low, self.expected + other.expected, self.high + other.high)

    def to_json(self) -> dict[str, int]:
        """Plain form for a status."""
        return {"low": self.low, "expected": self.expected, "high": self.high}


@dataclass(frozen=True, slots=True)
class Overhead:
    """What a GPU spends besides weights and KV cache."""

    non_torch: Interval
    activation: Interval
    cuda_graph: Interval

    @property
    def total(self) -> Interval:
        """Sum of the terms."""
        return self.non_torch + self.activation + self.cuda_graph


def _gib(values: tuple[float, float, float]) -> Interval:
    return Interval(*(int(value * GIB) for value in values))


def overhead(shape: ModelShape, settings: EngineSettings, resolved: Resolved) -> Overhead:
    """Overhead of one GPU under these settings. On a CPU the engine profiles nothing."""
    zero = Interval(0, 0, 0)
    if settings.device == "cpu":
        return Overhead(zero, zero, zero)
    return Overhead(
        non_torch=_gib(_NON_TORCH_MANY if settings.gpus > 1 else _NON_TORCH_ONE),
        activation=activation(shape, settings, resolved),
        cuda_graph=graph_estimate(shape, settings, resolved),
    )


def activation(shape: ModelShape, settings: EngineSettings, resolved: Resolved) -> Interval:
    """Peak of the profile run: the largest of the forward pass, the sampler and (cold start) kernel benchmarks."""
    forward = forward_bytes(shape, settings, resolved)
    sampler = sampler_bytes(shape, settings, resolved)
    steady = max(forward, sampler)
    cold = benchmark_bytes(shape, settings, resolved)
    expected = max(steady, cold)
    encoder = int(1.0 * GIB) if shape.multimodal else 0
    low = int(0.85 * (steady if not cold else min(steady, expected)))
    high = int(1.15 * max(expected, forward + resolved.max_num_batched_tokens * shape.hidden_size * 4)) + 96 * MIB
    return Interval(low, expected + encoder // 2, high + 2 * encoder)


def forward_bytes(shape: ModelShape, settings: EngineSettings, resolved: Resolved) -> int:
    """Live bytes inside the widest layer: the residual, the layer's input and its widest pair of intermediates."""
    tokens, tp, item = resolved.max_num_batched_tokens, settings.tensor_parallel_size, 2
    stream = 2 * tokens * shape.hidden_size * item
    dense = 3 * shape.intermediate_size // tp if shape.intermediate_size else 0
    width = max(dense if _has_dense(shape) else 0, _attention_width(shape, tp))
    inside = tokens * width * item
    return stream + max(inside, _expert_bytes(shape, settings, tokens), _latent_bytes(shape, settings, resolved))


def _has_dense(shape: ModelShape) -> bool:
    return any(part.group == "mlp" for layer in shape.layers for part in layer.weights)


def _attention_width(shape: ModelShape, tp: int) -> int:
    if not shape.attention_heads:
        return 4 * shape.hidden_size // tp
    size = shape.head_size if not shape.uses_mla else 256
    return (2 * shape.attention_heads + 2 * max(shape.kv_heads, tp)) * size // tp


def _expert_bytes(shape: ModelShape, settings: EngineSettings, tokens: int) -> int:
    if shape.experts is None:
        return 0
    rows = tokens * max(shape.experts.per_token, 1)
    tp = settings.tensor_parallel_size
    inner = shape.experts.intermediate_size // (1 if settings.enable_expert_parallel else tp)
    return rows * (max(2 * inner, shape.hidden_size) + inner) * 2 + tokens * shape.hidden_size * 2


def _latent_bytes(shape: ModelShape, settings: EngineSettings, resolved: Resolved) -> int:
    if not shape.uses_mla:
        return 0
    rows = min(max(8 * resolved.max_model_len, 4 * resolved.max_num_seqs * resolved.block_size), _MLA_WORKSPACE_TOKENS)
    rows = max(rows, resolved.max_num_seqs * resolved.block_size)
    return rows * (shape.attention_heads // settings.tensor_parallel_size) * 256 * 2


def sampler_bytes(shape: ModelShape, settings: EngineSettings, resolved: Resolved) -> int:
    """Logits of one row per request in 16 bits, their 32-bit copy, and on the V1 runner the probabilities."""
    rows = min(resolved.max_num_seqs, resolved.max_num_batched_tokens)
    per_logit = 2 + 4 + (0 if resolved.v2_runner else 4)
    if settings.tensor_parallel_size > 1:
        per_logit += 2
    hidden = (resolved.max_num_batched_tokens + rows) * shape.hidden_size * 2
    return rows * shape.vocab_size * per_logit + hidden


def benchmark_bytes(shape: ModelShape, settings: EngineSettings, resolved: Resolved) -> int:
    """A copy of the embedding table and two streams, while the compiler benchmarks the first kernel.

    Inductor's combo-kernel benchmark (on by default from vLLM 0.11.1) makes random arguments for the kernel that
    reads the embedding. It only happens when something is compiled, and not for multimodal models, which embed
    outside the compiled graph. Measured on an H200: 1.10 GiB at 8,192 tokens and 1.01 at 2,048 for Llama-3.1-8B.
    """
    compiles = not settings.enforce_eager and not settings.compile_cache_warm and not shape.multimodal
    if not compiles or shape.embedding is None or resolved.rules.version < (0, 11, 1):
        return 0
    table = shape.embedding.rows * shape.embedding.row_bytes // settings.tensor_parallel_size
    return table + 2 * resolved.max_num_batched_tokens * shape.hidden_size * 2


def capture_sizes(settings: EngineSettings, resolved: Resolved, shape: ModelShape) -> int:
    """Number of batch sizes that CUDA graphs are captured for (``vllm/config/vllm.py``)."""
    default = 1024 if shape.model_type == "gpt_oss" else 512
    decode = 1 + settings.num_speculative_tokens
    largest = settings.max_cudagraph_capture_size or min(2 * resolved.max_num_seqs * decode, default)
    sizes = [size for size in (1, 2, 4) if size <= largest]
    return len(sizes) + len(range(8, min(largest, 255) + 1, 8)) + len(range(256, largest + 1, 16))


def graph_estimate(shape: ModelShape, settings: EngineSettings, resolved: Resolved) -> Interval:
    """The estimate that the engine subtracts; 0 where it subtracts none. It is noisy: see ``docs/capacity.md``."""
    rules = resolved.rules
    subtracts = rules.graph_estimate_subtracted and (rules.v2_estimates_graphs or not resolved.v2_runner)
    if settings.enforce_eager or not subtracts:
        return Interval(0, 0, 0)
    sizes = capture_sizes(settings, resolved, shape)
    share = sizes / 51 * max(len(shape.layers) / settings.pipeline_parallel_size, 1) / 48
    expected = 0.25 + 0.45 * share
    return _gib((0.35 * expected, expected, 2.2 * expected + 0.2))
