"""The KV cache that the engine gets in our server, beside plain `vllm serve` with the same arguments."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from bench.servers import vllm_serve
from gpu.place import Place, started
from gpu.record import Record

SHAPE = "llama-3.1-8b"
_SIZE = re.compile(r"KV cache size: ([\d,]+) tokens")


def kv_cache(place: Place, record: Record, **engine: Any) -> None:
    """One start of each, both with caches of their own: what is compiled meanwhile takes memory too."""
    arguments = place.engine(SHAPE, **engine)
    theirs = place.folder / "vllm"
    with vllm_serve(theirs, arguments, place.variant, place.variables(place.folder / "caches of vllm")):
        plain = tokens(theirs / "server.log")
    with started(place, arguments, record, caches=place.folder / "caches") as found:
        report = found.server.request("GET", "/report", port=found.server.front_port).body
    record.facts |= {"vllmTokens": plain, "tokens": report["kvCacheTokens"], "perGPU": report["perGPU"]}
    record.headline |= {"ours": report["kvCacheTokens"], "vllm serve": plain}
    record.expect(report["kvCacheTokens"] >= plain, f"{report['kvCacheTokens']} tokens, `vllm serve` has {plain}")


def tokens(log: Path) -> int:
    """What vLLM says of its KV cache."""
    said = _SIZE.findall(log.read_text(errors="replace"))
    assert said, f"no size of the KV cache in {log}"
    return int(said[-1].replace(",", ""))
