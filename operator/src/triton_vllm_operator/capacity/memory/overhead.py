"""The terms of the memory budget that cannot be known exactly, each with an interval and the mechanism behind it.

vLLM measures them at start-up: it runs one batch of `max_num_batched_tokens` tokens and the sampler on
`max_num_seqs` rows, and takes the peak. What is live at the peak follows from the model's widths; how well the
allocator and the compiler reuse memory does not, so each term is low, expected and high.
"""

from __future__ import annotations

from dataclasses import dataclass

from packaging.version import Version

from triton_vllm_operator.capacity.gpus.products import GPUClass
from triton_vllm_operator.capacity.memory.engine_settings import EngineSettings, Resolved
from triton_vllm_operator.capacity.model.families import family_of
from triton_vllm_operator.capacity.model.shape import ModelShape

GIB = 2**30
MIB = 2**20
#: Memory other than torch's that grows after the engine's first snapshot: kernels, cuBLAS, on several ranks NCCL.
#: One rank: 0.22 to 0.24 GiB on H100 and H200 (vLLM 0.25.1), 0.06 to 0.3 in published logs. Two ranks: 0.54 on H100.
_NON_TORCH_ONE = (0.05, 0.22, 0.45)
_NON_TORCH_MANY = (0.20, 0.54, 1.30)
#: CUDA context, on several ranks NCCL's buffers, taken before the snapshot: outside the budget, but it must fit beside
#: it. One rank: 0.51 GiB on H100 and H200. Two ranks on H100: 1.47.
_BASELINE_ONE = (0.20, 0.51, 0.60)
_BASELINE_MANY = (0.40, 1.47, 1.60)
#: cuBLAS gets its workspace from torch at the first product and keeps it: 32 MiB on Hopper, less on older cards.
_CUBLAS_WORKSPACE = 32 * MIB
#: Top-k and top-p sampling keeps one row of logits for each multiprocessor: 132 on H100 and H200.
_MULTIPROCESSORS = 132
#: Inductor flushes the L2 cache with a buffer of its size while it times a kernel: 50 MiB on H100.
_FLUSH_BUFFER = 50 * MIB
#: FlashAttention 3 may cut a decode into this many parts inside a CUDA graph and keeps a 32-bit result of each.
_GRAPH_SPLITS = 32
_HOPPER = 9
#: Bytes alive for each logit in the V1 runner's sampler, as its source counts them, and what CUDA's sort may add.
_V1_LOGIT, _SORTED_LOGIT, _SORT_WORKSPACE = 14, 28, 12
#: Largest workspace, in tokens, that MLA's chunked prefill is profiled with.
_MLA_WORKSPACE_TOKENS = 64 * 1024


@dataclass(frozen=True, slots=True)
class Interval:
    """Bytes: the plausible minimum, what is expected, and what is not exceeded."""

    low: int
    expected: int
    high: int

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.low + other.low, self.expected + other.expected, self.high + other.high)


@dataclass(frozen=True, slots=True)
class Overhead:
    """GPU memory that is neither weights nor KV cache."""

    non_torch: Interval
    activation: Interval
    cuda_graph: Interval

    @property
    def total(self) -> Interval:
        """Sum of the terms."""
        return self.non_torch + self.activation + self.cuda_graph


def _gib(values: tuple[float, float, float]) -> Interval:
    return Interval(*(int(value * GIB) for value in values))


def overhead(shape: ModelShape, settings: EngineSettings, resolved: Resolved, gpu: GPUClass) -> Overhead:
    """Overhead of one GPU under these settings. On a CPU the engine profiles nothing."""
    zero = Interval(0, 0, 0)
    if settings.device == "cpu":
        return Overhead(zero, zero, zero)
    return Overhead(
        non_torch=_gib(_NON_TORCH_MANY if settings.gpus > 1 else _NON_TORCH_ONE),
        activation=activation(shape, settings, resolved),
        cuda_graph=graph_estimate(shape, settings, resolved, gpu),
    )


def baseline(settings: EngineSettings) -> Interval:
    """What the process holds on a GPU before the engine looks at the free memory."""
    return _gib(_BASELINE_MANY if settings.gpus > 1 else _BASELINE_ONE)


def weight_rounding(shape: ModelShape, settings: EngineSettings) -> int:
    """Maximum that torch's allocator adds to the weights: up to 1 MiB per large tensor, about four per layer."""
    if settings.device == "cpu":
        return 0
    return 4 * MIB * -(-len(shape.layers) // settings.pipeline_parallel_size)


def activation(shape: ModelShape, settings: EngineSettings, resolved: Resolved) -> Interval:
    """Peak of the profile run: the largest of the forward pass, the sampler and (cold start) kernel benchmarks.

    What the forward pass keeps, a workspace for routed experts, is still there when the sampler runs.
    """
    experts = expert_workspace(shape, settings, resolved)
    kept = _CUBLAS_WORKSPACE + (experts if resolved.rules.keeps_expert_workspace else 0)
    forward = forward_bytes(shape, settings, resolved)
    sampler = sampler_bytes(shape, settings, resolved)
    steady = max(_CUBLAS_WORKSPACE + experts + forward, kept + sampler)
    cold = benchmark_bytes(shape, settings, resolved)
    expected = max(steady, _CUBLAS_WORKSPACE + experts + forward + _FLUSH_BUFFER, cold) if cold else steady
    encoder = int(1.0 * GIB) if shape.multimodal else 0
    more_streams = 2 * resolved.max_num_batched_tokens * shape.hidden_size * 2
    low = int(0.85 * steady)
    high = int(1.12 * max(expected, _CUBLAS_WORKSPACE + experts + forward + more_streams)) + 64 * MIB
    if resolved.rules.v1_sorts_logits and not resolved.v2_runner:
        high += min(resolved.max_num_seqs, resolved.max_num_batched_tokens) * shape.vocab_size * _SORT_WORKSPACE
    return Interval(low, expected + encoder // 2, high + 2 * encoder)


def forward_bytes(shape: ModelShape, settings: EngineSettings, resolved: Resolved) -> int:
    """Live bytes inside the widest layer: residual, input and output of the layer, and its widest intermediates."""
    tokens, tp, item = resolved.max_num_batched_tokens, settings.tensor_parallel_size, 2
    stream = 3 * tokens * shape.hidden_size * item
    width = max(_dense_width(shape, tp), _attention_width(shape, tp), _state_width(shape, tp))
    return stream + max(tokens * width * item, _latent_bytes(shape, settings, resolved))


def _dense_width(shape: ModelShape, tp: int) -> int:
    """Gate and up projection and their product, of the widest dense layer or shared expert."""
    parts = {part.size_bytes for layer in shape.layers for part in layer.weights if part.group == "mlp"}
    bits = shape.quantization.weight_bits if shape.quantization is not None else 16
    inner = max(parts, default=0) * 8 // max(3 * bits * shape.hidden_size, 1)
    return 3 * min(inner, shape.intermediate_size or inner) // tp


def _attention_width(shape: ModelShape, tp: int) -> int:
    """Q, K and V as projected, normalized and rotated, and as attention's output."""
    if not shape.attention_heads:
        return 4 * shape.hidden_size // tp
    size = shape.head_size if not shape.uses_mla else 256
    return 3 * (shape.attention_heads + max(shape.kv_heads, tp)) * size // tp


def _state_width(shape: ModelShape, tp: int) -> int:
    """A state layer's projection (convolved part, gate and output) before and after it is put in order."""
    states = [cache.state for layer in shape.layers for cache in layer.caches if cache.state is not None]
    return max((5 * (state.conv_width + state.groups * state.group_width) // tp for state in states), default=0)


def expert_workspace(shape: ModelShape, settings: EngineSettings, resolved: Resolved) -> int:
    """Two buffers for the rows that tokens send to their experts (`workspace_shapes` of the fused MoE kernels).

    The kernels for MXFP4 weights take theirs from the allocator instead, and less of it.
    """
    if shape.experts is None or (shape.quantization is not None and shape.quantization.method == "mxfp4"):
        return 0
    rows = resolved.max_num_batched_tokens * max(shape.experts.per_token, 1)
    split = 1 if settings.enable_expert_parallel else settings.tensor_parallel_size
    inner = shape.experts.intermediate_size // split
    return rows * (max(inner, shape.hidden_size) + max(2 * inner, shape.hidden_size)) * 2


def _latent_bytes(shape: ModelShape, settings: EngineSettings, resolved: Resolved) -> int:
    """What MLA's chunked prefill expands its latent cache into."""
    if not shape.uses_mla:
        return 0
    rows = min(max(8 * resolved.max_model_len, 4 * resolved.max_num_seqs * resolved.block_size), _MLA_WORKSPACE_TOKENS)
    rows = max(rows, resolved.max_num_seqs * resolved.block_size)
    return rows * (shape.attention_heads // settings.tensor_parallel_size) * 256 * 2


def sampler_bytes(shape: ModelShape, settings: EngineSettings, resolved: Resolved) -> int:
    """One row of logits per request, in the forms that are alive together, and the hidden states beside them.

    V1 runner: 16-bit logits, their 32-bit copy, probabilities and random noise; where it still sorts for top-k and
    top-p, instead of noise sorted values, their 64-bit places, masks and the values put back. V2 runner: 16-bit
    logits and, up to 0.27, their 32-bit copy.
    """
    rules = resolved.rules
    rows = min(resolved.max_num_seqs, resolved.max_num_batched_tokens)
    if resolved.v2_runner:
        per_logit, copies, table = rules.v2_bytes_per_logit, 1, 0
    else:
        per_logit = _SORTED_LOGIT if rules.v1_sorts_logits else _V1_LOGIT
        copies, table = 2, min(rows, _MULTIPROCESSORS) * shape.vocab_size * 4
    hidden = (resolved.max_num_batched_tokens + copies * rows) * shape.hidden_size * 2
    return rows * shape.vocab_size * per_logit + hidden + table


def benchmark_bytes(shape: ModelShape, settings: EngineSettings, resolved: Resolved) -> int:
    """A copy of the embedding table and two streams, while the compiler benchmarks the first kernel.

    Inductor's combo-kernel benchmark (on by default from vLLM 0.11.1) makes random arguments for the kernel that
    reads the embedding. It only happens when something is compiled, and not for multimodal models, which embed
    outside the compiled graph.
    """
    compiles = not settings.enforce_eager and not settings.compile_cache_warm and not shape.multimodal
    if not compiles or shape.embedding is None or resolved.rules.version < Version("0.11.1"):
        return 0
    table = shape.embedding.rows * shape.embedding.row_bytes // settings.tensor_parallel_size
    return table + 2 * resolved.max_num_batched_tokens * shape.hidden_size * 2


def capture_sizes(settings: EngineSettings, resolved: Resolved, shape: ModelShape) -> tuple[int, ...]:
    """Batch sizes that CUDA graphs are captured for (`vllm/config/vllm.py`)."""
    default = family_of(shape.model_type).engine.largest_capture_size
    decode = 1 + settings.num_speculative_tokens
    largest = settings.max_cudagraph_capture_size or min(2 * resolved.max_num_seqs * decode, default)
    sizes = [size for size in (1, 2, 4) if size <= largest]
    return (*sizes, *range(8, min(largest, 255) + 1, 8), *range(256, largest + 1, 16))


def graph_estimate(shape: ModelShape, settings: EngineSettings, resolved: Resolved, gpu: GPUClass) -> Interval:
    """The estimate that the engine subtracts; 0 where it subtracts none. It is noisy: see `docs/accuracy.md`."""
    rules = resolved.rules
    subtracts = rules.graph_estimate_subtracted and (rules.v2_estimates_graphs or not resolved.v2_runner)
    if settings.enforce_eager or not subtracts:
        return Interval(0, 0, 0)
    sizes = capture_sizes(settings, resolved, shape)
    layers = max(len(shape.layers) / settings.pipeline_parallel_size, 1)
    if gpu.compute_capability[0] == _HOPPER:
        expected = _graphs_on_hopper(shape, settings, resolved, sizes, layers)
        return Interval(int(0.6 * expected), expected, int(1.5 * expected) + 64 * MIB)
    guess = 0.25 + 0.45 * len(sizes) / 51 * layers / 48
    return _gib((0.35 * guess, guess, 2.2 * guess + 0.2))


def _graphs_on_hopper(
    shape: ModelShape, settings: EngineSettings, resolved: Resolved, sizes: tuple[int, ...], layers: float
) -> int:
    """First capture of each kind and the rest at a size each, as the runners extrapolate.

    Piecewise graphs: cuBLAS's workspace on the capture stream, the activations of the largest batch, and memory of
    the driver by layer. Full graphs: the parts of a split decode; the V2 runner counts them in its warm-up too.
    """
    tp, decode = settings.tensor_parallel_size, 1 + settings.num_speculative_tokens
    full = [size for size in sizes if size <= resolved.max_num_seqs * decode]
    width = max(_dense_width(shape, tp), _attention_width(shape, tp))
    piecewise = _CUBLAS_WORKSPACE + 20 * MIB + int(0.75 * MIB * layers)
    piecewise += sizes[-1] * (width + 4 * shape.hidden_size) * 2
    each = int(max(1.0, layers / 8) * MIB) * (len(sizes) - 1) + 2 * MIB * max(len(full) - 1, 0)
    parts = _split_bytes(shape, tp) * max(full, default=0)
    if resolved.v2_runner:
        return piecewise + each + 5 * parts // 2 + _CUBLAS_WORKSPACE
    return max(piecewise, parts) + each


def _split_bytes(shape: ModelShape, tp: int) -> int:
    kinds = {cache.kind for layer in shape.layers for cache in layer.caches}
    if not kinds & {"full", "mla"} or family_of(shape.model_type).engine.attention_sinks:
        return 0
    size = max(c.head_size for layer in shape.layers for c in layer.caches if c.kind in {"full", "mla"})
    return _GRAPH_SPLITS * (shape.attention_heads // tp) * size * 4
