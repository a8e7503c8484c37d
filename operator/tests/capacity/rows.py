"""Rows that other people's engines logged: facts to compare with, never to fit a constant on.

`logged_rows.csv` holds the rows with their sources. `MODELS` gives the published shape of each scored row, and
what its source leaves open: the version, where it is not printed, and the bytes of the image encoder, whose
configuration is not printed: the logged weights less those of the text model.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

from triton_vllm_operator.capacity import EngineSettings, ModelShape, Plan, gpu_of_memory, plan, shape_from_config
from triton_vllm_operator.capacity.model.shape import WeightPart

from . import samples
from .samples import Config

GIB = 2**30
CSV = Path(__file__).with_name("logged_rows.csv")


@dataclass(frozen=True, slots=True)
class Row:
    """One scored row: its model, the version it is taken for, and settings that its source names elsewhere."""

    config: Config
    version: str
    max_num_seqs: int | None = None
    encoder_gib: float = 0.0

    def shape(self) -> ModelShape:
        """The model's shape; its checkpoint has an image encoder where one is given."""
        if not self.encoder_gib:
            return shape_from_config(self.config)
        wrapped = {"architectures": self.config["architectures"], "text_config": self.config, "vision_config": {}}
        text = shape_from_config(wrapped)
        encoder = WeightPart("vision", 1, int(self.encoder_gib * GIB))
        return replace(text, first_stage=(*text.first_stage, encoder), weights_source="safetensors")


#: F01 subtracted no graph estimate, so it ran before 0.20; F12 is a main build of August 2026, between 0.28 and 0.30.
MODELS = {
    "F01": Row(samples.QWEN25_7B_AWQ, "0.19.0"),
    "F12": Row(samples.QWEN38_27B, "0.29.0", 256, 0.88),
    "F14": Row(samples.QWEN38_27B, "0.29.0", 256, 0.88),
}


@dataclass(frozen=True, slots=True)
class Scored:
    """A row with its plan. `error` is (planned - logged) / logged of the available KV cache."""

    name: str
    model: str
    logged_gib: float
    answer: Plan
    started: bool

    @property
    def error(self) -> float:
        """Relative error of the expected size."""
        return self.answer.kv_bytes.expected / GIB / self.logged_gib - 1


def logged() -> dict[str, dict[str, str]]:
    """All rows by id."""
    with CSV.open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def scored() -> list[Scored]:
    """Rows of the V1 engine that name the card, the utilization and the available KV cache."""
    return [_score(name, logged()[name], row) for name, row in MODELS.items()]


def _score(name: str, fields: dict[str, str], row: Row) -> Scored:
    settings = EngineSettings(
        engine_version=row.version,
        tensor_parallel_size=int(fields["tp"]),
        gpu_memory_utilization=float(fields["gpu_memory_utilization"]),
        max_model_len=int(fields["max_model_len"]),
        max_num_batched_tokens=int(fields["max_num_batched_tokens"]) if fields["max_num_batched_tokens"] else None,
        max_num_seqs=row.max_num_seqs,
    )
    answer = plan(row.shape(), settings, gpu_of_memory(float(fields["gpu_total_gib"])))
    logged_gib = float(fields["available_kv_gib_per_gpu"])
    return Scored(name, fields["model"], logged_gib, answer, fields["outcome"] == "ok")
