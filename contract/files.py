"""Files of a model in the model repository: `MODEL/config.pbtxt` and `MODEL/1/*.json`."""

from typing import Final

CONFIG: Final = "config.pbtxt"
"""Triton's model configuration."""
ENGINE: Final = "model.json"
"""vLLM's engine arguments."""
LORA: Final = "multi_lora.json"
"""LoRA adapters: name to path."""
SAMPLING: Final = "sampling.json"
"""Sampling defaults and profiles."""
OPENAI: Final = "openai.json"
"""Arguments of vLLM's OpenAI server; the file's presence turns the server on."""
LIMITS: Final = "limits.json"
"""Limits per request, see `contract.limits`."""

DEFAULTS: Final = "defaults"
"""Key of `sampling.json`: values that apply to every request."""
PROFILES: Final = "profiles"
"""Key of `sampling.json`: profile to values."""

BACKEND: Final = "vllm"
"""The backend that `config.pbtxt` names."""
VERSION_FOLDER: Final = "1"
"""The folder of the only version that the operator writes."""
METRICS_PARAMETER: Final = "REPORT_CUSTOM_METRICS"
"""Parameter of `config.pbtxt` that puts vLLM's metrics on Triton's metrics port."""
