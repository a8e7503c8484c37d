"""Bytes of an image or audio encoder from its block of `config.json`, for when no headers are at hand.

An estimate: a transformer of the block's width and depth, its patch and position tables, and the projection to the
text model. What a family adds (extra mergers, adapters, a pooling head) is left out, so plans that use it stay Tight.
"""

from __future__ import annotations

from collections.abc import Callable

from triton_vllm_operator.capacity.model.config import ModelConfig
from triton_vllm_operator.capacity.model.json_reader import MAX_LAYERS, Reader

_ITEM_BYTES = 2


def encoder_bytes(config: ModelConfig) -> int:
    """Bytes of the encoders that `config.json` describes, in 16 bits; 0 when it describes none."""
    parts: tuple[tuple[str, Callable[[Reader, int], int]], ...] = (("vision_config", _vision), ("audio_config", _audio))
    found = ((config.top.nested(key), elements) for key, elements in parts)
    return sum(elements(block, config.hidden_size) * _ITEM_BYTES for block, elements in found if block is not None)


def _vision(block: Reader, text_width: int) -> int:
    width = _first(block, "embed_dim", "hidden_size", "width")
    if not width:
        return 0
    patch = _first(block, "patch_size", default=14) ** 2 * _first(block, "in_channels", "num_channels", default=3)
    patch *= _first(block, "temporal_patch_size", default=1)
    merged = width * _first(block, "spatial_merge_size", default=1) ** 2
    out = _first(block, "out_hidden_size", default=text_width)
    projection = merged * merged + merged * out if merged > width else width * out + out * out
    return _layers(block, width) + width * (patch + _positions(block)) + projection


def _audio(block: Reader, text_width: int) -> int:
    width = _first(block, "hidden_size", "d_model")
    return _layers(block, width) + width * text_width


def _layers(block: Reader, width: int) -> int:
    key = block.first("depth", "num_hidden_layers", "layers", "encoder_layers")
    count = block.integer(key, low=0, high=MAX_LAYERS) if key else 0
    inner = _first(block, "intermediate_size", "encoder_ffn_dim", default=0)
    inner = inner or int(width * block.number("mlp_ratio", 4.0, high=64.0))
    gated = block.text("hidden_act") == "silu"
    return count * (4 * width * width + (3 if gated else 2) * width * inner)


def _positions(block: Reader) -> int:
    given = _first(block, "num_position_embeddings", default=0)
    if given or not block.has("image_size"):
        return given
    side = block.largest("image_size", low=0, high=65536) // max(_first(block, "patch_size", default=14), 1)
    return side * side


def _first(block: Reader, *names: str, default: int = 0) -> int:
    """The first of these fields that is given, of height and width the larger; sizes of an encoder stay under 2**20."""
    key = block.first(*names)
    return block.largest(key, low=0, high=2**20) if key else default
