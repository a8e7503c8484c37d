"""Bytes of weights that each rank holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from triton_vllm_operator.capacity.memory.kv_cache import ceil_div, stage_layers
from triton_vllm_operator.capacity.model.shape import LayerShape, ModelShape, VocabTable, WeightPart

#: Vocabularies are padded to a multiple of this before they are cut (`vocab_parallel_embedding.py`).
VOCAB_PADDING = 64


@dataclass(frozen=True, slots=True)
class Parallelism:
    """How a model is spread: tensor and pipeline parallel sizes, and whether experts are distributed whole."""

    tensor: int = 1
    pipeline: int = 1
    expert: bool = False
    partition: tuple[int, ...] = ()


def part_bytes(part: WeightPart, parallel: Parallelism, experts: int = 0) -> int:
    """Bytes of one part on the rank that holds most of it."""
    ranks = parallel.tensor
    if part.expert and parallel.expert and experts:
        return part.size_bytes // experts * ceil_div(experts, ranks)
    if part.shards == 0:
        return ceil_div(part.size_bytes, ranks)
    return part.size_bytes // part.shards * max(1, ceil_div(part.shards, ranks))


def table_bytes(table: VocabTable, ranks: int) -> int:
    """Bytes of a padded vocabulary table on one rank."""
    rows = ceil_div(table.rows, VOCAB_PADDING) * VOCAB_PADDING
    return ceil_div(rows, ranks) * table.row_bytes


def stage_weights(shape: ModelShape, parallel: Parallelism) -> tuple[int, ...]:
    """Bytes of weights on one rank of each pipeline stage."""
    counts = stage_layers(len(shape.layers), parallel.pipeline, parallel.partition)
    experts = shape.experts.count if shape.experts else 0
    sizes, first = [], 0
    for stage, count in enumerate(counts):
        layers = shape.layers[first : first + count]
        parts = [part for layer in layers for part in layer.weights]
        parts += [part for part in shape.every_stage if held_by(layers, part)]
        size = _total(parts, parallel, experts)
        sizes.append(size + _ends(shape, parallel, stage, experts))
        first += count
    return tuple(sizes)


def held_by(layers: Iterable[LayerShape], part: WeightPart) -> bool:
    """Whether a stage of these layers holds a part of every stage: a rotary table needs a layer that uses it."""
    if not part.group.startswith("rotary"):
        return True
    kinds = {cache.kind for layer in layers for cache in layer.caches if cache.kind != "mamba"}
    wanted = part.group.removeprefix("rotary").removeprefix("-")
    return bool(kinds) and (not wanted or (wanted == "sliding") in {kind == "sliding" for kind in kinds})


def _ends(shape: ModelShape, parallel: Parallelism, stage: int, experts: int) -> int:
    size = 0
    last = stage == parallel.pipeline - 1
    if shape.tables_on_every_stage and parallel.pipeline > 1:
        tables = (shape.embedding, shape.output)
        ends = _total(shape.first_stage if stage == 0 else (), parallel, experts)
        ends += _total(shape.last_stage if last else (), parallel, experts)
        return sum(table_bytes(table, parallel.tensor) for table in tables if table is not None) + ends
    if stage == 0:
        size += _total(shape.first_stage, parallel, experts)
    if shape.embedding is not None and (
        stage == 0 or shape.embedding_on_every_stage or (last and shape.tied_embeddings)
    ):
        size += table_bytes(shape.embedding, parallel.tensor)
    if last:
        size += _total(shape.last_stage, parallel, experts)
        if shape.output is not None:
            size += table_bytes(shape.output, parallel.tensor)
    return size


def _total(parts: Iterable[WeightPart], parallel: Parallelism, experts: int) -> int:
    return sum(part_bytes(part, parallel, experts) for part in parts)
