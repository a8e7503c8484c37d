"""The check of the image on what the image for GPUs is made of, without a GPU: it passes, and each fault makes it fail.

The environment is built from the image's own pins with the scripts of its Dockerfile (`env.py cuda`).
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

import env as engine_env
from devtools import cache
from e2e.cluster.machine import packages
from imagecheck.__main__ import PARTS

pytestmark = [pytest.mark.cuda, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Checked:
    """How a run of the check ended."""

    code: int
    message: str


@dataclass(frozen=True)
class CudaImage:
    """Runs the check as the Dockerfile does."""

    python: Path
    variables: dict[str, str]

    def check(self, *parts: str, **changed: str) -> Checked:
        """The end of `python -m imagecheck PARTS` with these variables changed."""
        command = [str(self.python), "-m", "imagecheck", *parts]
        environment = {**self.variables, **changed}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return Checked(done.returncode, done.stdout + done.stderr)


@pytest.fixture(scope="session")
def image() -> CudaImage:
    if packages.can_install():
        packages.install(engine_env.COMPILER_PACKAGES, cache.root() / "logs" / "compilers.log")
    return CudaImage(engine_env.ensure("cuda"), engine_env.cuda_variables())


@pytest.fixture
def path_without(image: CudaImage, tmp_path: Path) -> object:
    """Makes a PATH that has all programs but some."""

    def made(*names: str) -> str:
        for folder in reversed(image.variables["PATH"].split(":")):
            for program in Path(folder).glob("*"):
                copy = tmp_path / "programs" / program.name
                copy.parent.mkdir(exist_ok=True)
                copy.unlink(missing_ok=True)
                if program.name not in names:
                    copy.symlink_to(program)
        return str(tmp_path / "programs")

    return made


@pytest.fixture
def toolkit(image: CudaImage, tmp_path: Path) -> Path:
    """The toolkit as links that a test may change."""
    real, copy = Path(image.variables["CUDA_HOME"]), tmp_path / "toolkit"
    (copy / "bin").mkdir(parents=True)
    for part in [*real.iterdir(), *(real / "bin").iterdir()]:
        if part.name != "bin":
            (copy / part.relative_to(real)).symlink_to(part)
    return copy


def test_the_image_has_nothing_that_cannot_start(image: CudaImage) -> None:
    checked = image.check()
    assert checked.code == 0, checked.message
    assert [line.split(": ok")[0] for line in checked.message.splitlines() if ": ok (" in line] == [
        p.name for p in PARTS
    ]


@pytest.mark.parametrize(
    ("part", "compiler", "message"),
    [
        ("triton-stub", "gcc", "Failed to find C compiler"),
        ("inductor", "g++", "InvalidCxxCompiler"),
        ("flashinfer-compiles", "c++", "c++: not found"),
        ("flashinfer-compiles", "ninja", "No such file or directory: 'ninja'"),
        ("tilelang", "g++", "g++"),
    ],
)
def test_a_missing_compiler_is_found(
    image: CudaImage, path_without: object, part: str, compiler: str, message: str
) -> None:
    without = (compiler, "clang", "clang++") if compiler == "gcc" else (compiler,)
    checked = image.check(part, PATH=path_without(*without))  # type: ignore[operator]
    assert checked.code == 1
    assert message in checked.message
    assert f"{part}: FAILED" in checked.message


@pytest.mark.parametrize("part", ["deep-gemm", "flashinfer-compiles", "tilelang"])
def test_a_missing_nvcc_is_found(image: CudaImage, toolkit: Path, part: str) -> None:
    (toolkit / "bin/nvcc").unlink()
    checked = image.check(part, CUDA_HOME=str(toolkit))
    assert checked.code == 1
    assert f"{part}: FAILED" in checked.message


def test_an_nvcc_of_another_version_is_found(image: CudaImage, toolkit: Path) -> None:
    (toolkit / "bin/nvcc").unlink()
    (toolkit / "bin/nvcc").write_text("#!/bin/sh\necho 'Cuda compilation tools, release 13.5, V13.5.37'\n")
    (toolkit / "bin/nvcc").chmod(0o755)
    checked = image.check("toolkit", CUDA_HOME=str(toolkit))
    assert checked.code == 1
    assert "nvcc is of CUDA 13.5, torch is built for 13.0" in checked.message


def test_libraries_of_the_toolkit_that_are_not_found_are_told(image: CudaImage) -> None:
    checked = image.check("humming", LD_LIBRARY_PATH="")
    assert checked.code == 1
    assert "libnvrtc-builtins" in checked.message


def test_headers_of_python_that_are_missing_are_found(image: CudaImage, tmp_path: Path) -> None:
    # What Triton asks for Python's own headers, answered with a folder without them.
    (tmp_path / "sitecustomize.py").write_text(
        "import sysconfig\nreal = sysconfig.get_paths\n"
        f"sysconfig.get_paths = lambda *a, **k: {{**real(*a, **k), 'include': {str(tmp_path)!r}}}\n"
    )
    checked = image.check("triton-stub", PYTHONPATH=f"{tmp_path}:{image.variables['PYTHONPATH']}")
    assert checked.code == 1
    assert "Python.h" in checked.message


@pytest.mark.parametrize(
    ("manifest", "source", "message"),
    [
        ({}, "", "FlashInfer's sampler was not compiled"),
        ({"sampling": ["sm90a", "sm80"]}, "", "sampling holds code for [90], its manifest says [80, 90]"),
        ({"sampling": ["sm90a"]}, "get_jit_cache_providers = tuple\n", "FlashInfer does not take sampling for"),
    ],
)
def test_modules_of_flashinfer_that_it_does_not_get_are_found(
    image: CudaImage, tmp_path: Path, manifest: dict[str, list[str]], source: str, message: str
) -> None:
    (real,) = (image.python.parents[1] / "lib").glob("python*/site-packages/flashinfer_jit_cache")
    version = json.loads((real / "manifest.json").read_text())["version"]
    package = tmp_path / real.name
    package.mkdir()
    (package / "__init__.py").write_text((real / "__init__.py").read_text() + source)
    (package / "manifest.json").write_text(json.dumps({"version": version, "modules": manifest}))
    (package / "sampling").symlink_to(real / "sampling")
    checked = image.check("flashinfer-modules", PYTHONPATH=f"{tmp_path}:{image.variables['PYTHONPATH']}")
    assert checked.code == 1
    assert message in checked.message


def test_a_module_that_cannot_be_imported_is_found(image: CudaImage, tmp_path: Path) -> None:
    # As the cuda-bindings that another distribution had overwritten: whatever imports it fails.
    broken = tmp_path / "quack"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise AttributeError('no attribute cudaLibrary_t')\n")
    code = (
        "import without_gpu; without_gpu.pretend(); from imagecheck import modules;"
        "print(*modules.problems('vllm.vllm_flash_attn'), sep='\\n')"
    )
    environment = {**image.variables, "PYTHONPATH": f"{tmp_path}:{image.variables['PYTHONPATH']}"}
    message = subprocess.run([image.python, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "cannot be imported: AttributeError: no attribute cudaLibrary_t" in message.stdout


def test_a_kernel_that_would_be_compiled_for_minutes_is_found(image: CudaImage, tmp_path: Path) -> None:
    # As vLLM chooses where it is not made to prefer its own.
    (tmp_path / "flashinfer_cubin").mkdir()
    (tmp_path / "flashinfer_cubin/__init__.py").write_text("__version__ = '0.7.0.post1'\nget_cubin_dir = str\n")
    checked = image.check("choices", PYTHONPATH=f"{tmp_path}:{image.variables['PYTHONPATH']}")
    assert checked.code == 1
    assert "on 9.0 vLLM selects FlashInferExperts for experts, FP8 per tensor" in checked.message
