"""The engine's environment on this host, from the same pinned requirements as the image.

`python images/triton-vllm/env.py` prints the path of a Python interpreter that imports vllm, torch and numpy as the
CPU image has them, with Triton's server beside it (`tritonserver_folder`). It is built on first use, in the cache
folder, under a name that is the hash of the requirements, and used from then on. `env.py cuda` does so for the image
for GPUs; `cuda_variables` says how its programs are run. `env.py lock` writes the pinned files again from the
`.in` files.

Where the engine is there already (in the image, say), `TRITON_VLLM_ENGINE` names its virtual environment and
`TRITON_VLLM_SERVER` the folder of Triton's server: they are used as they are, for every variant.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements"
PYTHON = "3.11"
UV = "uv==0.13.9"
# In the order of the image's layers: what changes least comes first.
LAYERS = ("torch", "libraries", "engine", "server")
VARIANTS = ("cpu", "cpu-previous", "cuda")
ENGINE_VARIABLE, SERVER_VARIABLE = "TRITON_VLLM_ENGINE", "TRITON_VLLM_SERVER"
# What the Dockerfile does for GPUs after the packages, and the files that it does it with. Of the kernels, one module
# for one GPU: all of them take half an hour.
CUDA_STEPS = {
    "kernels": ("lay-out-toolkit.sh", "compile-kernels.py", "precompiled.py"),
    "triton": ("compile-triton-kernels.py", "triton-kernels.jsonl"),
    "bytecode": ("import-engine.py", "without_gpu.py", "imagecheck/modules.py", "backend/engine/preload.py"),
}
CUDA_KERNELS = ("sampling",)
CUDA_ARCHITECTURES = "9.0a"
COMPILER_PACKAGES = ("g++", "libc6-dev", f"libpython{PYTHON}-dev")

_TORCH = re.compile(r"(torch|torchvision|triton|cuda-[\w-]+|nvidia-(?!pytriton)[\w-]+)==")
_ENGINE = re.compile(r"vllm(-cpu)?==")
_SERVER = re.compile(r"nvidia-pytriton==")


class EnvironmentFailed(RuntimeError):
    """The environment cannot be made here; the message says what is missing."""


def cache_root() -> Path:
    """The project's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "triton-vllm-operator"


def find_uv() -> str:
    """The uv command: from PATH, or the one that the project's own setup left in the cache folder."""
    found = shutil.which("uv")
    cached = sorted(cache_root().glob("uv-*/bin/uv"))
    if not found and not cached:
        raise EnvironmentFailed(f"uv is needed: pip install '{UV}'")
    return found or str(cached[-1])


def find_python() -> str:
    """An interpreter of the image's version with a shared libpython, which the python backend's stub links to."""
    candidates = [f"/usr/bin/python{PYTHON}", shutil.which(f"python{PYTHON}"), sys.executable]
    for candidate in filter(None, candidates):
        if Path(candidate).exists() and _has_shared_library(candidate):
            return candidate
    raise EnvironmentFailed(f"Python {PYTHON} with libpython{PYTHON}.so.1.0 is needed (Debian: libpython{PYTHON})")


def _has_shared_library(python: str) -> bool:
    code = "import ctypes,sys; v='%d.%d' % sys.version_info[:2]; print(v); ctypes.CDLL(f'libpython{v}.so.1.0')"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.strip() == PYTHON


def requirement_files(variant: str) -> list[Path]:
    """The pinned files of a variant, in the order of the layers."""
    return [REQUIREMENTS / variant / f"{layer}.txt" for layer in LAYERS]


def environment_folder(variant: str) -> Path:
    """Where the environment of these requirements lives, built or not."""
    digest = hashlib.sha256(PYTHON.encode())
    for file in requirement_files(variant):
        digest.update(file.read_bytes())
    return cache_root() / f"engine-{variant}-{digest.hexdigest()[:12]}"


def ensure(variant: str = "cpu") -> Path:
    """The interpreter of the environment; builds the environment when it is not there yet."""
    if os.environ.get(ENGINE_VARIABLE):
        return interpreter(variant)
    folder = environment_folder(variant)
    with _locked(folder.with_suffix(".lock")):
        if not (folder / ".complete").exists():
            _build(folder, variant)
        if variant == "cuda":
            _finish_for_gpus(folder)
    return interpreter(variant)


def interpreter(variant: str = "cpu") -> Path:
    """The interpreter of the environment, built or not; that of `TRITON_VLLM_ENGINE` where it is set."""
    given = os.environ.get(ENGINE_VARIABLE)
    return (Path(given) if given else environment_folder(variant)) / "bin" / "python"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build(folder: Path, variant: str) -> None:
    uv = find_uv()
    _run([uv, "venv", "--quiet", "--clear", "--python", find_python(), str(folder)])
    for file in requirement_files(variant):
        # Every file is a complete lock; the packages' own requirements contradict each other (numpy, torch+cpu).
        _run([uv, "pip", "install", "--quiet", "--no-deps", "--python", str(folder / "bin/python"), "-r", str(file)])
    _lay_out_server(folder)
    _run([str(folder / "bin/python"), "-c", "import vllm, torch, torchvision"])
    (folder / ".complete").touch()


def _finish_for_gpus(folder: Path) -> None:
    """The toolkit with kernels, and bytecode, as the Dockerfile makes them; each again when its files have changed."""
    if missing := [name for name in ("g++", "gcc") if not shutil.which(name)]:
        raise EnvironmentFailed(f"{missing[0]} is needed (Debian: apt-get install {' '.join(COMPILER_PACKAGES)})")
    steps = {"kernels": _make_kernels, "triton": _make_triton_kernels, "bytecode": _make_bytecode}
    for name, files in CUDA_STEPS.items():
        digest = hashlib.sha256(repr((CUDA_KERNELS, CUDA_ARCHITECTURES)).encode())
        for file in files:
            digest.update((HERE / file).read_bytes())
        done = folder / f".{name}-{digest.hexdigest()[:12]}"
        if not done.exists():
            with tempfile.TemporaryDirectory() as home:
                steps[name](folder, {**cuda_variables(), "HOME": home, "XDG_CACHE_HOME": f"{home}/cache"})
            done.touch()


def _make_kernels(folder: Path, variables: dict[str, str]) -> None:
    packages = folder / f"lib/python{PYTHON}/site-packages"
    _run(["sh", str(HERE / "lay-out-toolkit.sh"), str(packages), str(folder / "cuda")])
    _run([str(folder / "bin/python"), str(HERE / "compile-kernels.py"), str(packages), *CUDA_KERNELS], variables)


def _make_triton_kernels(folder: Path, variables: dict[str, str]) -> None:
    kept = folder / "share/vllm/triton"
    shutil.rmtree(kept, ignore_errors=True)
    program = [str(folder / "bin/python"), str(HERE / "compile-triton-kernels.py")]
    _run([*program, "--recorded-vocabulary", str(kept), *CUDA_ARCHITECTURES.split()], variables)


def _make_bytecode(folder: Path, variables: dict[str, str]) -> None:
    _run([str(folder / "bin/python"), str(HERE / "import-engine.py")], variables)


def cuda_variables() -> dict[str, str]:
    """The environment of the image for GPUs, for programs of the environment `cuda`."""
    folder = environment_folder("cuda")
    left_out = ("PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")
    inherited = {name: value for name, value in os.environ.items() if name not in left_out}
    return {
        **inherited,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": f"{HERE}:{HERE.parent.parent}",
        "LD_LIBRARY_PATH": str(folder / "cuda/lib64"),
        "CUDA_HOME": str(folder / "cuda"),
        "CUDA_ARCHITECTURES": CUDA_ARCHITECTURES,
        "CUDA_VISIBLE_DEVICES": "",
        "DEVICE": "cuda",
        "TRITON_VLLM_DEVICE": "cuda",
    }


def _lay_out_server(folder: Path) -> None:
    """Put Triton's server where the image has it: the same script runs in the Dockerfile."""
    packages = folder / f"lib/python{PYTHON}/site-packages"
    _run(["sh", str(HERE / "lay-out-server.sh"), str(packages), PYTHON, str(folder / "tritonserver")])


def tritonserver_folder(variant: str = "cpu") -> Path:
    """The folder that the image calls /opt/tritonserver; `TRITON_VLLM_SERVER` where it is set."""
    given = os.environ.get(SERVER_VARIABLE)
    return Path(given) if given else environment_folder(variant) / "tritonserver"


def library_path(variant: str = "cpu") -> str:
    """LD_LIBRARY_PATH for the server: its own libraries, then those of the environment's interpreter.

    Another build's libpython (that of the interpreter which runs this file, say) would load, and fail at import.
    """
    code = "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"
    found = subprocess.run(
        [interpreter(variant), "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()
    return f"{tritonserver_folder(variant) / 'lib'}:{found}"


def lock(variant: str, *, upgrade: bool = False) -> None:
    """Resolve `<variant>.in` and write one pinned file per layer; `upgrade`: with the newest versions that fit.

    Without it, what is pinned stays where it still fits, so that a change of one requirement changes no others.
    """
    command = [find_uv(), "pip", "compile", "--quiet", "--no-annotate", "--no-header"]
    command += ["--python-version", PYTHON, "--python-platform", "x86_64-manylinux_2_36"]
    command += ["--override", str(REQUIREMENTS / "overrides.txt")]
    if variant.startswith("cpu"):
        command += ["--override", str(REQUIREMENTS / "overrides-cpu.txt")]
    with tempfile.NamedTemporaryFile("w+", suffix=".txt") as pins:
        if not upgrade:
            pins.write("".join(file.read_text() for file in requirement_files(variant) if file.exists()))
            pins.flush()
        command += ["--output-file", pins.name, str(REQUIREMENTS / f"{variant}.in")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        lines = Path(pins.name).read_text().splitlines()
    (REQUIREMENTS / variant).mkdir(exist_ok=True)
    for layer in LAYERS:
        chosen = [line for line in lines if _layer_of(line) == layer]
        (REQUIREMENTS / variant / f"{layer}.txt").write_text("\n".join(chosen) + "\n")


def _layer_of(line: str) -> str:
    for layer, pattern in (("torch", _TORCH), ("engine", _ENGINE), ("server", _SERVER)):
        if pattern.match(line):
            return layer
    return "libraries"


def _run(command: list[str], variables: dict[str, str] | None = None) -> None:
    with tempfile.TemporaryFile("w+") as log:
        code = subprocess.run(command, check=False, stdout=log, stderr=subprocess.STDOUT, env=variables).returncode
        if code != 0:
            log.seek(0)
            raise EnvironmentFailed(f"{' '.join(command)} ended with {code}:\n{log.read()[-3000:]}")


def main(arguments: list[str]) -> int:
    """`env.py [lock [--upgrade]] [VARIANT]`."""
    variants = [a for a in arguments if a in VARIANTS] or None
    if "lock" in arguments:
        for variant in variants or VARIANTS:
            lock(variant, upgrade="--upgrade" in arguments)
        return 0
    sys.stdout.write(f"{ensure((variants or ['cpu'])[0])}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
