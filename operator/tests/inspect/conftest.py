"""The hub that every test in this folder may ask."""

from tests.inspect.hub import hub

__all__ = ["hub"]
