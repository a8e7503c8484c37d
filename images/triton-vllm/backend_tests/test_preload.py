"""The process that imports the engine for all others finds out about GPUs without touching one. torch is a stand-in."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing.forkserver
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from backend.container.processes import below
from backend.engine import preload
from backend.engine.forkserver import ForkServerContext
from backend.engine.preload import (
    DEVICE_MODULES,
    ENGINE_MODULES,
    copies_can_use_gpus,
    import_all,
    modules_of,
)
from backend.patches import cuda_device_properties
from backend.patches.cuda_device_properties import GPUProperties, NotCopyable
from testing.server import script_lines


class Properties:
    """As torch's: what can be sent, and what cannot."""

    def __init__(self, device: int, asked_in: int) -> None:
        self.name, self.major, self.ratio, self.is_integrated = f"GPU {device}", 9, 0.5, False
        self.pid, self.uuid, self._secret = asked_in, object(), "secret"


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for torch.cuda with two GPUs, which notes in which process it is asked."""
    made = SimpleNamespace(
        device_count=lambda: 2,
        get_device_properties=lambda device: Properties(device, os.getpid()),
        _utils=SimpleNamespace(_get_device_index=lambda device, optional, allow_cpu: int(str(device).split(":")[-1])),
        _is_in_bad_fork=lambda: False,
    )
    torch = ModuleType("torch")
    torch.cuda = made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    return made


def test_gpus_are_described_by_a_copy(cuda: Any) -> None:
    answers = GPUProperties()
    try:
        first, second = answers.of(), answers.of("cuda:1")
    finally:
        answers.close()
    assert (first.name, second.name) == ("GPU 0", "GPU 1")
    assert (first.major, first.ratio, first.is_integrated) == (9, 0.5, False)
    assert first.pid != os.getpid()
    # An object cannot be sent, and what is not public may not be asked for.
    assert not {"uuid", "_secret"} & set(vars(first))
    assert answers.unknown == ""


def test_a_copy_that_was_asked_nothing_is_collected(cuda: Any) -> None:
    answers = GPUProperties()
    descriptors = len(os.listdir("/proc/self/fd"))
    answers.close()
    assert len(os.listdir("/proc/self/fd")) == descriptors - 1
    with pytest.raises(ChildProcessError):
        os.waitpid(answers._pid, 0)


def test_an_unknown_gpu_is_remembered(cuda: Any) -> None:
    answers = GPUProperties()
    try:
        with pytest.raises(RuntimeError, match="the properties of GPU 2 are not known"):
            answers.of(2)
        assert answers.of(1).name == "GPU 1"
    finally:
        answers.close()
    assert answers.unknown == "the properties of GPU 2 are not known"


def test_who_asks_is_answered_by_the_copy_and_afterwards_by_torch_again(cuda: Any) -> None:
    own, before = cuda.get_device_properties, below(os.getpid())
    with cuda_device_properties.installed():
        assert cuda.get_device_properties(0).pid != os.getpid()
    assert cuda.get_device_properties is own
    assert below(os.getpid()) <= before, "the copy is collected"
    with pytest.raises(ZeroDivisionError), cuda_device_properties.installed():
        raise ZeroDivisionError
    assert cuda.get_device_properties is own


def flashinfer_asks(cuda: Any, device: int) -> None:
    with contextlib.suppress(RuntimeError):
        cuda.get_device_properties(device)


def test_a_module_that_went_on_without_an_answer_makes_the_process_useless(cuda: Any) -> None:
    with pytest.raises(NotCopyable, match="the properties of GPU 7 are not known"), cuda_device_properties.installed():
        # FlashInfer catches the error, and takes the GPU for another one.
        flashinfer_asks(cuda, 7)


@pytest.mark.parametrize("error", [RuntimeError("no driver"), SystemExit(3), KeyboardInterrupt()])
def test_a_copy_that_fails_says_so_and_never_goes_on_as_its_caller(
    cuda: Any, capfd: pytest.CaptureFixture[str], error: BaseException, tmp_path: Path
) -> None:
    def fail() -> int:
        raise error

    cuda.device_count = fail
    answers = GPUProperties()
    with (tmp_path / "callers").open("a") as file:
        file.write(f"{os.getpid()}\n")
    with pytest.raises(RuntimeError, match="GPU 0 are not known"):
        answers.of()
    answers.close()
    assert (tmp_path / "callers").read_text() == f"{os.getpid()}\n"
    assert type(error).__name__ in capfd.readouterr().err


DRIVER = """
#include <unistd.h>
int cuInit(unsigned flags) { return getpid() == FORBIDDEN ? 999 : RESULT; }
"""


@pytest.fixture
def driver(tmp_path: Path) -> Any:
    """Build a library whose `cuInit` returns a number, and fails in this process."""

    def build(result: int) -> str:
        source, library = tmp_path / "cuda.c", tmp_path / "libcuda.so.1"
        source.write_text(DRIVER)
        flags = [f"-DRESULT={result}", f"-DFORBIDDEN={os.getpid()}"]
        subprocess.run(["cc", "-shared", "-fPIC", *flags, str(source), "-o", str(library)], check=True)
        return str(library)

    return build


@pytest.mark.parametrize(("result", "usable"), [(0, True), (3, False), (100, False), (256, False)])
def test_copies_can_use_gpus_when_the_stand_in_driver_starts_in_one(
    cuda: Any, driver: Any, monkeypatch: pytest.MonkeyPatch, result: int, usable: bool
) -> None:
    monkeypatch.setattr(preload, "CUDA_DRIVER", driver(result))
    assert copies_can_use_gpus() is usable


def test_copies_cannot_use_gpus_that_this_process_has_used(
    cuda: Any, driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preload, "CUDA_DRIVER", driver(0))
    cuda._is_in_bad_fork = lambda: True
    assert not copies_can_use_gpus()


def test_copies_cannot_use_gpus_without_a_driver(
    cuda: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(preload, "CUDA_DRIVER", "libnowhere.so.1")
    assert not copies_can_use_gpus()
    assert "libnowhere.so.1" in capfd.readouterr().err


def test_what_cannot_be_imported_is_told_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raises_at_import.py").write_text("raise OSError('no GPU')")
    (tmp_path / "imported_in_advance.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    told = import_all(["raises_at_import", "no_such_module_at_all", "imported_in_advance"])
    assert told[0] == "raises_at_import is not preloaded: OSError: no GPU"
    assert told[1].startswith("no_such_module_at_all is not preloaded: ModuleNotFoundError: ")
    assert len(told) == 2
    assert "imported_in_advance" in sys.modules


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_modules_are_those_of_the_device(device: str) -> None:
    found = modules_of({"TRITON_VLLM_DEVICE": device})
    assert found == ENGINE_MODULES + DEVICE_MODULES[device]
    assert len(set(found)) == len(found)


def test_an_unknown_device_has_no_modules_of_its_own() -> None:
    assert modules_of({}) == ENGINE_MODULES


@pytest.fixture
def stand_in_engine(cuda: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """No module of the engine is imported; the title that the process gets is noted."""
    titles: list[str] = []
    utils = ModuleType("vllm.utils.system_utils")
    utils.set_process_title = titles.append  # type: ignore[attr-defined]
    utils.get_mp_context = lambda: None  # type: ignore[attr-defined]
    for name in ("vllm", "vllm.utils"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["vllm"].utils = sys.modules["vllm.utils"]  # type: ignore[attr-defined]
    sys.modules["vllm.utils"].system_utils = utils  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm.utils.system_utils", utils)
    flashinfer = ModuleType("vllm.utils.flashinfer")
    flashinfer.has_flashinfer = lambda: True  # type: ignore[attr-defined]
    sys.modules["vllm.utils"].flashinfer = flashinfer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm.utils.flashinfer", flashinfer)
    monkeypatch.setattr(preload, "ENGINE_MODULES", ("no_such_module_at_all",))
    monkeypatch.setattr(preload, "DEVICE_MODULES", {})
    server: Any = multiprocessing.forkserver._forkserver
    monkeypatch.setattr(server, "ensure_running", server.ensure_running)  # it is put back afterwards
    monkeypatch.setattr(gc, "collect", lambda: titles.append("collected"))
    monkeypatch.setattr(gc, "freeze", lambda: titles.append("frozen"))
    monkeypatch.delenv("TRITON_VLLM_FORK_SERVER", raising=False)
    return titles


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_preload_imports_and_gets_ready_to_be_copied(
    stand_in_engine: list[str],
    driver: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    device: str,
) -> None:
    monkeypatch.setenv("TRITON_VLLM_DEVICE", device)
    monkeypatch.setattr(preload, "CUDA_DRIVER", driver(0))
    preload.preload()
    assert stand_in_engine == ["ForkServer", "collected", "frozen"]
    # The engine core, a copy, starts its workers as copies too.
    assert isinstance(sys.modules["vllm.utils.system_utils"].get_mp_context(), ForkServerContext)
    assert "no_such_module_at_all is not preloaded" in capsys.readouterr().err
    assert sys.modules["vllm.utils.flashinfer"].has_flashinfer() == (device == "cpu")


def test_preload_fails_where_copies_could_not_use_a_gpu(
    stand_in_engine: list[str], driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_VLLM_DEVICE", "cuda")
    monkeypatch.setattr(preload, "CUDA_DRIVER", driver(3))
    with pytest.raises(NotCopyable, match="has initialized CUDA"):
        preload.preload()
    # On a CPU it is not asked for.
    monkeypatch.setenv("TRITON_VLLM_DEVICE", "cpu")
    preload.preload()


EVERY_MODULE = """
import sys
from backend.engine.preload import import_all, modules_of
for problem in import_all(modules_of({"TRITON_VLLM_DEVICE": "cpu"})):
    print(problem)
import threading
print("threads", threading.active_count(), "cuda", sys.modules["torch"].cuda.is_initialized())
"""


@pytest.mark.engine
@pytest.mark.parametrize("variant", ["cpu", "cpu-previous"])
def test_every_module_is_there_and_starts_no_thread(tmp_path: Path, variant: str) -> None:
    *problems, last = script_lines(tmp_path, EVERY_MODULE, variant=variant)
    assert [line for line in problems if "is not preloaded" in line] == []
    assert last == "threads 1 cuda False"
