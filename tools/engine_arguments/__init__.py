"""Reads the engine arguments of each vLLM version from its published sources: `python -m tools.engine_arguments`."""
