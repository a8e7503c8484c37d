"""Which model types the engine loads without code of the repository. The data file names its sources."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files


@cache
def known_model_types() -> frozenset[str]:
    """Values of `model_type` in config.json."""
    text = files(__package__).joinpath("data/model_types.json").read_text(encoding="utf-8")
    return frozenset(json.loads(text)["types"])
