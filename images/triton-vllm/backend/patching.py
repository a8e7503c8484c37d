"""Changing what vLLM's modules call."""

from __future__ import annotations

import sys
from typing import Any


def replace_where_imported(name: str, old: Any, new: Any) -> None:
    """Put ``new`` in place of one of vLLM's functions, where it is defined and where it was imported by name."""
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith("vllm.") and vars(module).get(name) is old:
            setattr(module, name, new)
