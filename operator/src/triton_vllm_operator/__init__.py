"""Serve LLMs with NVIDIA Triton Inference Server and vLLM on Kubernetes."""

__version__ = "0.1.0"
