"""Every case: what it runs, how many GPUs it takes, and for how long it may run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from gpu import faults
from gpu.kvcache import kv_cache
from gpu.place import Place
from gpu.record import Record
from gpu.speed import speed
from gpu.starts import start
from gpu.startup import ONE, TWO, startup, startup_two


@dataclass(frozen=True, slots=True)
class Case:
    """`share` of the memory of each of its `gpus`; `alone`: nothing else may run meanwhile.

    `usual`: seconds on an H200; it is not begun with less left. `limit`: after so many it has failed. `on_cpu`:
    whether it says anything there.
    """

    name: str
    run: Callable[[Place, Record], None]
    gpus: int = 1
    share: float = 1.0
    alone: bool = False
    usual: float = 75.0
    limit: float = 400.0
    on_cpu: bool = True

    @property
    def group(self) -> str:
        """The first word of its name."""
        return self.name.split()[0]


def _start(name: str, shape: str, *, gpus: int = 1, chat: bool = True, on_cpu: bool = False, **engine: object) -> Case:
    arguments = {**engine, **({"tensor_parallel_size": gpus} if gpus > 1 else {})}
    return Case(f"start {name}", partial(start, shape=shape, chat=chat, **arguments), gpus, on_cpu=on_cpu)  # type: ignore[arg-type]


# The most telling first: when time is short, the rest is not run. Fewer layers than published start faster, and every
# kind of layer is still there.
STARTS = (
    _start("llama-8b", "llama-3.1-8b", on_cpu=True),
    _start("moe", "qwen3-30b-a3b, 8 layers"),
    _start("fp8-blocks", "qwen3-8b fp8 blocks, 12 layers"),
    _start("mla-moe-fp8-blocks", "deepseek-v3, 6 layers, 4 layers", max_model_len=32768),
    _start("mxfp4", "gpt-oss-20b, 8 layers", chat=False),  # its chat needs a vocabulary that is downloaded
    _start("awq", "qwen2.5-32b awq, 16 layers"),
    _start("hybrid", "qwen3-next, 24 layers, 128 experts, 8 layers"),
    _start("mla", "deepseek-v2-lite, 8 layers"),
    _start("fp8-channels", "llama-3.1-8b fp8, 12 layers"),
    _start("fp8-tensor", "llama-3.1-8b fp8 tensor, 12 layers"),
    _start("mamba", "mamba-codestral-7b, 16 layers", max_num_seqs=256),
    _start("llama-1b", "llama-3.2-1b"),
    _start("eager", "llama-3.2-1b", enforce_eager=True),
    _start("two-1b", "llama-3.2-1b", gpus=2, on_cpu=True),
    _start("two-moe", "qwen3-30b-a3b, 8 layers", gpus=2),
)
STARTUPS = (
    Case(ONE, startup, alone=True, usual=110, limit=500),
    Case(TWO, startup_two, 2, alone=True, usual=120, limit=500),
)
KV_CACHES = (
    Case("kv-cache", kv_cache, usual=150, limit=500),
    Case("kv-cache eager", partial(kv_cache, enforce_eager=True), usual=90, limit=300, on_cpu=False),
    # What is compiled takes as much on each of two GPUs as on one: without it, the case takes half the time.
    Case(
        "kv-cache two",
        partial(kv_cache, tensor_parallel_size=2, enforce_eager=True),
        2,
        usual=110,
        limit=400,
        on_cpu=False,
    ),
)
# Faults that take a whole GPU, or stop what runs on it, have it for themselves; the others share.
SHARE = 0.24
WHOLE_GPU = ("endless kernel", "out of memory", "illegal address", "device assert")
TWO_WORKERS = ("kill worker 1", "stop worker 1", "hung all-reduce", "kill worker 0", "stop worker 0")


def _fault(name: str) -> Case:
    workers = 2 if name in TWO_WORKERS else 1
    share, on_cpu = (1.0, False) if name in WHOLE_GPU else (SHARE, True)
    run = partial(faults.fault, name=name, workers=workers)
    return Case(f"fault {name}", run, workers, share, usual=70, limit=300, on_cpu=on_cpu)


FAULTS = (
    *(_fault(name) for name in faults.FAULTS),
    Case("fault kill launcher", faults.kill_launcher, share=SHARE, usual=70, limit=300),
    Case("drain one", faults.drain, share=SHARE, usual=60, limit=300),
    Case("drain two", partial(faults.drain, workers=2), 2, SHARE, usual=60, limit=300),
)


def _speed(name: str, shape: str, gpus: int = 1, *, on_cpu: bool = False) -> Case:
    arguments = {"tensor_parallel_size": gpus} if gpus > 1 else {}
    run = partial(speed, shape=shape, **arguments)  # type: ignore[arg-type]
    return Case(f"speed {name}", run, gpus, alone=gpus > 1, usual=250, limit=580, on_cpu=on_cpu)


SPEEDS = (
    _speed("8b", "llama-3.1-8b", on_cpu=True),
    _speed("moe", "qwen3-30b-a3b, 16 layers"),
    _speed("two-8b", "llama-3.1-8b", 2),
    _speed("1b", "llama-3.2-1b"),
    _speed("two-moe", "qwen3-30b-a3b, 16 layers", 2),
    _speed("two-1b", "llama-3.2-1b", 2),
)
CASES = (*STARTUPS, *STARTS, *KV_CACHES, *FAULTS, *SPEEDS)


def chosen(names: list[str]) -> list[Case]:
    """The cases of these names or groups, in the order given; all without any. Raises ValueError."""
    found: list[Case] = []
    for name in names:
        own = [case for case in CASES if name in (case.name, case.name.replace(" ", "-"), case.group)]
        if not own:
            raise ValueError(f"no case or group {name!r}; there are {', '.join(case.name for case in CASES)}")
        found += [case for case in own if case not in found]
    return found if names else list(CASES)
