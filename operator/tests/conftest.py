"""Options of the whole test suite."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--oracle-cases N``: how many shapes x settings are compared with vLLM's own code."""
    parser.addoption("--oracle-cases", type=int, default=1104, help="shapes x settings asked of vLLM (default 1104)")
