"""What the check of the image finds, each broken on purpose; the real environment's part is in test_cuda_image.py."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import py_compile
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import env as engine_env
from imagecheck import __main__ as check
from imagecheck import calls, fatbin, files, modules, parts, versions

IMAGE = Path(__file__).resolve().parents[1]


def _distribution(packages: Path, name: str, content: dict[str, str], **recorded: str) -> None:
    """A distribution with these files; `recorded`: what its RECORD says they hold instead."""
    lines = []
    for path, text in content.items():
        (packages / path).parent.mkdir(parents=True, exist_ok=True)
        (packages / path).write_text(text)
        said = recorded.get(Path(path).stem, text)
        lines.append(f"{path},sha256={said},{len(said)}")
    info = packages / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "RECORD").write_text("\n".join([*lines, f"{info.name}/RECORD,,", "../../bin/tool,sha256=x,1"]) + "\n")


def _load(file: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_a_file_of_two_distributions_is_found(tmp_path: Path) -> None:
    _distribution(tmp_path, "bindings", {"cuda/runtime.so": "new", "cuda/__init__.py": ""})
    _distribution(tmp_path, "python", {"cuda/runtime.so": "old", "cuda/__init__.py": ""})
    (found,) = files.collisions(tmp_path)
    assert found.startswith("cuda/runtime.so is a file of bindings-1.0 and python-1.0")


def test_a_file_that_is_no_longer_shared_must_leave_the_list(tmp_path: Path) -> None:
    shared = next(iter(files.SHARED))
    _distribution(tmp_path, "one", {shared: "a"})
    _distribution(tmp_path, "two", {"two.py": "b"})
    assert [expected.split(" is ")[0] for expected in files.collisions(tmp_path)] == [shared]
    _distribution(tmp_path, "three", {shared: "c"})
    assert list(files.collisions(tmp_path)) == []


def test_a_file_that_another_has_overwritten_or_removed_is_found(tmp_path: Path) -> None:
    _distribution(
        tmp_path, "torch", {"torch/a.py": "as it was", "torch/b.py": "b", "torch/c.py": "c"}, a="longer than it was"
    )
    (tmp_path / "torch/b.py").unlink()
    longer, missing = files.changed(tmp_path, complete=True)
    assert longer.startswith("torch/a.py has 9 bytes, that of torch-1.0 has 18")
    assert missing.startswith("torch/b.py of torch-1.0 is missing")
    assert len(list(files.changed(tmp_path, complete=False))) == 1


def test_a_file_that_is_as_recorded_must_leave_the_list(tmp_path: Path) -> None:
    path = next(iter(files.NOT_AS_RECORDED))
    stem = Path(path).stem
    _distribution(tmp_path, "video", {path: "short"}, **{stem: "as recorded"})
    assert list(files.changed(tmp_path, complete=True)) == []
    (tmp_path / path).write_text("as recorded")
    (expected,) = files.changed(tmp_path, complete=True)
    assert "remove it from NOT_AS_RECORDED" in expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"torch": ["triton==3.7.1"]}, ["torch asks for triton==3.7.1, installed is 3.6.0"]),
        ({"torch": ["triton>=3.6", "absent>=1", 'triton==9; python_version < "3"']}, []),
        ({"torch": ['triton==9; extra == "other"']}, []),
        ({"cuda-toolkit": ['triton==9; extra == "nvcc"']}, ["cuda-toolkit asks for triton==9, installed is 3.6.0"]),
    ],
)
def test_pins_that_contradict_each_other_are_found(wanted: dict[str, list[str]], expected: list[str]) -> None:
    found = list(versions.contradictions(wanted, {"triton": "3.6.0", "torch": "2", "cuda-toolkit": "13"}))
    assert [line.partition(": ")[0] for line in found] == expected


def test_a_requirement_that_is_followed_again_must_leave_the_list() -> None:
    wanted = {"ml-dtypes": ["numpy>=2"]}
    assert not list(versions.contradictions(wanted, {"ml-dtypes": "1", "numpy": "1.26"}))
    (expected,) = versions.contradictions(wanted, {"ml-dtypes": "1", "numpy": "2.1"})
    assert "remove it from NOT_FOLLOWED" in expected


def _toolkit(folder: Path, nvcc: str, header: int) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "include").mkdir()
    (folder / "bin/nvcc").write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {nvcc}, V{nvcc}.88'\n")
    (folder / "bin/nvcc").chmod(0o755)
    (folder / "include/cuda_runtime_api.h").write_text(f"#define CUDART_VERSION  {header}\n")
    return folder


@pytest.mark.parametrize(
    ("nvcc", "header", "nvvm", "expected"),
    [
        ("13.0", 13000, "13.0.88", []),
        ("13.5", 13000, "13.0.88", ["nvcc is of CUDA 13.5"]),
        ("13.0", 12080, "13.0.88", ["cuda_runtime_api.h is of CUDA 12.8"]),
        ("13.0", 13000, "13.5.37", ["nvidia-nvvm is of CUDA 13.5"]),
    ],
)
def test_a_toolkit_of_two_versions_is_found(
    tmp_path: Path, nvcc: str, header: int, nvvm: str, expected: list[str]
) -> None:
    names = ("nvidia-cuda-runtime", "nvidia-cuda-nvrtc", "nvidia-cuda-crt", "nvidia-cuda-cccl")
    installed = {**dict.fromkeys(names, "13.0.96"), "nvidia-nvvm": nvvm}
    found = versions.toolkit(_toolkit(tmp_path / "cuda", nvcc, header), "13.0", installed)
    assert [line.partition(",")[0] for line in found] == expected


def _fat_binary(*entries: tuple[int, int]) -> bytes:
    body = b"".join(
        struct.pack("<HHIQ12xI", kind, 0, 64, 8, arch).ljust(64, b"\0") + b"8 bytes!" for kind, arch in entries
    )
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


def test_the_architectures_of_a_library_are_read_from_its_fat_binaries() -> None:
    library = b"ELF..." + _fat_binary((2, 80), (2, 90)) + b"between" + _fat_binary((1, 70), (2, 120)) + b"end"
    assert fatbin.architectures(library) == {80, 90, 120}  # 70 is source code only
    assert fatbin.architectures(b"no code") == set()
    assert fatbin.architectures(library[:100]) == {80}


def test_compilers_that_are_called_are_noted(tmp_path: Path) -> None:
    tools, cuda = tmp_path / "tools", tmp_path / "cuda"
    for program, text in {
        tools / "gcc": "echo compiled; cc",  # what it calls itself is not noted
        tools / "cc": "true",
        tools / "ninja": "gcc",
        cuda / "bin/nvcc": "echo by nvcc",
        cuda / "bin/other": "true",
    }.items():
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    (cuda / "include").mkdir()
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "CUDA_HOME": str(cuda)}
    recorder = calls.Recorder(tmp_path / "recorder", environment)

    def run(command: str) -> str:
        return subprocess.check_output(["sh", "-c", command], env=recorder.environment, text=True)

    assert recorder.taken() == set()
    assert run("gcc") == "compiled\n"
    assert recorder.taken() == {"gcc"}
    assert run("ninja; $CUDA_HOME/bin/nvcc; $CUDA_HOME/bin/other; ls $CUDA_HOME/include") == "compiled\nby nvcc\n"
    assert recorder.taken() == {"ninja", "gcc", "nvcc"}


def test_what_a_module_imports_is_read_from_it() -> None:
    source = """
import a.b
from c import d
from . import e
from ..f import g
if TYPE_CHECKING:
    import unseen
else:
    import h
try:
    import optional
except ImportError:
    import instead
else:
    import i
try:
    import j
except ValueError:
    pass
with contextlib.suppress(ImportError):
    import optional
def late():
    from k import l
"""
    imports = modules.Imports("p.q")
    imports.visit(ast.parse(source))
    expected = {
        ("a.b", None),
        ("c", "d"),
        ("p.q", "e"),
        ("p.f", "g"),
        ("h", None),
        ("i", None),
        ("j", None),
        ("k", "l"),
    }
    assert imports.found == expected


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that stands for vLLM."""
    folder = tmp_path / "fakevllm"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(modules, "LISTED", {})
    monkeypatch.setattr(modules, "WITHOUT", {"lmcache": "a store outside"})
    return folder


def _problems() -> list[str]:
    names = [name for name in sys.modules if name.startswith("fakevllm")]
    for name in names:
        del sys.modules[name]
    importlib.invalidate_caches()
    return [expected.partition(": ")[0] for expected in modules.problems("fakevllm")]


def test_modules_that_cannot_be_imported_are_found(package: Path) -> None:
    (package / "fine.py").write_text("def f():\n    import lmcache.store\n    from json import loads\n")
    (package / "rocm.py").write_text("import amdsmi\n")
    assert _problems() == []
    (package / "broken.py").write_text("raise RuntimeError('no GPU')\n")
    (package / "late.py").write_text("def f():\n    from json import absent\n    import nowhere\n")
    assert _problems() == [
        "fakevllm.broken cannot be imported",
        "json.absent cannot be imported",
        "nowhere cannot be imported",
    ]


def test_what_is_listed_and_can_be_imported_is_found(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package / "broken.py").write_text("raise RuntimeError('no GPU')\n")
    monkeypatch.setattr(modules, "LISTED", {"fakevllm.broken": "wants a GPU"})
    assert _problems() == []
    (package / "broken.py").write_text("")
    shutil.rmtree(package / "__pycache__", ignore_errors=True)
    assert _problems() == ["fakevllm.broken is in LISTED and can be imported"]
    monkeypatch.setattr(modules, "LISTED", {})
    monkeypatch.setattr(modules, "WITHOUT", {"json": "of the standard library"})
    assert _problems() == ["json is in WITHOUT and is installed"]


def test_sources_without_bytecode_are_found(tmp_path: Path) -> None:
    fresh, stale, hashed, missing = (tmp_path / f"{name}.py" for name in ("fresh", "stale", "hashed", "missing"))
    for source in (fresh, stale, hashed, missing):
        source.write_text("x = 1\n")
    py_compile.compile(str(fresh), invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)
    py_compile.compile(str(stale), invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)
    py_compile.compile(str(hashed), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    stale.write_text("x = 1234\n")
    gone = tmp_path / "gone.py"
    expected = list(parts.without_bytecode([fresh, stale, hashed, missing, gone], shown=1))
    assert [line.split(" has ")[0] for line in expected] == [str(missing), "and 1 more have none"]


def test_architectures_that_cannot_be_compiled_for_are_refused() -> None:
    kernels = _load(IMAGE / "compile-kernels.py", "compile_kernels")
    architectures = kernels.parse("8.0 9.0a 10.0f 12.0f")
    assert architectures == {"sm80": 8, "sm90a": 9, "sm100f": 10, "sm120f": 12}
    assert kernels.architectures_of("sampling", architectures) == ["sm80", "sm90a", "sm100f", "sm120f"]
    assert kernels.architectures_of("trtllm_mnnvl_comm", architectures) == ["sm90a", "sm100f"]
    for wrong in ("9.0", "8.0a", "hopper", "90"):
        with pytest.raises(ValueError, match="cannot be compiled for; give a list"):
            kernels.parse(f"8.0 {wrong}")


def test_compiled_modules_are_offered_for_the_gpus_that_they_hold_code_for(tmp_path: Path) -> None:
    shutil.copyfile(IMAGE / "precompiled.py", tmp_path / "__init__.py")
    held = {"sampling": ["sm80", "sm90a"], "rope": ["sm80", "sm90a"], "trtllm_comm": ["sm90a"]}
    (tmp_path / "manifest.json").write_text(json.dumps({"version": "0.7", "modules": held}))
    shim = _load(tmp_path / "__init__.py", "offered")
    first, second = shim.get_jit_cache_providers()
    assert shim.__version__ == first.version == "0.7"
    assert (first.cuda_architectures, first.modules) == (("sm80", "sm90a"), ("sampling", "rope"))
    assert (second.cuda_architectures, second.modules) == (("sm90a",), ("trtllm_comm",))
    assert first.provider_id != second.provider_id
    assert first.jit_cache_dir == str(tmp_path)


def test_files_outside_of_the_folder_for_caches_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", "/of/the/caller")
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", "/bytecode/elsewhere")
    monkeypatch.setenv("PYTHONPATH", "/of/the/image")
    environment = check.environment(tmp_path)
    # As in a pod without a GPU, where the bytecode of the image is used and none is written.
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert environment["PYTHONPATH"] == f"{IMAGE}:/of/the/image"
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"
    assert "PYTHONPYCACHEPREFIX" not in environment
    assert environment["TMPDIR"] == str(tmp_path / "tmp")
    assert environment["TRITON_CACHE_DIR"] == str(tmp_path / "cache/triton")
    assert check.astray(tmp_path) == []
    (Path(environment["HOME"]) / ".humming").mkdir()
    (Path(environment["HOME"]) / ".humming/kernel").write_text("")
    (expected,) = check.astray(tmp_path)
    assert expected.startswith("home/.humming/kernel was written outside")


def test_a_part_tells_what_it_finds_what_it_raises_and_calls_that_were_not_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = calls.Recorder(tmp_path / "recorder", check.environment(tmp_path))
    program = tmp_path / "recorder/bin/gcc"
    program.write_text(f"#!/bin/sh\necho gcc >> {tmp_path}/recorder/calls\n")
    program.chmod(0o755)

    def lines(script: str, *expected: str) -> list[str]:
        (tmp_path / "run").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "run").chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(tmp_path / "run"))
        return check.run(check.Part("any", lambda: iter(()), frozenset(expected)), recorder)

    assert lines("gcc", "gcc") == []
    assert lines("echo PROBLEM a file of two") == ["a file of two"]
    assert lines("echo no such library >&2; exit 1")[0].startswith("ended with 1: no such library")
    assert lines("gcc")[0].startswith("gcc is called, which is not expected")
    assert lines("true", "gcc")[0].startswith("gcc is not called")


def test_a_part_that_raises_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> object:
        yield "two\nlines"
        raise OSError("no such library")

    assert check.check(check.Part("any", broken)) == 1
    output = capsys.readouterr()
    assert output.out == "PROBLEM two lines\n"
    assert "no such library" in output.err


@pytest.fixture
def two_parts(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Two parts, of which one is for a CPU too, and what they find."""
    finds: dict[str, list[str]] = {"both": [], "gpu": []}
    shown = (check.Part("both", lambda: None, on_cpu=True), check.Part("gpu", lambda: ["none of these"]))
    monkeypatch.setattr(check, "PARTS", shown)
    monkeypatch.setattr(check, "run", lambda part, recorder: finds[part.name])
    monkeypatch.delenv("CUDA_HOME", raising=False)
    return finds


def test_the_check_ends_with_1_when_a_part_finds_something(
    two_parts: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert check.main([]) == 0
    assert capsys.readouterr().out == "both: ok (0 s)\ngpu: ok (0 s)\n"
    two_parts["gpu"] = ["a compiler is missing"]
    assert check.main(["--device", "cpu"]) == 0
    assert check.main(["both"]) == 0
    assert capsys.readouterr().out == "both: ok (0 s)\n" * 2
    assert check.main(["both", "gpu"]) == 1
    assert capsys.readouterr().out.endswith("gpu: FAILED (0 s)\n  a compiler is missing\n")
    with pytest.raises(SystemExit, match="2"):
        check.main(["absent"])
    assert check.main(["--in-process", "gpu"]) == 0
    assert capsys.readouterr().out == "PROBLEM none of these\n"


def test_the_check_ends_with_1_when_something_was_left_outside_of_the_caches(
    two_parts: dict[str, list[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "astray", lambda folder: ["home/.humming was written"])
    assert check.main([]) == 1
    assert "home/.humming was written" in capsys.readouterr().out


@pytest.mark.engine
@pytest.mark.timeout(900)
@pytest.mark.parametrize("variant", ["cpu", "cpu-previous"])
def test_the_images_for_cpus_have_no_contradictions(variant: str) -> None:
    left_out = ("PYTHONPYCACHEPREFIX", "CUDA_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    environment = {**kept, "PYTHONPATH": str(IMAGE), "TRITON_VLLM_DEVICE": "cpu"}
    command = [str(engine_env.ensure(variant)), "-m", "imagecheck"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split(" (")[0] for line in done.stdout.splitlines()] == [
        "files: ok",
        "requirements: ok",
        "patches: ok",
    ]
