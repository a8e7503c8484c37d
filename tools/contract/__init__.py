"""Writes the table of engine arguments from the published sources of each vLLM version: `python -m tools.contract`."""
