"""What the container may use, read from its control group (v1 or v2), and vLLM's settings that follow from it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GIB = 1 << 30
# Resident memory of what is not weights and KV cache: tritonserver, the stub with the front ends, the engine core (with
# the only worker in it, and then with the fork server, or without), and each worker that is a process. Measured with
# vLLM 0.32 on CPU and a model of 0.5 MB.
ALONE_BYTES = int(1.7 * GIB)
FIXED_BYTES = int(1.3 * GIB)
WORKER_BYTES = int(0.7 * GIB)
# Without a limit of its own the container shares the node's memory with others: take no more than this.
UNLIMITED_KV_BYTES = 4 * GIB
SMALLEST_KV_BYTES = 64 << 20
BIND = "VLLM_CPU_OMP_THREADS_BIND"
# The GPUs that CUDA may use, and what tritonserver's environment remembers of that variable.
GPUS, HIDDEN_GPUS = "CUDA_VISIBLE_DEVICES", "TRITON_VLLM_HIDDEN_GPUS"
EVERY_GPU = "all"
# Has vLLM keep the measured size of the KV cache for the next start.
STARTUP_PLAN = "VLLM_ENABLE_STARTUP_PLAN"
# Stop strings that defaults and a profile may have, whatever the limit for requests.
MIN_STOP_STRINGS = 64
# cgroup v1 says "no limit" with a number near 2^63.
NO_LIMIT = 1 << 60


@dataclass(frozen=True, slots=True)
class Limits:
    """Memory in bytes (None: no limit), CPUs as a quota (None: no quota), the CPUs that may be used, of how many."""

    memory_bytes: int | None
    cpu_quota: float | None
    cpus: tuple[int, ...]
    node_cpus: int

    @property
    def threads(self) -> int:
        """Threads that can run at once."""
        allowed = len(self.cpus)
        return allowed if self.cpu_quota is None else max(1, min(allowed, math.floor(self.cpu_quota + 0.01)))


def read_limits(root: Path = Path("/sys/fs/cgroup")) -> Limits:
    """The limits of this process's control group, as the container sees it."""
    memory = _number(root / "memory.max") or _number(root / "memory/memory.limit_in_bytes")
    if memory is not None and memory >= NO_LIMIT:
        memory = None
    return Limits(memory, _cpu_quota(root), tuple(sorted(os.sched_getaffinity(0))), os.cpu_count() or 1)


def _cpu_quota(root: Path) -> float | None:
    unified = _text(root / "cpu.max")
    if unified is not None:
        quota, _, period = unified.partition(" ")
        return None if quota == "max" else int(quota) / int(period or 100_000)
    quota_us = _number(root / "cpu/cpu.cfs_quota_us")
    period_us = _number(root / "cpu/cpu.cfs_period_us")
    return quota_us / period_us if quota_us and quota_us > 0 and period_us else None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text is not None and text.lstrip("-").isdigit() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def kv_cache_bytes(limits: Limits, utilization: float, weight_bytes: int, workers: int, *, alone: bool) -> int:
    """KV cache in bytes for each worker: the share `utilization` of the limit, less everything else that runs.

    `alone`: the only worker runs in the engine core's process.
    """
    if limits.memory_bytes is None:
        return UNLIMITED_KV_BYTES // workers
    others = (ALONE_BYTES if alone else FIXED_BYTES + workers * WORKER_BYTES) + weight_bytes
    return max(SMALLEST_KV_BYTES, (int(limits.memory_bytes * utilization) - others) // workers)


def on_cpu(environment: Mapping[str, str]) -> bool:
    """Whether the image's engine has no GPU; the image says so, that the same code serves both."""
    return environment.get("TRITON_VLLM_DEVICE") == "cpu"


def prepare(arguments: dict[str, Any], environment: MutableMapping[str, str]) -> None:
    """Make `environment` and `arguments` (engine arguments) right for the device. What the user set stays as it is.

    On a GPU the engine's processes begin as new ones (spawn), as with `vllm serve` and as vLLM itself wants it on a
    CPU, and not as copies of this one: each step there is paced by Python, which is 8 % slower in a copy. On an H200 a
    prefill took 41 ms instead of 34 (operator/docs/performance.md).
    """
    if on_cpu(environment):
        prepare_cpu(arguments, read_limits(), environment)
    else:
        environment.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
        environment.setdefault(STARTUP_PLAN, "1")


def prepare_cpu(arguments: dict[str, Any], limits: Limits, environment: MutableMapping[str, str]) -> None:
    """Give vLLM on CPU its threads and KV cache from the container's limits. What the user set stays as it is.

    Changes `environment` (before vLLM is imported) and `arguments` (engine arguments).
    """
    workers = _workers(arguments)
    alone = in_one_process(arguments, environment)
    if alone:
        _keep_in_one_process(arguments, limits, environment)
    else:
        _bind_threads(workers, limits, environment)
    # Compiling for a CPU needs a C++ compiler, which the image does not hold.
    arguments.setdefault("enforce_eager", True)
    environment.setdefault("TORCHDYNAMO_DISABLE", "1")
    environment.setdefault("VLLM_USE_AOT_COMPILE", "0")
    if "VLLM_CPU_KVCACHE_SPACE" in environment or arguments.get("kv_cache_memory_bytes") is not None:
        return
    utilization = float(arguments.get("gpu_memory_utilization") or 0.9)
    weights = weight_bytes(str(arguments.get("model", "")))
    arguments["kv_cache_memory_bytes"] = kv_cache_bytes(limits, utilization, weights, workers, alone=alone)


def in_one_process(arguments: Mapping[str, Any], environment: Mapping[str, str]) -> bool:
    """Whether the only worker of an engine on a CPU runs in the engine core's process."""
    return _workers(arguments) == 1 and BIND not in environment and "distributed_executor_backend" not in arguments


def allow_stop_strings(number: int, environment: MutableMapping[str, str]) -> None:
    """Have vLLM's protocols take as many stop strings as ours: their own limit is 4, also for those of the defaults.

    To be called before vLLM is imported. What the user set stays as it is.
    """
    environment.setdefault("VLLM_MAX_STOP_STRINGS", str(max(number, MIN_STOP_STRINGS)))


def hide_gpus(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` for tritonserver, in which no GPU can be seen; `show_gpus` undoes it in the backend's process.

    tritonserver would make a CUDA context on each GPU, 0.57 GiB on an H200, which the KV cache can use. The engine's
    tensors never pass through it.
    """
    return {**environment, GPUS: "", HIDDEN_GPUS: environment.get(GPUS, EVERY_GPU)}


def show_gpus(environment: MutableMapping[str, str]) -> None:
    """Undo `hide_gpus`. To be called before anything of CUDA is loaded."""
    given = environment.pop(HIDDEN_GPUS, None)
    if given == EVERY_GPU:
        del environment[GPUS]
    elif given is not None:
        environment[GPUS] = given


def keep_to_loopback(environment: MutableMapping[str, str]) -> None:
    """Have the engine's processes, which all run in this container, listen on the loopback interface only.

    Left alone, every process group of torch (gloo) opens a port on the address of the pod, for whoever connects.
    """
    environment.setdefault("GLOO_SOCKET_IFNAME", "lo")


def _workers(arguments: Mapping[str, Any]) -> int:
    return int(arguments.get("tensor_parallel_size") or 1) * int(arguments.get("pipeline_parallel_size") or 1)


def _keep_in_one_process(arguments: dict[str, Any], limits: Limits, environment: MutableMapping[str, str]) -> None:
    """Have the only worker run in the engine core's process, as it does on a GPU.

    vLLM on CPU gives each worker a process, for the settings of OpenMP that are its own. The only one has those of the
    container; without the process a start takes two thirds of the time, and no step waits for a message between two.
    """
    arguments["distributed_executor_backend"] = "uni"
    environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # else vLLM resets the argument; it has no other effect
    environment[BIND] = "nobind"
    environment.setdefault("OMP_NUM_THREADS", str(limits.threads))


def _bind_threads(workers: int, limits: Limits, environment: MutableMapping[str, str]) -> None:
    """One set of cores for each worker when they are this container's own; else only a number of threads.

    A container without a CPU set of its own sees all cores of the node, as every other one does: binding would put all
    of them on the first ones.
    """
    if BIND in environment:
        return
    threads = limits.threads
    if len(limits.cpus) == limits.node_cpus or threads < len(limits.cpus) or len(limits.cpus) < workers:
        environment[BIND] = "nobind"
        environment.setdefault("OMP_NUM_THREADS", str(max(1, threads // workers)))
        return
    share = len(limits.cpus) // workers
    groups = [limits.cpus[i * share : (i + 1) * share] for i in range(workers)]
    environment[BIND] = "|".join(",".join(map(str, group)) for group in groups)


def weight_bytes(model: str) -> int:
    """Size of the weight files in a model folder; 0 when the model is not a folder (its size is not known yet)."""
    folder = Path(model)
    if not folder.is_dir():
        return 0
    sizes = {suffix: sum(f.stat().st_size for f in folder.glob(suffix)) for suffix in ("*.safetensors", "*.bin")}
    return sizes["*.safetensors"] or sizes["*.bin"]
