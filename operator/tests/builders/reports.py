"""An engine report as GET /report of a serving pod answers it."""

from __future__ import annotations

from typing import Any

# As the serving image answers: every setting of the engine is in it, more than the operator needs.
SAID: dict[str, Any] = {
    "model": "llm", "vllm": "0.32.0+cpu", "device": "cpu", "tensorParallelSize": 1, "maxModelLen": 2048,
    "quantization": None, "blocks": 1024, "blockSize": 128, "kvCacheTokens": 131072, "concurrencyAtMaxModelLen": 64.0,
    "perGPU": {"kvCacheBytes": 67108864},
    "host": {"limitBytes": 6442450944, "loadPeakBytes": 2147483648, "firstTokenBytes": 2040109466,
             "currentBytes": 2040109466, "sharedBytes": 2097152, "pageCacheBytes": 5368709},
}  # fmt: skip
