"""The Triton backend `vllm`: one AsyncLLM engine behind Triton's endpoints and vLLM's OpenAI application."""
