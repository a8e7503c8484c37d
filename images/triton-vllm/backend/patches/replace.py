"""Replacing a function of vLLM, for all patches that need it."""

from __future__ import annotations

import sys
from typing import Any


def replace_where_imported(name: str, old: Any, new: Any) -> None:
    """Replace the function `old` of vLLM by `new` where it is defined and in each module that imported it by name."""
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith("vllm.") and vars(module).get(name) is old:
            setattr(module, name, new)
