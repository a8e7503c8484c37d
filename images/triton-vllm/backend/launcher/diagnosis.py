"""From the end of a server's log to the cause of its death, in plain words, with a fix."""

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


# What helps when tritonserver has failed by chance.
MORE_CPU = "the container starts again; when this repeats, raise the pod's CPU limit or move it to a node with more CPU"
# How Python writes an exception.
_EXCEPTION = r"(?:\w+\.)*\w*(?:Error|Exception): "
# Begins what it writes of an exception that nobody can catch.
_IGNORED = "Exception ignored in"
# (pattern, cause, hint): the first that any line matches speaks; groups of the pattern fill the cause. What explains
# most comes first: a line that is only an effect of another cause stands below that cause.
_KNOWN: tuple[tuple[str, str, str], ...] = (
    (
        r"error while loading shared libraries: (\S+?):",
        "the shared library {0} is missing in the image",
        "use the image as it is built, or install the package that holds the library",
    ),
    (
        r"BadModel: ((?:(?!\\n).)*)",
        "{0}",
        "correct the file in the model's folder",
    ),
    (
        r"To serve at least one request with the model(?:'s|s's) max seq len \((\d+)\)",
        "the KV cache is smaller than one request of {0} tokens",
        "lower max_model_len, raise gpu_memory_utilization, or give the pod more or larger GPUs",
    ),
    (
        r"No available memory for the cache blocks",
        "no memory is left for the KV cache beside the weights",
        "raise gpu_memory_utilization, or give the pod more or larger GPUs",
    ),
    (
        r"Free memory on device.*is less than desired GPU memory utilization",
        "another process holds memory of this GPU",
        "stop what else runs on the GPU, or lower gpu_memory_utilization",
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
        "accept the model's licence and give a token in HF_TOKEN",
    ),
    (
        r"401 Client Error|Invalid user token",
        "the model hub refused the token",
        "give a valid token in HF_TOKEN",
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
        "the engine refuses its arguments: {0}",
        "correct model.json",
    ),
    (
        # What other processes say afterwards is an effect.
        r"Worker proc (\S+) died unexpectedly \(exit code: -(9|11)\)",
        "the engine's worker {0} was killed by signal {1}",
        "when nobody killed it, look for want of memory on the node; the container starts again",
    ),
    (
        # vLLM looks before the kernel has told.
        r"Worker proc (\S+) died unexpectedly \(exit code: None\)",
        "the engine's worker {0} has died",
        "when nobody killed it, look for want of memory on the node; the container starts again",
    ),
    (
        r"([Dd]evice-side assert triggered|an illegal memory access was encountered)",
        "a kernel on the GPU failed: {0}",
        "the container starts again; when this repeats, look for Xid errors of the node's driver (dmesg)",
    ),
    (
        re.escape(GAVE_UP) + r"(.*)",
        "the engine was given up: {0}",
        "look at the lines of the engine above; the container starts again",
    ),
    (
        # The exception of a worker, or of a process that did not become one; the engine core only says that it ended.
        r"(?:\(Worker[^)]*\) .*?|^)(" + _EXCEPTION + r"(?!.*root cause).*)",
        "the engine failed: {0}",
        "see the engine's lines in the log",
    ),
    (
        r"EngineCore.*?(" + _EXCEPTION + r".*)",
        "the engine failed: {0}",
        "see the engine's lines in the log",
    ),
    (
        # A fault of tritonserver that comes by chance: triton-inference-server/server issue 8882.
        r"(boost::interprocess::lock_exception)",
        "tritonserver aborted over the memory that it shares with the process of the backend ({0})",
        MORE_CPU,
    ),
    (
        r"failed to load '[^']+' version \d+: \w+: ((?:(?!\\n).)*)",
        "the model did not load: {0}",
        "see the lines of the log above",
    ),
    (
        r"^(?:error: |E\d{4} \S+ \d+ \S+\] )(.*)",
        "tritonserver failed: {0}",
        "see the lines of the log above",
    ),
)
_PATTERNS = tuple((re.compile(pattern), cause, hint) for pattern, cause, hint in _KNOWN)
# tritonserver writes the first three at every start without a GPU. What vLLM only warns of, it goes on without, also
# when the line tells an exception.
_HARMLESS = re.compile(
    r"CudaDriverHelper has not been initialized|Failed to initialize NVML|pinned_memory_manager"
    r"|^(?:\([^)]*\) )?(?:DEBUG|INFO|WARNING) \d\d-\d\d "
)
# What a process of the engine itself said of its end.
_RAISED = re.compile(r"^\((?:Worker|EngineCore)[^)]*\) ERROR .*?" + _EXCEPTION + r"(?!.*root cause)")


def diagnose(lines: Sequence[str]) -> Diagnosis | None:
    """The cause that the log tells, None when it tells none."""
    told = [line for line in _counting(lines) if not _HARMLESS.search(line)]
    for pattern, cause, hint in _PATTERNS:
        for line in told:
            if found := pattern.search(line):
                said = line if GAVE_UP not in line else next(filter(_RAISED.search, told), line)
                return Diagnosis(cause.format(*found.groups()), said.strip(), hint)
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
