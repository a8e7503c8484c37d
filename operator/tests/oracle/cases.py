"""Generated cases for the oracle: models of every family with settings, drawn from a fixed seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from .families import FAMILIES, MORE_ARCHITECTURES, Config

#: Settings (questions) asked of each generated model.
QUESTIONS = 4
_HYBRID = frozenset({"delta", "mtp_delta", "granite_hybrid", "jamba", "falcon_h1", "nemotron_h", "lfm2"})
#: Families that the engine refuses without its hybrid cache manager.
_ONE_MANAGER = _HYBRID | {"cross"}
#: Stage counts of families in which a stage without attention would have no block size to align to.
_STAGES = {"chunked": [1], "cross": [1], "mtp_mla": [1, 2], **{name: [1, 2] for name in _HYBRID}}


def tensor_sizes(config: Config) -> list[int]:
    """Tensor parallel sizes that the engine accepts for this model."""
    heads, kv_heads = config.get("num_attention_heads", 8), config.get("num_key_value_heads", 1)
    vocab = -(-int(config["vocab_size"]) // 64) * 64
    experts = config.get("num_experts") or config.get("num_local_experts") or 16
    widths = [config.get("moe_intermediate_size") or config.get("intermediate_size") or 64]
    largest = 8 if config["model_type"] == "gpt_oss" else min(experts, 16)  # gpt-oss: at most one KV head per rank
    groups = config.get("n_groups") or config.get("mamba_n_groups") or 1
    sizes = [
        n for n in (1, 2, 4, 8, 16) if n <= largest and heads % n == 0 and (kv_heads % n == 0 or n % kv_heads == 0)
    ]
    sizes = [n for n in sizes if groups == 1 or groups % n == 0]
    return [n for n in sizes if vocab % n == 0 and all(width % n == 0 for width in widths)]


def _question(draw: random.Random, family: str) -> dict[str, Any]:
    length = draw.choice([1024, 4096, 8192, 32768, 131072, draw.randint(500, 100000)])
    if family == "cross":
        length = draw.choice([64, 128, 448])
    return {
        "max_model_len": length,
        "batched": draw.choice([512, 2048, 8192, 16384]),
        "block_size": 16 if family in {"mla", "mtp_mla"} else draw.choice([32, 64, 128]),
        "available": draw.choice([2**21, 2**25, 2**28, 2**30]) * draw.randint(1, 16) + draw.randint(0, 2**20),
        "in_flight": draw.choice([1, 2, 3]),
        "no_hybrid": family not in _ONE_MANAGER and draw.random() < 0.25,
        "prefix": draw.random() < 0.5,
    }


def _case(draw: random.Random, family: str, config: Config, name: str) -> dict[str, Any]:
    quantized_cache = family not in {"mla", "mtp_mla", "mamba1", "mamba2"} and draw.random() < 0.25
    return {
        "id": name,
        "family": family,
        "config": config,
        "tp": draw.choice(tensor_sizes(config)),
        "pp": draw.choice(_STAGES.get(family, [1, 1, 2, 3, 4])),
        "kv_dtype": "fp8" if quantized_cache else "auto",
        "mtp": draw.choice([1, 2]) if family.startswith("mtp") else 0,
        "tensors": False,
        "questions": [_question(draw, family) for _ in range(QUESTIONS)],
    }


def kv_cases(count: int, seed: int = 20261124) -> Iterator[dict[str, Any]]:
    """`count` models with `QUESTIONS` settings each, over all families in turn."""
    draw = random.Random(seed)
    names = list(FAMILIES)
    for number in range(count):
        family = names[number % len(names)]
        yield _case(draw, family, FAMILIES[family](draw), f"{family}-{number}")


def weight_cases(seed: int = 20261124) -> Iterator[dict[str, Any]]:
    """Each architecture that `kv_cases` does not draw, at four ways of spreading it."""
    draw = random.Random(seed)
    for name, write in MORE_ARCHITECTURES.items():
        config = write(draw)
        for tp, pp in ((1, 1), (2, 1), (8, 1), (4, 2)):
            if tp in tensor_sizes(config):
                yield {"id": f"{name}-tp{tp}-pp{pp}", "family": name, "config": config, "tp": tp, "pp": pp,
                       "kv_dtype": "auto", "mtp": 0, "tensors": (tp, pp) == (1, 1), "questions": []}  # fmt: skip
