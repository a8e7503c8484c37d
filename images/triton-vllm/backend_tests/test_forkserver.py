"""The engine's processes are copies of one that has imported vLLM, and new processes wherever they cannot be."""

from __future__ import annotations

import json
import multiprocessing.forkserver
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from backend.container.processes import below, halted, name_of, processes
from backend.engine import forkserver, prefetch
from backend.engine.forkserver import METHOD_VARIABLE, VARIABLE, Address, attach, serves
from backend.launcher import serve
from backend.launcher.preflight import Command
from testing.server import (
    TINY_ENGINE,
    Server,
    add_hindrances,
    running,
    script_lines,
    tiny_model,
    wait_until,
    write_model,
)

CPU, GPU = {"TRITON_VLLM_DEVICE": "cpu"}, {"TRITON_VLLM_DEVICE": "cuda"}
BIND = "VLLM_CPU_OMP_THREADS_BIND"
# Python's fork server without vLLM.
STAND_IN = """
import os
os.write(1, b"begun")
from multiprocessing.forkserver import main
main({listener}, {alive}, [])
"""


@pytest.mark.parametrize(
    ("models", "environment", "served"),
    [
        pytest.param([{}], CPU, True, id="one worker on a CPU"),
        pytest.param([{"tensor_parallel_size": 2}], CPU, False, id="two workers on a CPU"),
        pytest.param([{}, {}], CPU, False, id="two models on a CPU"),
        pytest.param([], CPU, False, id="no model yet on a CPU"),
        pytest.param([{}], CPU | {BIND: "0-1"}, False, id="threads bound by the user"),
        pytest.param([{}], CPU | {METHOD_VARIABLE: "spawn"}, False, id="the user's method on a CPU"),
        pytest.param([{}], GPU, True, id="one GPU"),
        pytest.param([{"tensor_parallel_size": 2}], GPU, True, id="two GPUs"),
        pytest.param([{}, {}], GPU, True, id="two models on GPUs"),
        pytest.param([], GPU, True, id="no model yet on a GPU"),
        pytest.param([{}], GPU | {METHOD_VARIABLE: "fork"}, False, id="the user's method on a GPU"),
        pytest.param([{"numa_bind": True}], GPU, False, id="numactl"),
        pytest.param([{"numa_bind": True}, {}], GPU, True, id="numactl for one of two models"),
        pytest.param([{"numa_bind": False}], GPU, True, id="no numactl"),
    ],
)
def test_where_a_fork_server_serves(models: list[dict[str, Any]], environment: dict[str, str], served: bool) -> None:
    assert serves(models, environment) is served


def test_an_address_is_passed_by_the_environment() -> None:
    address = Address(7, 4, "/tmp/a:b/socket")
    assert Address.of({VARIABLE: str(address)}) == address
    assert Address.of({}) is None
    assert Address.of({VARIABLE: ""}) is None


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[Address, int]]:
    """A stand-in for the fork server, and the reading end of its output; nothing of it is left."""
    monkeypatch.setattr(forkserver, "_PROGRAM", STAND_IN)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    reading, writing = os.pipe()
    address = forkserver.start({"PATH": "", "MARK": "own"}, writing)
    os.close(writing)
    yield address, reading
    os.close(reading)
    if not halted([address.pid]):
        os.kill(address.pid, signal.SIGKILL)
        os.waitpid(address.pid, 0)


def test_the_stand_in_writes_to_the_output_and_has_the_environment(started: tuple[Address, int]) -> None:
    address, reading = started
    assert os.read(reading, 5) == b"begun"
    variables = Path(f"/proc/{address.pid}/environ").read_text().split("\0")
    # torch then looks for GPUs without initializing CUDA.
    assert {"MARK=own", "PYTORCH_NVML_BASED_CUDA_CHECK=1"} <= set(variables)
    assert not [one for one in variables if one.startswith("HOME=")]


def test_only_this_user_reaches_the_stand_in_and_nothing_is_left_of_its_socket(
    started: tuple[Address, int], tmp_path: Path
) -> None:
    path = Path(started[0].path)
    assert path.is_socket()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    forkserver.remove(started[0])
    assert list(tmp_path.iterdir()) == []
    forkserver.remove(started[0])  # of which nothing is left already


def test_the_stand_in_ends_when_nobody_can_ask_it_any_more(started: tuple[Address, int]) -> None:
    address, reading = started
    assert os.read(reading, 5) == b"begun"
    assert halted([address.pid]) == frozenset()
    os.close(address.alive)
    assert os.waitpid(address.pid, 0)[1] == 0


LAUNCHER = f"""
import os, sys, time
from backend.engine import forkserver, prefetch
forkserver._PROGRAM = {STAND_IN!r}
print(forkserver.start(os.environ, 2), flush=True)
time.sleep(300)
"""


def test_the_stand_in_ends_with_a_launcher_that_is_killed(tmp_path: Path) -> None:
    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", LAUNCHER], env=variables, stdout=subprocess.PIPE) as launcher:
        assert launcher.stdout is not None
        address = Address.of({VARIABLE: launcher.stdout.readline().decode().strip()})
        assert address is not None
        assert address.pid in below(launcher.pid)
        launcher.kill()
    wait_until(lambda: halted([address.pid]))


def test_a_folder_in_which_no_socket_can_be_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="too long"):
        forkserver.start({}, 2)
    assert list(deep.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_all_that_the_fork_server_has_started_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forkserver, "below", lambda pid: frozenset({pid + 1}))
    assert forkserver.copies({VARIABLE: "7:4:/socket"}) == {8}
    assert forkserver.copies({}) == frozenset()


def command(folder: Path, *engines: dict[str, Any]) -> Command:
    for number, engine in enumerate(engines):
        write_model(folder, f"model-{number}", engine)
    return Command.parse([f"--model-repository={folder}"])


def test_the_launcher_prepares_the_fork_servers_environment_and_tells_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def start(environment: dict[str, str], output: int) -> Address:
        given.append((environment, output))
        return Address(7, 4, "/socket")

    monkeypatch.setattr(forkserver, "start", start)
    environment = {**GPU, "MARK": "own"}
    address = serve.start_engines(command(tmp_path, {"model": "org/model"}), environment, 5)
    assert address == Address(7, 4, "/socket")
    assert environment == {**GPU, "MARK": "own", VARIABLE: "7:4:/socket"}
    assert given[0][1] == 5
    # What vLLM reads when it is imported, and only there: else the user would seem to have chosen a method.
    assert given[0][0].items() >= {**GPU, "MARK": "own", METHOD_VARIABLE: "spawn"}.items()
    assert VARIABLE not in given[0][0]


@pytest.mark.parametrize(
    ("engines", "variables"),
    [([{"numa_bind": True}], GPU), ([{}], GPU | {METHOD_VARIABLE: "spawn"}), ([{}, {}], CPU)],
)
def test_the_launcher_starts_none_where_it_would_not_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engines: list[dict[str, Any]], variables: dict[str, str]
) -> None:
    monkeypatch.setattr(forkserver, "start", lambda *_: pytest.fail("started"))
    environment = dict(variables)
    assert serve.start_engines(command(tmp_path, *engines), environment, 5) is None
    assert environment == variables


def test_without_a_fork_server_the_launcher_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> Address:
        raise OSError("no descriptors")

    monkeypatch.setattr(forkserver, "start", fail)
    environment = dict(GPU)
    assert serve.start_engines(command(tmp_path, {}), environment, 5) is None
    assert environment == GPU
    assert "no fork server, so each process of the engine imports vLLM itself: no descriptors" in capfd.readouterr().err


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stand-ins for the modules of vLLM that have `get_mp_context`, and Python's fork server as it was."""
    server: Any = multiprocessing.forkserver._forkserver
    for name in ("_forkserver_address", "_forkserver_alive_fd"):
        monkeypatch.setattr(server, name, getattr(server, name))
    monkeypatch.setattr(server, "ensure_running", server.ensure_running)

    def own() -> str:
        return "vLLM's own"

    for name in ("vllm", "vllm.utils", "vllm.utils.system_utils", "vllm.user", "vllm.other", "elsewhere"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    found = SimpleNamespace(**{name.split(".")[-1]: sys.modules[name] for name in list(sys.modules) if "vllm" in name})
    found.vllm.utils, found.utils.system_utils = found.utils, found.system_utils
    found.system_utils.get_mp_context = found.user.get_mp_context = own
    found.other.get_mp_context = lambda: "another's"
    return found


def test_a_stand_in_vllm_starts_processes_by_the_fork_server_wherever_it_took_them_from(stand_ins: Any) -> None:
    assert attach({VARIABLE: "7:4:/socket"})
    context = stand_ins.system_utils.get_mp_context()
    assert stand_ins.user.get_mp_context() is context
    assert isinstance(context, forkserver.ForkServerContext)
    assert context.Process is forkserver.ForkedProcess
    assert stand_ins.other.get_mp_context() == "another's"
    server: Any = multiprocessing.forkserver._forkserver
    assert (server._forkserver_address, server._forkserver_alive_fd) == ("/socket", 4)
    before = below(os.getpid())
    server.ensure_running()  # a second one is not started
    assert not {pid for pid in below(os.getpid()) - before if "forkserver" in Path(f"/proc/{pid}/cmdline").read_text()}


@pytest.mark.parametrize(("environment", "arguments"), [({}, {}), ({VARIABLE: "7:4:/socket"}, {"numa_bind": True})])
def test_a_stand_in_vllm_without_a_fork_server_stays_as_it_is(
    stand_ins: Any, environment: dict[str, str], arguments: dict[str, Any]
) -> None:
    assert not attach(environment, arguments)
    assert stand_ins.system_utils.get_mp_context() == stand_ins.user.get_mp_context() == "vLLM's own"


@pytest.mark.parametrize(("wanted", "taken"), [("3", [3]), ("2", []), ("", []), ("two", [])])
def test_the_stand_in_torch_has_the_threads_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, wanted: str, taken: list[int]
) -> None:
    given = list[int]()
    torch = ModuleType("torch")
    torch.get_num_threads, torch.set_num_threads = lambda: 2, given.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    forkserver._take_threads({"OMP_NUM_THREADS": wanted})
    assert given == taken


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A process of the engine that is run here: it notes the environment in which its target ran, and what was done."""
    done: list[Any] = []
    monkeypatch.setattr(forkserver, "_take_threads", lambda environment: done.append(environment["THREADS"]))
    monkeypatch.setattr(prefetch, "tokenizer", lambda config: done.append(config))
    made: Any = forkserver.ForkedProcess(
        target=lambda vllm_config: done.append(dict(os.environ)), kwargs={"vllm_config": "config"}
    )
    made.done = done
    before = dict(os.environ)
    yield made
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize(("name", "loads"), [("EngineCore", True), ("EngineCore_DP0", True), ("VllmWorker-0", False)])
def test_a_copy_takes_the_environment_and_its_core_begins_to_load_the_tokenizer(
    process: Any, name: str, loads: bool
) -> None:
    process.name, process._environment = name, {"THREADS": "3"}
    process.run()
    assert process.done == ["3", *(["config"] if loads else []), {"THREADS": "3"}]


def test_a_new_process_keeps_the_environment_in_which_it_began(process: Any) -> None:
    process.name, process._environment = "VllmWorker-0", None
    process.run()
    assert process.done == [dict(os.environ)]


def test_a_copy_is_started_with_the_environment_of_the_moment(process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[Any] = []
    monkeypatch.setattr("multiprocessing.process.BaseProcess.start", lambda one: began.append(one._environment))
    monkeypatch.setenv("MARK", "now")
    process.start()
    monkeypatch.setenv("MARK", "later")
    assert [environment["MARK"] for environment in began] == ["now"]


@pytest.mark.parametrize("error", [None, EOFError("no answer"), ConnectionRefusedError("refused")])
def test_a_process_is_a_copy_or_a_new_one_where_the_fork_server_has_ended(
    process: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception | None
) -> None:
    def copied(_: Any) -> str:
        if error is not None:
            raise error
        return "a copy"

    monkeypatch.setattr("multiprocessing.context.ForkServerProcess._Popen", staticmethod(copied))
    monkeypatch.setattr("multiprocessing.context.SpawnProcess._Popen", staticmethod(lambda _: "a new process"))
    process.name, process._environment = "EngineCore", {"THREADS": "3"}
    assert process._Popen(process) == ("a copy" if error is None else "a new process")
    assert process._environment == ({"THREADS": "3"} if error is None else None)
    found = [] if error is None else [f"EngineCore imports vLLM itself: the fork server has ended: {error}"]
    assert caplog.messages == found


PROCESSES = """
import json, os, sys
from backend.engine import forkserver, prefetch

def report(pipe, more):
    import torch
    from vllm.v1.executor import multiproc_executor
    pipe.send([os.getpid(), os.getppid(), os.environ.get("MARK"), os.environ.get("HOME"), torch.get_num_threads()])
    if more:
        os.environ["MARK"] = "core"
        child = multiproc_executor.get_mp_context().Process(target=report, args=(pipe, False), name="Worker")
        child.start()
        child.join()

if __name__ == "__main__":
    address = forkserver.start({**os.environ, "MARK": "server", "OMP_NUM_THREADS": "1"}, 2)
    os.environ.update({forkserver.VARIABLE: str(address), "MARK": "backend", "OMP_NUM_THREADS": "2"})
    del os.environ["HOME"]
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
    assert forkserver.attach(os.environ)
    from vllm.utils.system_utils import get_mp_context
    found = []
    for _ in range(2):
        reading, writing = get_mp_context().Pipe(duplex=False)
        child = get_mp_context().Process(target=report, args=(writing, True), name="Core")
        child.start()
        child.join()
        found.append([child.exitcode, child.pid, reading.recv(), reading.recv()])
        if len(found) == 1:
            os.kill(address.pid, 9)
            os.waitpid(address.pid, 0)
    print(json.dumps([address.pid, os.getpid(), found]))
"""


@pytest.mark.engine
@pytest.mark.parametrize("variant", ["cpu", "cpu-previous"])
def test_copies_and_their_copies_have_the_environment_of_who_started_them(tmp_path: Path, variant: str) -> None:
    server, own, (copied, new) = json.loads(script_lines(tmp_path, PROCESSES, variant=variant)[-1])
    code, pid, core, worker = copied
    assert (code, core[:2]) == (0, [pid, server])
    assert worker[1] == server
    # What was deleted in the meantime is not there.
    assert core[2:] == ["backend", None, 2]
    assert worker[2:] == ["core", None, 2]
    # Once the fork server has gone they are new processes, of those that wanted them.
    code, pid, core, worker = new
    assert (code, core) == (0, [pid, own, "backend", None, 2])
    assert worker[1:4] == [pid, "core", None]


WORKERS = """
import json, os, sys
import uvloop
from backend.engine import forkserver, prefetch
from backend.engine.async_llm import engine_arguments, start_engine
from backend.container.processes import below, name_of, processes
from backend.container.resources import prepare

async def run(arguments, fork_server):
    from vllm import SamplingParams
    engine = await start_engine(engine_arguments(arguments))
    async for output in engine.generate("Hello", SamplingParams(max_tokens=8, ignore_eos=True), "0"):
        pass
    parents = {pid: parent for pid, parent, _, _ in processes()}
    copies = sorted(name_of(pid) for pid in below(fork_server) if parents[pid] == fork_server)
    engine.shutdown()
    return {"copies": copies, "tokens": len(output.outputs[0].token_ids)}

if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    prepare(arguments, os.environ)
    address = forkserver.start(os.environ, 2)
    os.environ[forkserver.VARIABLE] = str(address)
    assert forkserver.attach(os.environ, arguments)
    print(json.dumps(uvloop.run(run(arguments, address.pid))))
"""


@pytest.mark.engine
@pytest.mark.timeout(900)
@pytest.mark.parametrize("variant", ["cpu", "cpu-previous"])
def test_an_engine_with_two_workers_as_on_two_gpus_has_only_copies(tmp_path: Path, variant: str) -> None:
    engine = json.dumps({**TINY_ENGINE, "model": str(tiny_model()), "tensor_parallel_size": 2})
    found = json.loads(script_lines(tmp_path, WORKERS, engine, variant=variant)[-1])
    assert found == {"copies": ["VLLM::EngineCor", "VLLM::Worker_TP", "VLLM::Worker_TP"], "tokens": 8}


def served(folder: Path, **engine: Any) -> Path:
    write_model(folder / "models", "llm", {**TINY_ENGINE, "model": str(tiny_model()), **engine})
    return folder / "models"


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files with a short path: that of each socket of vLLM has 107 characters at most."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def parent_of(pid: int) -> int:
    return next(parent for found, parent, _, _ in processes() if found == pid)


def environment_of(pid: int) -> dict[str, str]:
    """The environment with which a process began."""
    lines = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(line.split("=", 1) for line in lines if "=" in line)


def named(server: Server, name: str) -> int:
    """The only process of a server that has this name."""
    (found,) = [pid for pid in server.processes("") if name_of(pid) == name]
    return found


@pytest.mark.engine
@pytest.mark.timeout(900)
@pytest.mark.parametrize("variant", ["cpu", "cpu-previous"])
def test_the_engine_core_is_a_copy_with_the_backends_environment_and_its_gpus(
    tmp_path: Path, temporary: Path, variant: str
) -> None:
    repository = served(tmp_path, logits_processors=["hindrances:Telling"])
    found = tmp_path / "found"
    given = {"CUDA_VISIBLE_DEVICES": "0,1", "OMP_NUM_THREADS": "1", "FOUND_FILE": str(found), "TMPDIR": str(temporary)}
    with running(tmp_path, repository, prepare=add_hindrances, variant=variant, **given) as server:
        fork_server, core = named(server, "VLLM::ForkServe"), named(server, "VLLM::EngineCor")
        assert parent_of(core) == fork_server
        engine = json.loads(found.read_text())
        assert (engine["pid"], engine["threads"]) == (core, 1)
        own = engine["environment"]
        # Set by the backend, after the fork server had started.
        assert own["GLOO_SOCKET_IFNAME"] == "lo"
        assert "GLOO_SOCKET_IFNAME" not in environment_of(fork_server)
        assert (own["CUDA_VISIBLE_DEVICES"], own["OMP_NUM_THREADS"]) == ("0,1", "1")
        assert environment_of(named(server, "tritonserver"))["CUDA_VISIBLE_DEVICES"] == ""
        assert environment_of(fork_server)["CUDA_VISIBLE_DEVICES"] == "0,1"
        (made,) = temporary.glob("forkserver-*")
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
        server.process.send_signal(signal.SIGTERM)
        server.wait_exit(60)
        assert server.processes("") == []
        assert list(temporary.glob("forkserver-*")) == []
        assert "imports vLLM itself" not in server.log


@pytest.mark.engine
@pytest.mark.timeout(900)
def test_a_fork_server_that_is_killed_while_the_server_loads_is_done_without(tmp_path: Path, temporary: Path) -> None:
    server = Server.start(tmp_path, served(tmp_path), TMPDIR=str(temporary))
    try:
        wait_until(lambda: server.processes("backend.engine.preload"))
        os.kill(server.processes("backend.engine.preload")[0], signal.SIGKILL)
        server.wait_ready()
        assert "EngineCore imports vLLM itself: the fork server has ended: " in server.log
        assert parent_of(named(server, "VLLM::EngineCor")) == named(server, "triton_python_b")
        assert server.generate(max_tokens=2).status == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.wait_exit(60) == 0
        assert server.processes("") == []
        assert list(temporary.glob("forkserver-*")) == []
    finally:
        server.stop()


@pytest.mark.engine
@pytest.mark.timeout(900)
def test_a_fork_server_that_cannot_be_copied_is_done_without(tmp_path: Path) -> None:
    def not_copyable(backends: Path) -> None:
        """What preload finds when a module has initialized CUDA."""
        package = backends / "vllm/backend"
        source = package.resolve()
        package.unlink()
        shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__"))
        module = package / "engine/preload.py"
        text = module.read_text()
        changed = text.replace("on_gpus and not copies_can_use_gpus()", "True")
        assert changed != text
        module.write_text(changed)

    with running(tmp_path, served(tmp_path), prepare=not_copyable) as server:
        assert "NotCopyable: a module that is imported in advance has initialized CUDA" in server.log
        assert "EngineCore imports vLLM itself: the fork server has ended: " in server.log
        assert server.generate(max_tokens=2).status == 200


@pytest.mark.engine
@pytest.mark.timeout(900)
def test_a_fork_server_that_is_killed_later_ends_the_server_and_is_the_cause(tmp_path: Path, temporary: Path) -> None:
    with running(tmp_path, served(tmp_path), TMPDIR=str(temporary)) as server:
        os.kill(named(server, "VLLM::ForkServe"), signal.SIGKILL)
        assert server.wait_exit(60) == 1
        assert server.processes("") == []
        cause = "the engine was given up: the engine's fork server was killed by signal 9"
        assert server.termination_message["cause"] == cause
        assert list(temporary.glob("forkserver-*")) == []
