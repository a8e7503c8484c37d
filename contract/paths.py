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
