"""How often the harness for bad watch streams runs."""

from __future__ import annotations

RUNS = 200  # of `make faults`
