"""Layer 4: `kubectl llm`, the command line: one folder per command. Needs the extra `cli` (typer, rich)."""
