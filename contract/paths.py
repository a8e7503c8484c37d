"""Directories of a serving container, and paths of its health port."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

REPOSITORY_DIR: Final = "/models"
"""The model repository."""
MODEL_DIR: Final = "/model"
"""The model of a `pvc://` URI."""
CACHE_DIR: Final = "/cache"
"""Downloads and compiled kernels."""

CACHE_FOLDERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "HF_HOME": "huggingface",
        "VLLM_CACHE_ROOT": "vllm",
        "XDG_CACHE_HOME": "xdg",
        "TRITON_CACHE_DIR": "triton",
        "TORCHINDUCTOR_CACHE_DIR": "torchinductor",
    }
)
"""Environment variables of the folders to which the engine and its libraries write, and the folder in `CACHE_DIR`."""

READY: Final = "/health/ready"
"""200 when the engine makes tokens, else 503 with the reason."""
LIVE: Final = "/health/live"
"""200 while the backend's event loop runs."""
REPORT: Final = "/report"
"""The engine report, see `contract.report`."""
HEALTH: Final = "/health"
"""The same as `READY`, where clients of vLLM's server look for it."""
VERSION: Final = "/version"
"""vLLM's version."""
METRICS: Final = "/metrics"
"""vLLM's metrics as vLLM's own server has them. Those on Triton's port have Triton's labels."""
PROOF: Final = "/health/proof"
"""Has the engine do one request of its task: 200 with the task, else 503 with the reason."""
