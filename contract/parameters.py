"""Names of sampling parameters that vLLM does not know."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

ALIASES: Final[Mapping[str, str]] = MappingProxyType({"max_new_tokens": "max_tokens"})
"""Other names of vLLM's sampling parameters."""
