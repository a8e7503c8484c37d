"""The end of a log, as servers really wrote it, and the cause that it names."""

from __future__ import annotations

import pytest

from backend.launcher.diagnosis import diagnose

LOGS = {
    "missing library": (
        [
            'I1124 14:49:34.217148 30803 model_lifecycle.cc:472] "loading: llm:1"',
            "/opt/tritonserver/backends/python/triton_python_backend_stub: error while loading shared libraries: "
            "libpython3.11.so.1.0: cannot open shared object file: No such file or directory",
        ],
        "the shared library libpython3.11.so.1.0 is missing in the image",
    ),
    "argument": (
        [
            "I1124 14:49:34.367992 30819 pb_stub.cc:402]  Failed to initialize Python stub: BadModel: model.json: "
            "unexpected engine argument 'max_modle_len' (did you mean 'max_model_len'?) for vLLM 0.32.0",
        ],
        "model.json: unexpected engine argument 'max_modle_len' (did you mean 'max_model_len'?) for vLLM 0.32.0",
    ),
    "startup check": (
        [
            "I1124 14:49:34.367992 30819 pb_stub.cc:402]  Failed to initialize Python stub: StartupCheckFailed: "
            "startup check capital: the answer 'London' does not match 'Paris'\\n\\nAt:\\n  /models/llm/1/model.py(1)",
        ],
        "startup check capital: the answer 'London' does not match 'Paris'",
    ),
    "KV cache smaller than a request": (
        [
            "(EngineCore pid=12) ERROR 11-24 14:52:39 [core.py:1] EngineCore failed to start.",
            "(EngineCore pid=12) ValueError: To serve at least one request with the models's max seq len (131072), "
            "(16.0 GiB KV cache is needed, which is larger than the available KV cache memory (6.12 GiB).",
            "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
        ],
        "the KV cache is smaller than one request of 131072 tokens",
    ),
    "no memory for the KV cache": (
        ["(EngineCore pid=12) ValueError: No available memory for the cache blocks. Try increasing"],
        "no memory is left for the KV cache after the weights",
    ),
    "out of GPU memory": (
        ["(EngineCore pid=12) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."],
        "the GPU's memory is too small for the model with these settings",
    ),
    "gated": (
        ["huggingface_hub.errors.GatedRepoError: 401 Client Error."],
        "the model is gated and no token with access was given",
    ),
    "another exception of the engine": (
        [
            'E1124 14:49:34.215305 30803 server.cc:241] "CudaDriverHelper has not been initialized."',
            "(EngineCore pid=1555) AssertionError: heads must be divisible",
        ],
        "the engine failed: AssertionError: heads must be divisible",
    ),
    "exception of a worker": (
        [
            "(Worker_TP1 pid=1600) ERROR 11-24 19:48:50 [multiproc_executor.py:903] ValueError: 3 heads on 2 ranks",
            "(EngineCore pid=1555) ERROR 11-24 19:48:52 [core.py:1510] Exception: WorkerProc initialization failed due "
            "to an exception in a background process. See stack trace for root cause.",
            "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
        ],
        "the engine failed: ValueError: 3 heads on 2 ranks",
    ),
    "worker that did not start": (
        [
            'E1124 14:49:34.215305 30803 server.cc:241] "CudaDriverHelper has not been initialized."',
            "FileNotFoundError: [Errno 2] No such file or directory",
            "(EngineCore pid=1555) ERROR 11-24 19:48:52 [core.py:1510] Exception: WorkerProc initialization failed due "
            "to an exception in a background process. See stack trace for root cause.",
            "Exception: WorkerProc initialization failed due to an exception in a background process. See stack trace "
            "for root cause.",
        ],
        "the engine failed: FileNotFoundError: [Errno 2] No such file or directory",
    ),
    "engine that died while it was proven": (
        [
            "(EngineCore pid=18022) ERROR 11-30 09:16:05 [core.py:1512] RuntimeError: no kernel for top-p",
            "Exception ignored in: <function AsyncLLM.__del__ at 0x7f55225237e0>",
            "Traceback (most recent call last):",
            '  File "/opt/engine/lib/python3.11/site-packages/vllm/v1/engine/async_llm.py", line 298, in shutdown',
            "TypeError: 'NoneType' object is not callable",
            'E1130 09:16:10.716641 17870 backend_model.cc:692] "ERROR: Failed to create instance: EngineDeadError: '
            'EngineCore encountered an issue. See stack trace (above) for the root cause."',
        ],
        "the engine failed: RuntimeError: no kernel for top-p",
    ),
    "exception beside one that was ignored": (
        [
            "Exception ignored in: <function AsyncLLM.__del__ at 0x7f55225237e0>",
            "(Worker_TP1 pid=1600) ERROR 11-24 19:48:50 [multiproc_executor.py:903] ValueError: 3 heads on 2 ranks",
            "Traceback (most recent call last):",
            "TypeError: 'NoneType' object is not callable",
        ],
        "the engine failed: ValueError: 3 heads on 2 ranks",
    ),
    "exception after one that was ignored": (
        [
            "Exception ignored in: <function AsyncLLM.__del__ at 0x7f55225237e0>",
            "TypeError: 'NoneType' object is not callable",
            "FileNotFoundError: [Errno 2] No such file or directory",
        ],
        "the engine failed: FileNotFoundError: [Errno 2] No such file or directory",
    ),
    "worker that was killed": (
        [
            "(EngineCore pid=1555) ERROR 11-30 10:12:01 [multiproc_executor.py:278] Worker proc VllmWorker-1 died "
            "unexpectedly (exit code: -9), shutting down executor.",
            "(EngineCore pid=1555) ERROR 11-30 10:12:01 [core.py:1512] RuntimeError: Executor failed.",
            "engine given up: the engine has died",
        ],
        "the engine's worker VllmWorker-1 was killed by signal 9",
    ),
    "worker that crashed": (
        [
            "(EngineCore pid=1555) ERROR 11-30 10:12:01 [multiproc_executor.py:278] Worker proc VllmWorker-0 died "
            "unexpectedly (exit code: -11), shutting down executor.",
        ],
        "the engine's worker VllmWorker-0 was killed by signal 11",
    ),
    "worker that ended after an error of its own": (
        [
            "(Worker_TP1 pid=1600) ERROR 11-30 10:12:00 [multiproc_executor.py:903] ValueError: 3 heads on 2 ranks",
            "(EngineCore pid=1555) ERROR 11-30 10:12:01 [multiproc_executor.py:278] Worker proc VllmWorker-1 died "
            "unexpectedly (exit code: 1), shutting down executor.",
        ],
        "the engine failed: ValueError: 3 heads on 2 ranks",
    ),
    "assertion in a kernel": (
        [
            "(EngineCore pid=12) ERROR 11-30 10:12:00 [core.py:1512] torch.AcceleratorError: CUDA error: device-side "
            "assert triggered",
            "engine given up: the engine has died",
        ],
        "a GPU kernel failed: device-side assert triggered",
    ),
    "illegal memory access": (
        [
            "(EngineCore pid=12) ERROR 11-30 10:12:00 [core.py:1512] torch.AcceleratorError: CUDA error: an illegal "
            "memory access was encountered",
        ],
        "a GPU kernel failed: an illegal memory access was encountered",
    ),
    "abort over shared memory": (
        [
            'I1126 22:56:26.684726 2937 python_be.cc:2249] "TRITONBACKEND_ModelInstanceInitialize: llm_0_0"',
            "terminate called after throwing an instance of 'boost::interprocess::lock_exception'",
            "  what():  boost::interprocess::lock_exception",
        ],
        "tritonserver aborted over the memory that it shares with the backend process "
        "(boost::interprocess::lock_exception)",
    ),
    "configuration that Triton refuses": (
        [
            "E1124 14:49:34.370454 30803 model_repository_manager.cc:1460] \"Poll failed for model directory 'llm': "
            'Invalid model name: Could not determine backend for model"',
        ],
        "tritonserver failed: \"Poll failed for model directory 'llm': Invalid model name: Could not determine "
        'backend for model"',
    ),
}


@pytest.mark.parametrize("name", LOGS)
def test_cause(name: str) -> None:
    lines, cause = LOGS[name]
    found = diagnose(["I1124 something harmless", *lines])
    assert found is not None
    assert found.cause == cause
    assert found.line in [line.strip() for line in lines]
    assert found.hint


def test_start_without_a_gpu_tells_nothing() -> None:
    lines = [
        'W1124 14:49:34.214898 30803 pinned_memory_manager.cc:273] "Unable to allocate pinned system memory, pinned '
        'memory pool will not be available: CUDA driver version is insufficient for CUDA runtime version"',
        'E1124 14:49:34.215305 30803 server.cc:241] "CudaDriverHelper has not been initialized."',
        "Error: Failed to initialize NVML",
    ]
    assert diagnose(lines) is None


@pytest.mark.parametrize("process", ["(EngineCore pid=1555)", "(Worker_TP1 pid=1600)"])
def test_what_the_engine_warns_of_and_goes_on_without_is_no_cause(process: str) -> None:
    line = f"{process} WARNING 11-24 19:48:50 [utils.py:9] Failed to create oneDNN linear. Exception: could not"
    assert diagnose([line]) is None
    assert diagnose([line.replace("WARNING", "ERROR")]) is not None


def test_engine_that_was_given_up_is_told_with_what_it_raised() -> None:
    raised = "(Worker pid=7) ERROR 11-24 19:48:50 [multiproc_executor.py:1063] RuntimeError: out of ideas"
    core = "(EngineCore pid=6) ERROR 11-24 19:48:50 [core.py:1512] RuntimeError: Worker failed, see the root cause"
    given_up = "engine given up: the engine has died"
    found = diagnose([raised, core, given_up])
    assert found is not None
    assert (found.cause, found.line) == ("the engine was given up: the engine has died", raised)
    alone = diagnose([given_up])
    assert alone is not None
    assert alone.line == given_up
