"""Checks before the server starts, for what would hang or fail obscurely later; they take less than two seconds.

Nothing of the engine is imported here: that alone takes longer.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import importlib.util
import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.container.resources import on_cpu
from backend.settings import BadModel, closest, read_model
from contract import files, paths, ports

DEFAULT_BACKENDS = Path("/opt/tritonserver/backends")
STUB = "python/triton_python_backend_stub"
SHARED_MEMORY = Path("/dev/shm")
# Of NVIDIA's driver, which is the node's: its container toolkit puts it into containers that ask for GPUs. By it the
# engine looks for GPUs; without it, it says "Device string must not be empty" after ten seconds.
DRIVER = "libnvidia-ml.so.1"
MIB = 1 << 20
# Triton's python backend and vLLM's queue to one worker, and what each further worker adds.
SHM_BYTES = 64 * MIB
SHM_WORKER_BYTES = 64 * MIB


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the server cannot work, and what to do."""

    cause: str
    hint: str


@dataclass(frozen=True, slots=True)
class Command:
    """What the arguments of tritonserver say about files, and where it opens when the models are loaded."""

    repositories: tuple[Path, ...]
    backends: Path
    # Address and port, None when HTTP is off.
    http: tuple[str, int] | None = ("127.0.0.1", ports.HTTP)
    # Models come later, or from a place that only tritonserver can read.
    may_be_empty: bool = False

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Command:
        """Both spellings of a flag: `--name=value` and `--name value`."""
        repositories = [*flag_values(arguments, "--model-repository"), *flag_values(arguments, "--model-store")]
        backends = flag_values(arguments, "--backend-directory")
        later = [mode for mode in flag_values(arguments, "--model-control-mode") if mode != "none"]
        remote = [repository for repository in repositories if "://" in repository]
        return cls(
            tuple(map(Path, repositories)),
            Path(backends[-1]) if backends else DEFAULT_BACKENDS,
            http=_http(arguments),
            may_be_empty=bool(later or remote),
        )


def flag_values(arguments: Sequence[str], flag: str) -> list[str]:
    """What a flag is given, each time that it is given."""
    joined = [argument.split("=", 1)[1] for argument in arguments if argument.startswith(f"{flag}=")]
    apart = [value for name, value in itertools.pairwise(arguments) if name == flag]
    return joined + apart


def _http(arguments: Sequence[str]) -> tuple[str, int] | None:
    off = any(value.lower() in ("false", "0") for value in flag_values(arguments, "--allow-http"))
    # tritonserver takes an IPv6 address as ipv6:ADDRESS.
    address = ["127.0.0.1", *flag_values(arguments, "--http-address")][-1].removeprefix("ipv6:")
    port = [str(ports.HTTP), *flag_values(arguments, "--http-port")][-1]
    return (address, int(port)) if port.isdecimal() and not off else None


def check(command: Command, environment: Mapping[str, str], shared_memory: Path = SHARED_MEMORY) -> Problem | None:
    """The first problem, None when all is well."""
    found = _libraries(command) or _interpreter(command) or _driver(environment) or _caches(environment)
    if found:
        return found
    models = list(_model_folders(command))
    if not models and not command.may_be_empty:
        where = ", ".join(map(str, command.repositories)) or "none is given"
        return Problem(f"no model of backend 'vllm' in the model repository ({where})", _LAYOUT_HINT)
    workers = 1
    for folder in models:
        try:
            arguments = read_model(folder).engine_arguments
        except BadModel as error:
            return Problem(str(error), f"correct the file in {folder}")
        if problem := _arguments(arguments, folder) or _model_path(arguments):
            return problem
        workers = max(workers, _size(arguments, "tensor_parallel_size") * _size(arguments, "pipeline_parallel_size"))
    return _shared_memory(shared_memory, workers)


_LAYOUT_HINT = 'set --model-repository to a folder with MODEL/config.pbtxt (backend: "vllm") and MODEL/1/model.json'


def _libraries(command: Command) -> Problem | None:
    server = shutil.which("tritonserver")
    if server is None:
        return Problem("tritonserver is not in PATH", "use the image's own PATH")
    stub = command.backends / STUB
    if not stub.exists():
        return Problem(f"{stub} not found", "set --backend-directory to a folder with the python backend")
    for program in (Path(server), stub):
        if missing := [name for name, path in _needed(program) if path is None]:
            return Problem(
                f"{program.name} needs the shared library {missing[0]}, which is missing",
                "install the package that contains it, or add its folder to LD_LIBRARY_PATH",
            )
    return None


def _needed(program: Path) -> Iterator[tuple[str, str | None]]:
    """(library, where it is or None), as the dynamic loader reports them."""
    environment = {**os.environ, "LD_TRACE_LOADED_OBJECTS": "1"}
    traced = subprocess.run([str(program)], env=environment, capture_output=True, text=True, check=False, timeout=10)
    for line in traced.stdout.splitlines():
        if found := re.match(r"\s*(\S+) => (not found|\S+)", line):
            yield found.group(1), None if found.group(2) == "not found" else found.group(2)


def _interpreter(command: Command) -> Problem | None:
    """The stub runs the interpreter that it links to, with the packages of the one in PATH: they must be the same."""
    # A repaired wheel puts a hash into the name: libpython3-419a3a08.13.so.1.0
    linked = [re.match(r"libpython(\d+)(?:-\w+)?\.(\d+)\.so", name) for name, _ in _needed(command.backends / STUB)]
    versions = [f"{found.group(1)}.{found.group(2)}" for found in linked if found]
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if versions and own not in versions:
        return Problem(
            f"the python backend's stub is built for Python {versions[0]}, and the engine is installed for {own}",
            "use the stub of the interpreter's version",
        )
    return None


def _driver(environment: Mapping[str, str]) -> Problem | None:
    if on_cpu(environment):
        return None
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return Problem(
            f"no GPU can be used: NVIDIA's driver is not in the container ({DRIVER})",
            "request nvidia.com/gpu (docker run --gpus all) on a node with the driver and NVIDIA's container toolkit as"
            " its runtime (runtimeClassName: nvidia), or use the image for CPUs",
        )
    return None


def _caches(environment: Mapping[str, str]) -> Problem | None:
    for name in paths.CACHE_FOLDERS:
        if folder := environment.get(name):
            nearest = next(path for path in (Path(folder), *Path(folder).absolute().parents) if path.exists())
            if not os.access(nearest, os.W_OK | os.X_OK):
                return Problem(
                    f"{name}={folder} is not writable", f"mount a volume that uid {os.getuid()} may write to"
                )
    return None


def engine_arguments_of(command: Command) -> Iterator[dict[str, Any]]:
    """The engine arguments of each model of ours that can be read now; `check` reports the others."""
    for folder in _model_folders(command):
        with contextlib.suppress(BadModel):
            yield read_model(folder).engine_arguments


def serves_others(command: Command) -> bool:
    """Whether tritonserver may load a model of another backend, now or later."""
    return command.may_be_empty or any(not _is_ours(config) for config in _configurations(command))


def _model_folders(command: Command) -> Iterator[Path]:
    """The version folders of the models whose backend is ours."""
    for config in filter(_is_ours, _configurations(command)):
        versions = [path for path in config.parent.iterdir() if path.name.isdigit() and path.is_dir()]
        yield max(versions, key=lambda path: int(path.name), default=config.parent / files.VERSION_FOLDER)


def _configurations(command: Command) -> Iterator[Path]:
    for repository in command.repositories:
        yield from sorted(repository.glob(f"*/{files.CONFIG}"))


def _is_ours(config: Path) -> bool:
    return bool(re.search(rf"backend\s*:\s*[\"']{files.BACKEND}[\"']", config.read_text(errors="replace")))


def _arguments(arguments: Mapping[str, Any], folder: Path) -> Problem | None:
    known = engine_argument_names()
    unknown = sorted(set(arguments) - known) if known else []
    if not unknown:
        return None
    return Problem(
        f"{files.ENGINE}: unexpected engine argument '{unknown[0]}'{closest(unknown[0], known)}",
        f"correct {folder / files.ENGINE}: names are those of the engine's AsyncEngineArgs",
    )


def engine_argument_names() -> set[str]:
    """Names of the engine's arguments, read from the source of the installed engine; empty when it is not found."""
    package = importlib.util.find_spec("vllm")
    if package is None or not package.submodule_search_locations:
        return set()
    source = Path(package.submodule_search_locations[0]) / "engine/arg_utils.py"
    classes = [node for node in ast.parse(source.read_text()).body if isinstance(node, ast.ClassDef)]
    return {
        field.target.id
        for each in classes
        if each.name in ("EngineArgs", "AsyncEngineArgs")
        for field in each.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    }


def _model_path(arguments: Mapping[str, Any]) -> Problem | None:
    model = arguments.get("model")
    if not isinstance(model, str) or not model.startswith(("/", "./", "../")):
        return None
    if not Path(model).exists():
        return Problem(f"model not found at {model}", "correct `model` in model.json, or mount the model's volume")
    return None


def _size(arguments: Mapping[str, Any], name: str) -> int:
    value = arguments.get(name)
    return value if isinstance(value, int) and value > 0 else 1


def _shared_memory(folder: Path, workers: int) -> Problem | None:
    wanted = SHM_BYTES + (workers - 1) * SHM_WORKER_BYTES
    disk = os.statvfs(folder)
    size, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    if size < wanted:
        return Problem(
            f"{folder} is {size // MIB} MiB; {wanted // MIB} MiB are needed for {workers} worker(s)",
            "raise spec.resources.sharedMemory (docker run --shm-size)",
        )
    if free < wanted // 2:
        return Problem(f"{folder} has {free // MIB} MiB left", "remove what other processes left there")
    return None
