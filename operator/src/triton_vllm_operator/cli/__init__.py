"""Layer 4: ``kubectl llm``, the command line. Needs the extra ``cli`` (typer, rich)."""
