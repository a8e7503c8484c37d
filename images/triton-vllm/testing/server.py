"""One serving process on this host, as in the image, and a client for its ports.

`Server.start` runs what the image's entry point runs, in a process group of its own with ports of its own, and
`stop` leaves nothing of it behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import env as engine_env
from e2e.cluster.machine import networks

HERE = Path(__file__).resolve().parent.parent
# Machines that run the tests are small and busy; nothing here waits for its deadline when all is well.
START_SECONDS = 600
ANSWER_SECONDS = 600
LOADS = 3
# How tritonserver fails a load by chance: this machine stood still for a second, or its own fault (see
# backend.launcher.diagnosis).
BY_CHANCE = ("tritonserver gave up the load", "boost::interprocess::lock_exception")
PORTS = range(20_000, 32_000)  # below those that the kernel gives to connections
# Where others share the GPUs' host, NVLink multicast must stay off: vLLM's all-reduce of FlashInfer makes a multicast
# object whatever the usual variables of NCCL and torch say.
NO_MULTICAST = {
    "VLLM_ALLREDUCE_USE_FLASHINFER": "0",
    "VLLM_ALLREDUCE_USE_SYMM_MEM": "0",
    "NCCL_NVLS_ENABLE": "0",
    "TORCH_SYMM_MEM_DISABLE_MULTICAST": "1",
    "NVSHMEM_DISABLE_NVLS": "1",
}
# Of this process's environment: which GPUs may be used, and how.
INHERITED = ("CUDA_VISIBLE_DEVICES", *NO_MULTICAST)
IMAGE_TOOLKIT = Path("/usr/local/cuda")
MINIMAL_CONFIG = 'backend: "vllm"\ninstance_group [{ count: 1, kind: KIND_MODEL }]\n'
# A context so long that a request can last for as long as a test needs it, half a minute and more.
CONTEXT = 32_768
TINY_ENGINE = {
    "max_model_len": CONTEXT,
    "hf_overrides": {"max_position_embeddings": CONTEXT},
    "max_num_seqs": 16,
    "kv_cache_memory_bytes": 64 << 20,
}
ENDLESS = {"max_tokens": CONTEXT - 100, "ignore_eos": True}


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: its status and its JSON (text when it is none)."""

    status: int
    body: Any

    @property
    def error(self) -> str:
        """The message of an error answer, plain or as an event."""
        body = self.body if isinstance(self.body, dict) else json.loads(self.body.removeprefix("data: "))
        return str(body["error"])


def tiny_model(kind: str = "llama") -> Path:
    """A tiny model, made once and kept in the cache folder under the hash of its maker."""
    maker = HERE / "testing" / "tiny.py"
    kept = engine_env.cache_root() / "tiny" / f"{kind}-{_digest(maker)}"
    if not (kept / ".complete").exists():
        command = [str(engine_env.ensure()), "-m", "testing.tiny", str(kept), kind]
        subprocess.run(command, check=True, cwd=HERE, capture_output=True, timeout=START_SECONDS)
        (kept / ".complete").touch()
    return kept


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def write_model(
    repository: Path, name: str, engine: dict[str, Any], *, config: str = MINIMAL_CONFIG, **files: dict[str, Any]
) -> Path:
    """`<repository>/<name>` as the contract has it; `files`: name without `.json` -> content."""
    version = repository / name / "1"
    version.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    for file, content in {"model": engine, **files}.items():
        (version / f"{file}.json").write_text(json.dumps(content))
    return version


def lay_out_backend(folder: Path, variant: str = "cpu") -> Path:
    """A backend directory like the image's /opt/tritonserver/backends."""
    (folder / "vllm").mkdir(parents=True)
    (folder / "python").symlink_to(engine_env.tritonserver_folder(variant) / "backends/python")
    (folder / "vllm/model.py").symlink_to(HERE / "entry/model.py")
    for package in (HERE / "backend", HERE.parent.parent / "contract"):
        (folder / "vllm" / package.name).symlink_to(package)
    return folder


def add_hindrances(backends: Path) -> None:
    """Put `hindrances` where the engine finds it."""
    (backends / "vllm/hindrances.py").symlink_to(HERE / "testing/hindrances.py")


def environment(backends: Path, variant: str = "cpu") -> dict[str, str]:
    """The image's environment variables, with this host's paths. `variant`: one of `env.VARIANTS`."""
    python = engine_env.ensure(variant)
    packages = next((python.parent.parent / "lib").glob("python3*/site-packages"))
    server, cuda = engine_env.tritonserver_folder(variant), toolkit(python)
    return {
        "PATH": ":".join([f"{python.parent}:{server / 'bin'}", *_below(cuda, "bin"), "/usr/local/bin:/usr/bin:/bin"]),
        "PYTHONPATH": f"{backends / 'vllm'}:{packages}",
        "LD_LIBRARY_PATH": ":".join([engine_env.library_path(variant), *_below(cuda, "lib64")]),
        **({"CUDA_HOME": str(cuda)} if cuda else {}),
        "HOME": os.environ.get("HOME", "/tmp"),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "TRITON_VLLM_DEVICE": variant.split("-")[0],
        **{name: os.environ[name] for name in INHERITED if name in os.environ},
    }


def toolkit(python: Path) -> Path | None:
    """The CUDA toolkit of that interpreter's engine: in its folder, or where the image has it beside its engine."""
    places = [python.parent.parent / "cuda"]
    places += [IMAGE_TOOLKIT] if os.environ.get(engine_env.ENGINE_VARIABLE) else []
    return next((place for place in places if place.is_dir()), None)


def _below(folder: Path | None, name: str) -> list[str]:
    return [str(folder / name)] if folder else []


def script_lines(folder: Path, script: str, *arguments: str, variant: str = "cpu") -> list[str]:
    """What a Python script prints that runs in the engine's environment, where it can import the backend.

    Raises CalledProcessError when the script fails.
    """
    (folder / "script.py").write_text(script)
    variables = environment(lay_out_backend(folder / "backends", variant), variant)
    command: list[str | Path] = [engine_env.ensure(variant), folder / "script.py", *arguments]
    ended = subprocess.run(command, env=variables, check=True, stdout=subprocess.PIPE, text=True, timeout=START_SECONDS)
    return ended.stdout.splitlines()


def pinned_engine(variant: str) -> str:
    """The version of vLLM that the requirements pin."""
    return (engine_env.REQUIREMENTS / variant / "engine.txt").read_text().split("==")[1].split()[0]


@dataclass(slots=True)
class Server:
    """A running server."""

    folder: Path
    process: subprocess.Popen[bytes]
    http_port: int
    grpc_port: int
    metrics_port: int
    front_port: int
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def start(
        cls,
        folder: Path,
        repository: Path,
        *flags: str,
        prepare: Callable[[Path], None] = lambda _: None,
        variant: str = "cpu",
        **variables: str,
    ) -> Server:
        """Start a server on `repository`; its log and backend directory go to `folder`. Does not wait.

        `prepare` may change the backend directory; `variant` is the engine's environment.
        """
        shutil.rmtree(folder / "backends", ignore_errors=True)  # of a start before this one
        backends = lay_out_backend(folder / "backends", variant)
        prepare(backends)
        http, grpc, metrics, front = networks.free_ports(PORTS, 4)
        command = [
            "python3",
            "-m",
            "backend.launcher.serve",
            f"--model-repository={repository}",
            f"--backend-directory={backends}",
        ]
        command += ["--model-control-mode=none", "--http-address=127.0.0.1", "--grpc-address=127.0.0.1"]
        command += [f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"]
        command += ["--metrics-address=127.0.0.1", *flags]
        (folder / "termination").write_text("")  # as the kubelet makes it
        own = {"TRITON_VLLM_HTTP_PORT": str(front), "TRITON_VLLM_HTTP_ADDRESS": "127.0.0.1"}
        own["TRITON_VLLM_TERMINATION_LOG"] = str(folder / "termination")
        with (folder / "server.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment(backends, variant) | own | variables,
                cwd=folder,
                start_new_session=True,
            )
        return cls(folder, process, http, grpc, metrics, front)

    @property
    def log(self) -> str:
        """All that the server has written."""
        return (self.folder / "server.log").read_text(errors="replace")

    def wait_ready(self, model: str = "llm", seconds: float = START_SECONDS) -> None:
        """Wait until the model is ready; fails with the end of the log."""
        if not self._becomes_ready(model, seconds):
            raise AssertionError(f"not ready, exit code {self.process.poll()}:\n{self.log[-6000:]}")

    def load_given_up(self, model: str) -> bool:
        """Wait until the model is ready or the server has ended; whether tritonserver failed by chance."""
        return not self._becomes_ready(model, START_SECONDS) and any(words in self.log for words in BY_CHANCE)

    def _becomes_ready(self, model: str, seconds: float) -> bool:
        """Wait for as long as the server runs; whether the model is ready."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            if self.ready(model):
                return True
            time.sleep(0.2)
        return False

    def ready(self, model: str = "llm") -> bool:
        """What the pod's startup probe asks."""
        try:
            return self.request("GET", f"/v2/models/{model}/ready", timeout=4).status == 200
        except OSError:
            return False

    def health(self) -> Answer:
        """What the pod's readiness probe asks; status 0 when there is no answer."""
        try:
            return self.request("GET", "/health/ready", port=self.front_port, timeout=4)
        except OSError as error:
            return Answer(0, str(error))

    @property
    def termination_message(self) -> dict[str, Any]:
        """What the kubelet would find."""
        found: dict[str, Any] = json.loads((self.folder / "termination").read_text())
        return found

    def wait_exit(self, seconds: float = START_SECONDS) -> int:
        """The exit code."""
        return self.process.wait(seconds)

    def stop(self) -> None:
        """End every process of the server's group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def request(
        self, method: str, path: str, body: Any = None, *, port: int | None = None, timeout: float = ANSWER_SECONDS
    ) -> Answer:
        """One HTTP request. Raises OSError when there is no answer."""
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port or self.http_port}{path}", data=data, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return Answer(response.status, _decode(response.read()))
        except urllib.error.HTTPError as error:
            return Answer(error.code, _decode(error.read()))

    def generate(self, text: Any = "Hello", model: str = "llm", **body: Any) -> Answer:
        """POST generate."""
        return self.request("POST", f"/v2/models/{model}/generate", {"text_input": text, **body})

    def stream(self, text: str = "Hello", model: str = "llm", **body: Any) -> list[dict[str, Any]]:
        """POST generate_stream with `stream` true: the data of every event."""
        answer = self.request(
            "POST", f"/v2/models/{model}/generate_stream", {"text_input": text, "stream": True} | body
        )
        assert answer.status == 200, answer
        return list(_events(answer.body))

    def metrics(self) -> dict[str, float]:
        """Series as Prometheus writes it (name with labels) -> value; none while the port is not open yet."""
        try:
            text = self.request("GET", "/metrics", port=self.metrics_port).body
        except OSError:
            return {}
        lines = [line.rsplit(" ", 1) for line in str(text).splitlines() if line and not line.startswith("#")]
        return {series: float(value) for series, value in lines}

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels. A server that has just started has none for a moment."""
        for _ in range(50):
            if found := [value for series, value in self.metrics().items() if series.split("{")[0] == name]:
                return sum(found)
            time.sleep(0.1)
        raise AssertionError(f"no metric {name}")

    def report(self) -> list[dict[str, Any]]:
        """The lines of the start-up report so far."""
        return [json.loads(line) for line in re.findall(r"STARTUP (\{.*\})", self.log)]

    def processes(self, name: str) -> list[int]:
        """Process ids of this server's group whose name or command line has `name`."""
        return [pid for pid, text in _group(self.process.pid) if name in text]


@contextlib.contextmanager
def running(
    folder: Path,
    repository: Path,
    *flags: str,
    model: str = "llm",
    prepare: Callable[[Path], None] = lambda _: None,
    variant: str = "cpu",
    **variables: str,
) -> Iterator[Server]:
    """A started server that is ready; nothing of it is left after the block.

    A load that tritonserver failed by chance is begun again, as a kubelet would.
    """
    for _ in range(LOADS):
        server = Server.start(folder, repository, *flags, prepare=prepare, variant=variant, **variables)
        try:
            if server.load_given_up(model):
                continue
            server.wait_ready(model)
            yield server
            return
        finally:
            server.stop()
    raise AssertionError(f"tritonserver gave up {LOADS} loads")


def end_cleanly_on_sigterm() -> None:
    """Leave every `with` block when SIGTERM comes: servers run in sessions of their own and would stay."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def left_in_shared_memory() -> set[str]:
    """Names of segments of Triton and vLLM that no process has mapped: other servers may run beside this one."""
    maps = "".join(_text(path) for path in Path("/proc").glob("[0-9]*/maps"))
    ours = [path for path in Path("/dev/shm").iterdir() if path.name.startswith(("triton_", "psm_"))]
    return {path.name for path in ours if str(path) not in maps}


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""  # the process has ended


def _decode(data: bytes) -> Any:
    text = data.decode("utf-8")
    try:
        return json.loads(text)
    except ValueError:
        return text


def _events(text: Any) -> Iterator[dict[str, Any]]:
    if isinstance(text, dict):
        raise AssertionError(f"no events: {text}")
    for line in str(text).split("\n"):  # not splitlines: the text of an answer may hold other signs that end a line
        if line:
            assert line.startswith("data: "), line
            yield json.loads(line.removeprefix("data: "))


def _group(group: int) -> Iterator[tuple[int, str]]:
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        try:
            if os.getpgid(pid) == group:
                yield pid, (folder / "comm").read_text() + (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue


def wait_until(true: Any, seconds: float = 60, every: float = 0.1, shown: Callable[[], Any] = str) -> None:
    """Wait until `true()` holds; fails with what `shown()` returns."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"did not happen within {seconds} s: {shown()}"
        time.sleep(every)
