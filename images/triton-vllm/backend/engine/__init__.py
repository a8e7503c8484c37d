"""The vLLM engine in this process, and its own processes."""
