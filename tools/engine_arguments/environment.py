"""Reads the names of the environment variables that vLLM reads."""

import re

from .arguments import Spec
from .sources import Sources

NAME = re.compile(r"""["'](VLLM_[A-Z0-9_]+)["']""")


def read_variables(sources: Sources) -> dict[str, Spec]:
    """Every variable that a module of vLLM names in full, as keys. A name in a message counts too."""
    return {name: {} for text in sources.modules() for name in NAME.findall(text)}
