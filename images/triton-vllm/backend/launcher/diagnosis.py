"""Find the cause of a failed server in the end of its log, with a hint what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backend.engine.health import GAVE_UP


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What went wrong, the line that says so, and what to do."""

    cause: str
    line: str
    hint: str


# Hint for transient failures of tritonserver.
MORE_CPU = "the container restarts; if this repeats, raise the pod's CPU limit or move it to a node with more CPU"
# How Python writes an exception.
_EXCEPTION = r"(?:\w+\.)*\w*(?:Error|Exception): "
# Begins what it writes of an exception that cannot be caught.
_IGNORED = "Exception ignored in"
# (pattern, cause, hint): the first that any line matches speaks; groups of the pattern fill the cause. What explains
# most comes first: a line that is only an effect of another cause stands below that cause.
_KNOWN: tuple[tuple[str, str, str], ...] = (
    (
        r"error while loading shared libraries: (\S+?):",
        "the shared library {0} is missing in the image",
        "use the image unchanged, or install the package that contains the library",
    ),
    (
        r"BadModel: ((?:(?!\\n).)*)",
        "{0}",
        "correct the file in the model's folder",
    ),
    (
        r"StartupCheckFailed: ((?:(?!\\n).)*)",
        "{0}",
        "undo what changed the answers, or correct the check in spec.server.startupChecks",
    ),
    (
        r"To serve at least one request with the model(?:'s|s's) max seq len \((\d+)\)",
        "the KV cache is smaller than one request of {0} tokens",
        "lower max_model_len, raise gpu_memory_utilization, or give the pod more or larger GPUs",
    ),
    (
        r"No available memory for the cache blocks",
        "no memory is left for the KV cache after the weights",
        "raise gpu_memory_utilization, or give the pod more or larger GPUs",
    ),
    (
        r"Free memory on device.*is less than desired GPU memory utilization",
        "another process holds memory of this GPU",
        "stop other processes on the GPU, or lower gpu_memory_utilization",
    ),
    (
        r"(?:CUDA|HIP) out of memory|OutOfMemoryError",
        "the GPU's memory is too small for the model with these settings",
        "lower max_num_batched_tokens or max_num_seqs, quantize, raise tensor_parallel_size, or use a larger GPU",
    ),
    (
        r"The NVIDIA driver on your system is too old",
        "the node's NVIDIA driver is too old for this image",
        "update the driver, or use an older release of the image",
    ),
    (
        r"GatedRepoError|[Aa]ccess to model .* is restricted|is a gated repo",
        "the model is gated and no token with access was given",
        "accept the model's license and set a token in HF_TOKEN",
    ),
    (
        r"401 Client Error|Invalid user token",
        "the model hub rejected the token",
        "set a valid token in HF_TOKEN",
    ),
    (
        r"RepositoryNotFoundError|is not a local folder and is not a valid model identifier|Invalid repository ID",
        "there is no such model",
        "correct `model` in model.json: a repository id or an absolute path",
    ),
    (
        r"No space left on device|Bus error",
        "/dev/shm or a cache folder is full",
        "give the pod more shared memory or more room for the cache",
    ),
    (
        # pydantic's way to say it; tritonserver writes the line breaks as \\n.
        r"Value error, ((?:(?!\\n| \[type=).)*)",
        "the engine rejected its arguments: {0}",
        "correct model.json",
    ),
    (
        # What other processes say afterwards is an effect.
        r"Worker proc (\S+) died unexpectedly \(exit code: -(9|11)\)",
        "the engine's worker {0} was killed by signal {1}",
        "unless you killed it, check the node for memory pressure (OOM); the container restarts",
    ),
    (
        # vLLM checks before the kernel reports the exit code.
        r"Worker proc (\S+) died unexpectedly \(exit code: None\)",
        "the engine's worker {0} has died",
        "unless you killed it, check the node for memory pressure (OOM); the container restarts",
    ),
    (
        r"([Dd]evice-side assert triggered|an illegal memory access was encountered)",
        "a GPU kernel failed: {0}",
        "the container restarts; if this repeats, check the node's driver for Xid errors (dmesg)",
    ),
    (
        re.escape(GAVE_UP) + r"(.*)",
        "the engine was given up: {0}",
        "see the engine's log lines above; the container restarts",
    ),
    (
        # The exception of a worker, or of a process that did not become one; the engine core only says that it ended.
        r"(?:\(Worker[^)]*\) .*?|^)(" + _EXCEPTION + r"(?!.*root cause).*)",
        "the engine failed: {0}",
        "see the engine's log lines",
    ),
    (
        r"EngineCore.*?(" + _EXCEPTION + r".*)",
        "the engine failed: {0}",
        "see the engine's log lines",
    ),
    (
        # A fault of tritonserver that comes by chance: triton-inference-server/server issue 8882.
        r"(boost::interprocess::lock_exception)",
        "tritonserver aborted over the memory that it shares with the backend process ({0})",
        MORE_CPU,
    ),
    (
        r"failed to load '[^']+' version \d+: \w+: ((?:(?!\\n).)*)",
        "the model did not load: {0}",
        "see the log above",
    ),
    (
        r"^(?:error: |E\d{4} \S+ \d+ \S+\] )(.*)",
        "tritonserver failed: {0}",
        "see the log above",
    ),
)
_PATTERNS = tuple((re.compile(pattern), cause, hint) for pattern, cause, hint in _KNOWN)
# tritonserver writes the first three at every start without a GPU. What vLLM only warns of, it goes on without, also
# when the line has an exception.
_HARMLESS = re.compile(
    r"CudaDriverHelper has not been initialized|Failed to initialize NVML|pinned_memory_manager"
    r"|^(?:\([^)]*\) )?(?:DEBUG|INFO|WARNING) \d\d-\d\d "
)
# What a process of the engine logged about its own end.
_RAISED = re.compile(r"^\((?:Worker|EngineCore)[^)]*\) ERROR .*?" + _EXCEPTION + r"(?!.*root cause)")


def diagnose(lines: Sequence[str]) -> Diagnosis | None:
    """Return the cause that the log shows, None when it shows none."""
    relevant = [line for line in _counting(lines) if not _HARMLESS.search(line)]
    for pattern, cause, hint in _PATTERNS:
        for line in relevant:
            if found := pattern.search(line):
                shown = line if GAVE_UP not in line else next(filter(_RAISED.search, relevant), line)
                return Diagnosis(cause.format(*found.groups()), shown.strip(), hint)
    return None


def _counting(lines: Sequence[str]) -> Iterator[str]:
    """Lines without the exceptions that Python ignored: of destructors, while a process ends. They are effects."""
    ignored = False
    for line in lines:
        if line.startswith(_IGNORED):
            ignored = True
        elif not ignored:
            yield line
        elif re.match(_EXCEPTION, line):
            ignored = False
        elif not line.startswith((" ", "Traceback")):
            yield line  # of another process
