"""The type of each decoder layer: as `config.json` lists it, and the patterns that families use by default."""

from collections.abc import Callable, Sequence

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity.errors import ShapeError
from triton_vllm_operator.capacity.model.config import ModelConfig

Pattern = Callable[[ModelConfig], Sequence[str] | None]
"""Returns one type per layer, or None where all layers are alike."""


def listed_layer_types(config: ModelConfig) -> Sequence[str] | None:
    """Return the types that `config.json` lists, one per layer; None when it lists none.

    Raises:
        ShapeError: the list is shorter than the number of layers.
    """
    key = config.text.first("layer_types", "layers_block_type")
    if not key:
        return None
    types = config.text.strings(key)
    if len(types) < config.layer_count:
        raise ShapeError(
            Reason.CONFIG_FIELD_OUT_OF_RANGE,
            f"config.json: {key} has {len(types)} entries for {config.layer_count} layers",
        )
    return types[: config.layer_count]


def every_nth(config: ModelConfig, period: int, nth: str, others: str) -> Sequence[str]:
    """Return `nth` for each layer whose number is a multiple of `period`, counted from 1, and `others` elsewhere."""
    return [nth if period and (i + 1) % period == 0 else others for i in range(config.layer_count)]


def sliding_with_full_every(default_period: int) -> Pattern:
    """Return the pattern of sliding layers with a full one at the end of each period.

    `sliding_window_pattern` in `config.json` gives the period, or letters of which L is a sliding layer.
    """

    def pattern(config: ModelConfig) -> Sequence[str] | None:
        if not config.sliding_window:
            return None
        key = config.text.first("sliding_window_pattern", "_sliding_window_pattern")
        raw = config.text.raw(key) if key else default_period
        if isinstance(raw, str):
            letters = (raw[i % len(raw)] for i in range(config.layer_count))
            return ["sliding_attention" if letter == "L" else "full_attention" for letter in letters]
        period = config.text.integer(key, default_period, low=0) if key else default_period
        return every_nth(config, period, "full_attention", "sliding_attention")

    return pattern


def alternating(config: ModelConfig) -> Sequence[str]:
    """Return sliding and full attention in turn, sliding first."""
    return ["sliding_attention" if i % 2 == 0 else "full_attention" for i in range(config.layer_count)]


def linear_with_full_every_nth(config: ModelConfig) -> Sequence[str]:
    """Return linear attention with full attention at each `full_attention_interval`-th layer."""
    period = config.text.integer("full_attention_interval", 4)
    return every_nth(config, period, "full_attention", "linear_attention")
