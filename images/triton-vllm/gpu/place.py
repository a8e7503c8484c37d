"""Where a case runs: its folder, its GPUs, its caches; and how a server starts there."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu.record import Record
from gpu.shapes import model_folder
from testing.server import NO_MULTICAST, TINY_ENGINE, Server, running, tiny_model, write_model

MODEL = "llm"


@dataclass(frozen=True, slots=True)
class Place:
    """`devices`: indices of the GPUs that the case has, `exclusive` when no other case uses them meanwhile.

    `caches`: where compiled kernels stay from one case to the next. `rows`: what was found before. `clients` and
    `rounds`: how much the speed is measured, if not as usual.
    """

    folder: Path
    variant: str
    devices: tuple[str, ...]
    exclusive: bool
    caches: Path
    rows: Path
    clients: tuple[int, ...] = ()
    rounds: int = 0

    @property
    def on_cpu(self) -> bool:
        """Whether the engine is the one for CPUs; such a run proves the program, not the image."""
        return self.variant.startswith("cpu")

    def variables(self, caches: Path | None = None) -> dict[str, str]:
        """Environment variables of a server: its GPUs and its caches, where the operator's pods have theirs."""
        cache = caches or self.caches
        (cache / "home").mkdir(parents=True, exist_ok=True)
        found = {
            "HOME": str(cache / "home"),
            "HF_HOME": str(cache / "huggingface"),
            "XDG_CACHE_HOME": str(cache / "xdg"),
            "XDG_CONFIG_HOME": str(cache / "config"),
            "VLLM_CACHE_ROOT": str(cache / "vllm"),
            "TRITON_CACHE_DIR": str(cache / "triton"),
            "TORCHINDUCTOR_CACHE_DIR": str(cache / "torchinductor"),
        }
        if not self.on_cpu:
            found |= {"CUDA_VISIBLE_DEVICES": ",".join(self.devices), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        return found

    def engine(self, shape: str, **arguments: Any) -> dict[str, Any]:
        """Engine arguments: a published shape with weights that the engine makes up; on a CPU a tiny model."""
        if self.on_cpu:
            kept = {"tensor_parallel_size", "structured_outputs_config", "enable_prefix_caching"} & set(arguments)
            return {**TINY_ENGINE, "model": str(tiny_model()), **{name: arguments[name] for name in kept}}
        return {
            "model": str(model_folder(shape, self.variant)),
            "load_format": "dummy",
            **without_multicast(arguments),
            **arguments,
        }


def without_multicast(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Engine arguments that keep several GPUs from NVLink multicast where `NO_MULTICAST` is set.

    Those variables switch FlashInfer's all-reduce off, and not its fusion with the norm after it, which makes a
    multicast object too.
    """
    several = max(int(arguments.get(name, 1)) for name in ("tensor_parallel_size", "pipeline_parallel_size")) > 1
    if several and os.environ.get("VLLM_ALLREDUCE_USE_FLASHINFER") == NO_MULTICAST["VLLM_ALLREDUCE_USE_FLASHINFER"]:
        return {"compilation_config": {"pass_config": {"fuse_allreduce_rms": False}}}
    return {}


@dataclass(frozen=True, slots=True)
class Started:
    """A server that is ready, and what its start took."""

    server: Server
    seconds: float

    def phases(self) -> dict[str, dict[str, float]]:
        """Phase -> when it ended, and how long it took."""
        names = ("elapsed", "seconds")
        lines = self.server.report()
        return {str(line["phase"]): {name: float(line[name]) for name in names if name in line} for line in lines}


@contextlib.contextmanager
def started(
    place: Place,
    engine: dict[str, Any],
    record: Record,
    *flags: str,
    name: str = "server",
    caches: Path | None = None,
    prepare: Callable[[Path], None] = lambda _: None,
    **variables: str,
) -> Iterator[Started]:
    """A ready server with OpenAI's protocol on; its phases and what it got are noted. Nothing of it is left after.

    Raises AssertionError with the end of the log when it does not become ready.
    """
    folder = place.folder / name
    write_model(folder / "models", MODEL, engine, openai={})
    own = place.variables(caches) | variables
    begun = time.monotonic()
    with running(
        folder, folder / "models", *flags, model=MODEL, prepare=prepare, variant=place.variant, **own
    ) as server:
        found = Started(server, server_seconds(server, begun))
        record.facts.setdefault("starts", {})[name] = {
            "secondsToReady": round(found.seconds, 2),
            "phases": found.phases(),
            "engine": {key: value for key, value in engine.items() if key != "model"},
        }
        yield found


def server_seconds(server: Server, begun: float) -> float:
    """Seconds from the start of the server that is ready now; one before it may have failed by chance."""
    return time.monotonic() - max(begun, server.started)
