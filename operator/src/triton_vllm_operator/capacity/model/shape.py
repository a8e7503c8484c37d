"""What a model is made of, as far as memory is concerned, and the documented JSON form of it.

A `ModelShape` is what the planner needs to know of a model: per layer the caches it keeps for each request and
the bytes of weights with the way they are cut over ranks. It is built from `config.json` and safetensors headers by
`from_config.shape_from_config` and round-trips through `ModelShape.to_json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Literal, get_args

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity.dtypes import STATE_DTYPES
from triton_vllm_operator.capacity.errors import ShapeError
from triton_vllm_operator.capacity.model.json_reader import MAX_LAYERS, Reader, check_size

FORMAT = "triton-vllm-operator/model-shape/v1"

CacheKind = Literal["full", "sliding", "chunked", "mla", "mamba", "cross"]
"""What a layer keeps per request: K and V of all tokens, of a window or of a chunk, MLA's latent vectors, a recurrent
state of constant size, or K and V of an encoder's output. Layers of one kind and size share a group of the KV cache."""
CACHE_KINDS: tuple[CacheKind, ...] = get_args(CacheKind)

WeightsSource = Literal["safetensors", "config", "estimate"]
"""What the weights were derived from: headers, `config.json`, or one from which they do not follow exactly."""
WEIGHTS_SOURCES: tuple[WeightsSource, ...] = get_args(WeightsSource)


@dataclass(frozen=True, slots=True)
class StateShape:
    """Recurrent state of one Mamba, Gated DeltaNet, linear-attention or short-convolution layer.

    The convolution keeps `conv_taps - 1` columns of `conv_width + groups * group_width` elements in the model's
    dtype (plus one column per speculative token where `grows_with_speculation`); the recurrence keeps
    `state_elements` elements in `state_dtype` (`auto`: as the convolution). Both are divided by the tensor
    parallel size; groups are replicated when the size does not divide them.
    """

    conv_width: int
    conv_taps: int
    groups: int = 0
    group_width: int = 0
    grows_with_speculation: bool = False
    state_elements: int = 0
    state_dtype: str = "auto"


@dataclass(frozen=True, slots=True)
class CacheShape:
    """What one attention (or state) layer keeps per request. `kv_heads` is the model's total, before any split.

    `window`: tokens a sliding layer sees, or the chunk of a chunked-local layer. For MLA `head_size` is the latent
    width (kv_lora_rank + qk_rope_head_dim) and `head_size_v` is 0. `element_bytes`: bytes per element whatever the
    dtype of the KV cache is; 0 where the cache has that dtype.
    """

    kind: CacheKind
    kv_heads: int = 0
    head_size: int = 0
    head_size_v: int = 0
    window: int = 0
    state: StateShape | None = None
    element_bytes: int = 0


@dataclass(frozen=True, slots=True)
class WeightPart:
    """Bytes of some of a layer's parameters and how ranks share them.

    `shards` is the largest number of distinct pieces: 0 means any (each rank holds `bytes / tp`), 1 means
    replicated on every rank, n means cut into at most n pieces (K and V projections: n KV heads). `expert` marks
    routed experts, which expert parallelism distributes whole.
    """

    group: str
    shards: int
    size_bytes: int
    expert: bool = False


@dataclass(frozen=True, slots=True)
class LayerShape:
    """One decoder layer: caches in the order the engine registers them, and its weights."""

    caches: tuple[CacheShape, ...] = ()
    weights: tuple[WeightPart, ...] = ()


@dataclass(frozen=True, slots=True)
class VocabTable:
    """An embedding or output table: `rows` (the vocabulary, before padding) of `row_bytes` bytes."""

    rows: int
    row_bytes: int


@dataclass(frozen=True, slots=True)
class Quantization:
    """The checkpoint's quantization: vLLM's method name, bits of a weight, and the sizes that parallel cuts must keep.

    `group_size` 0 means none; `block` is (output, input) of FP8 block quantization, (0, 0) when not blocked.
    """

    method: str
    weight_bits: int = 16
    group_size: int = 0
    block: tuple[int, int] = (0, 0)
    kv_cache_dtype: str = "auto"


@dataclass(frozen=True, slots=True)
class ExpertShape:
    """Routed experts: how many, how many per token, and the width of one."""

    count: int
    per_token: int
    intermediate_size: int


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A model as the planner sees it. Sizes in elements unless the name says bytes; lengths in tokens.

    `tables_on_every_stage`: the engine's class builds the embedding and output tables on every pipeline stage;
    `embedding_on_every_stage`: only the embedding table.
    """

    architecture: str
    model_type: str
    hidden_size: int
    intermediate_size: int
    vocab_size: int
    attention_heads: int
    kv_heads: int
    head_size: int
    max_position: int
    dtype: str
    layers: tuple[LayerShape, ...]
    embedding: VocabTable | None = None
    output: VocabTable | None = None
    first_stage: tuple[WeightPart, ...] = ()
    last_stage: tuple[WeightPart, ...] = ()
    every_stage: tuple[WeightPart, ...] = ()
    default_max_len: int | None = None
    experts: ExpertShape | None = None
    quantization: Quantization | None = None
    draft_layers: tuple[LayerShape, ...] = ()
    tables_on_every_stage: bool = False
    embedding_on_every_stage: bool = False
    multimodal: bool = False
    pipeline_parallel: bool = True
    bytes_by_dtype: tuple[tuple[str, int], ...] = ()
    weights_source: WeightsSource = "config"

    @property
    def tied_embeddings(self) -> bool:
        """Whether the output table is the embedding table (no bytes of its own)."""
        return self.output is None

    @property
    def weights_incomplete(self) -> str:
        """Why the bytes of weights may be more than what is known; empty when the checkpoint's headers were read."""
        if self.weights_source == "safetensors":
            return ""
        if self.multimodal:
            return "the weights of the image or audio encoder are estimated"
        if self.weights_source == "estimate":
            return "those of this model type do not follow from it exactly"
        return "the layout of quantized weights is not in it" if self.quantization is not None else ""

    @property
    def uses_mla(self) -> bool:
        """Whether any layer keeps a latent (MLA) cache."""
        return any(cache.kind == "mla" for layer in self.layers for cache in layer.caches)

    @property
    def is_attention_free(self) -> bool:
        """Whether no layer attends: only recurrent state is kept."""
        kinds = {cache.kind for layer in self.layers for cache in layer.caches}
        return bool(kinds) and kinds == {"mamba"}

    @property
    def is_hybrid(self) -> bool:
        """Whether attention and recurrent layers are mixed."""
        kinds = {cache.kind for layer in self.layers for cache in layer.caches}
        return "mamba" in kinds and len(kinds) > 1

    @property
    def is_moe(self) -> bool:
        """Whether the model has routed experts."""
        return self.experts is not None

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether decoder layers attend to an encoder's output."""
        return any(cache.kind == "cross" for layer in self.layers for cache in layer.caches)

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form (`docs/capacity.md`): plain types, equal neighbouring layers written once."""
        body = {key: value for key, value in asdict(self).items() if key not in {"layers", "draft_layers"}}
        body["bytes_by_dtype"] = dict(self.bytes_by_dtype)
        return {
            "format": FORMAT,
            **{_camel(key): _plain(value) for key, value in body.items()},
            "layers": _runs(self.layers),
            "draftLayers": _runs(self.draft_layers),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ModelShape:
        """Read what `to_json` wrote; raises `ShapeError` for anything else."""
        check_size(value, "model shape")
        reader = Reader(value, "model shape")
        if reader.text("format") != FORMAT:
            raise ShapeError(Reason.SHAPE_FORMAT_UNKNOWN, f"model shape: format must be {FORMAT!r}")
        return _read_shape(reader)


def _read_weights_source(reader: Reader) -> WeightsSource:
    found = reader.text("weightsSource", "config")
    for source in WEIGHTS_SOURCES:
        if source == found:
            return source
    raise ShapeError(
        Reason.CONFIG_FIELD_WRONG_TYPE, f"model shape: weightsSource {found!r} is not one of {WEIGHTS_SOURCES}"
    )


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_camel(str(key)) if "_" in str(key) else str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _runs(layers: tuple[LayerShape, ...]) -> list[dict[str, Any]]:
    return [
        {"count": len(list(run)), **{_camel(key): _plain(value) for key, value in asdict(layer).items()}}
        for layer, run in groupby(layers)
    ]


def _read_shape(reader: Reader) -> ModelShape:
    return ModelShape(
        architecture=reader.text("architecture"),
        model_type=reader.text("modelType"),
        hidden_size=reader.integer("hiddenSize"),
        intermediate_size=reader.integer("intermediateSize", 0, low=0),
        vocab_size=reader.integer("vocabSize"),
        attention_heads=reader.integer("attentionHeads", 0, low=0),
        kv_heads=reader.integer("kvHeads", 0, low=0),
        head_size=reader.integer("headSize", 0, low=0),
        max_position=reader.integer("maxPosition"),
        dtype=reader.text("dtype", "bfloat16"),
        layers=_read_layers(reader, "layers"),
        embedding=_read_table(reader.nested("embedding")),
        output=_read_table(reader.nested("output")),
        first_stage=_read_parts(reader, "firstStage"),
        last_stage=_read_parts(reader, "lastStage"),
        every_stage=_read_parts(reader, "everyStage"),
        default_max_len=reader.optional_integer("defaultMaxLen"),
        experts=_read_experts(reader.nested("experts")),
        quantization=_read_quantization(reader.nested("quantization")),
        draft_layers=_read_layers(reader, "draftLayers"),
        tables_on_every_stage=reader.boolean("tablesOnEveryStage", False),
        embedding_on_every_stage=reader.boolean("embeddingOnEveryStage", False),
        multimodal=reader.boolean("multimodal", False),
        pipeline_parallel=reader.boolean("pipelineParallel", True),
        bytes_by_dtype=_read_dtype_bytes(reader.nested("bytesByDtype")),
        weights_source=_read_weights_source(reader),
    )


def _objects(reader: Reader, key: str) -> list[Reader]:
    items = reader.raw(key) or []
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise ShapeError(Reason.CONFIG_FIELD_WRONG_TYPE, f"model shape: {key} must be a list of objects")
    return [Reader(item, f"model shape: {key}") for item in items]


def _read_layers(reader: Reader, key: str) -> tuple[LayerShape, ...]:
    layers: list[LayerShape] = []
    for item in _objects(reader, key):
        count = item.integer("count", 1, high=MAX_LAYERS)
        layer = LayerShape(tuple(_read_cache(c) for c in _objects(item, "caches")), _read_parts(item, "weights"))
        layers.extend([layer] * count)
        if len(layers) > MAX_LAYERS:
            raise ShapeError(Reason.CONFIG_FIELD_OUT_OF_RANGE, f"model shape: more than {MAX_LAYERS} layers")
    return tuple(layers)


def _read_cache(reader: Reader) -> CacheShape:
    kind = reader.text("kind")
    if kind not in CACHE_KINDS:
        raise ShapeError(
            Reason.CONFIG_FIELD_WRONG_TYPE, f"model shape: cache kind {kind!r} is not one of {CACHE_KINDS}"
        )
    state = reader.nested("state")
    return CacheShape(
        kind=kind,
        kv_heads=reader.integer("kvHeads", 0, low=0),
        head_size=reader.integer("headSize", 0, low=0),
        head_size_v=reader.integer("headSizeV", 0, low=0),
        window=reader.integer("window", 0, low=0),
        state=None if state is None else _read_state(state),
        element_bytes=reader.integer("elementBytes", 0, low=0, high=8),
    )


def _read_state(reader: Reader) -> StateShape:
    return StateShape(
        conv_width=reader.integer("convWidth", low=0),
        conv_taps=reader.integer("convTaps", low=1),
        groups=reader.integer("groups", 0, low=0),
        group_width=reader.integer("groupWidth", 0, low=0),
        grows_with_speculation=reader.boolean("growsWithSpeculation", False),
        state_elements=reader.integer("stateElements", 0, low=0),
        state_dtype=state_dtype(reader, "stateDtype", "auto"),
    )


def state_dtype(reader: Reader, key: str, default: str) -> str:
    """The dtype of a recurrent state: one of `STATE_DTYPES`."""
    found = reader.text(key, default)
    if found not in STATE_DTYPES:
        raise ShapeError(
            Reason.CONFIG_FIELD_WRONG_TYPE, f"{key} is {found[:60]!r}, not one of {', '.join(STATE_DTYPES)}"
        )
    return found


def _read_parts(reader: Reader, key: str) -> tuple[WeightPart, ...]:
    return tuple(
        WeightPart(
            group=item.text("group"),
            shards=item.integer("shards", low=0),
            size_bytes=item.integer("sizeBytes", low=0, high=2**50),
            expert=item.boolean("expert", False),
        )
        for item in _objects(reader, key)
    )


def _read_table(reader: Reader | None) -> VocabTable | None:
    if reader is None:
        return None
    return VocabTable(reader.integer("rows"), reader.integer("rowBytes"))


def _read_experts(reader: Reader | None) -> ExpertShape | None:
    if reader is None:
        return None
    return ExpertShape(
        reader.integer("count"), reader.integer("perToken", 0, low=0), reader.integer("intermediateSize", 0, low=0)
    )


def _read_quantization(reader: Reader | None) -> Quantization | None:
    if reader is None:
        return None
    block = reader.integers("block")
    return Quantization(
        method=reader.text("method"),
        weight_bits=reader.integer("weightBits", 16, high=64),
        group_size=reader.integer("groupSize", 0, low=0),
        block=(block[0], block[1]) if len(block) == 2 else (0, 0),
        kv_cache_dtype=reader.text("kvCacheDtype", "auto"),
    )


def _read_dtype_bytes(reader: Reader | None) -> tuple[tuple[str, int], ...]:
    if reader is None:
        return ()
    return tuple((name, reader.integer(name, low=0, high=2**50)) for name in reader.names())
