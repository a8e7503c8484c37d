"""The supervisor beside a stand-in for tritonserver: how the container ends, and what its termination message says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backend.engine.health import GAVE_UP
from backend.launcher.preflight import Command
from backend.launcher.serve import Lasting
from e2e.cluster.machine import networks
from testing.server import PORTS, write_model

SUPERVISE = """
import os, signal, sys
from backend.launcher import serve
from backend.launcher.preflight import Command
serve.GIVEN_UP_SECONDS = 1
serve.STOPPED_SECONDS = 1
serve.QUIET_SECONDS = 1
serve.CAUSE_SECONDS = 1
serve.adopt_orphans()
supervisor = serve.Supervisor(Command.parse(sys.argv[1:]), sys.argv[1:], None, os.pipe())
signal.signal(signal.SIGTERM, supervisor.signal)
sys.exit(supervisor.wait())
"""
WAIT_FOR_A_CHILD = "import subprocess; subprocess.run(['sleep', '4'])"
SHARED = "boost::interprocess::lock_exception"
ABORTED = "the memory that it shares with the backend process"
GIVEN_UP = "tritonserver gave up the load: the backend process did not respond in time"


def supervised(folder: Path, script: str, *arguments: str) -> tuple[int, str | None]:
    """Exit code and cause of a supervisor whose tritonserver is the script."""
    server, message = folder / "tritonserver", folder / "termination"
    server.write_text(script)
    server.chmod(0o755)
    message.touch()
    variables = {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "TRITON_VLLM_TERMINATION_LOG": str(message),
    }
    command = [sys.executable, "-c", SUPERVISE, *arguments]
    code = subprocess.run(command, env=variables, capture_output=True, check=False, timeout=60).returncode
    return code, json.loads(message.read_text())["cause"] if message.read_text() else None


@pytest.mark.parametrize(
    ("script", "code", "cause"),
    [
        (f"echo '{GAVE_UP}the engine has died'; kill -ABRT $$", 1, "the engine was given up: the engine has died"),
        ("kill -ABRT $$", 128 + signal.SIGABRT, "tritonserver ended with signal 6"),
        (f"echo '{SHARED}'; kill -ABRT $$", 128 + signal.SIGABRT, f"tritonserver aborted over {ABORTED} ({SHARED})"),
        # The backend's process aborts when the server has gone.
        (f"echo '{SHARED}'; kill -KILL $$", 128 + signal.SIGKILL, "tritonserver ended with signal 9"),
        ("exit 3", 3, "tritonserver ended with code 3"),
        ("exit 0", 0, None),
    ],
)
def test_end_of_the_server(tmp_path: Path, script: str, code: int, cause: str | None) -> None:
    assert supervised(tmp_path, f"#!/bin/sh\n{script}\n") == (code, cause)


@pytest.mark.parametrize("line", ["", "(EngineCore pid=7) ERROR [core.py:1512] RuntimeError: cancelled"])
def test_a_process_that_is_stopped_ends_the_server(tmp_path: Path, line: str) -> None:
    # Only when it runs what it is called: until then it has the name of its parent.
    script = f"""#!/bin/sh
echo '{line}'
sleep 60 &
until grep -q sleep /proc/$!/comm; do :; done
kill -STOP $!
wait
"""
    assert supervised(tmp_path, script) == (1, "sleep was stopped (SIGSTOP) for 1 seconds")


@pytest.mark.parametrize(
    ("end", "cause"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "the backend process was killed by signal 9"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "the backend process was killed by signal 11"),
        ("sys.exit(3)", "the backend process has died"),
    ],
)
def test_how_the_process_of_the_backend_ended_is_told(tmp_path: Path, end: str, cause: str) -> None:
    stub = f"import os, signal, sys; open('/proc/self/comm', 'w').write('triton_python_b'); {end}"
    script = f"#!{sys.executable}\nimport subprocess, sys, time\n"
    script += f"child = subprocess.Popen([sys.executable, '-c', {stub!r}])\ntime.sleep(60)\n"
    assert supervised(tmp_path, script) == (1, cause)


# A server that ends for no signal, and whose backend process sends the events that it is given.
EVENTS = f"""#!{sys.executable}
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
STUB = '''
import os, signal, sys, time
from backend.container.events import Event, send
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for event in sys.argv[1:]:
    time.sleep(float(event)) if event[0].isdigit() else send(os.environ, Event(event))
time.sleep(60)
'''
stub = subprocess.Popen([sys.executable, "-c", STUB, *{{events}}], close_fds=False)
"""
STOP = "os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)"


def test_a_backend_process_that_the_server_has_collected_is_missed(tmp_path: Path) -> None:
    """As newer servers do when they are asked for their health: no zombie is left to be seen."""
    script = EVENTS.format(events=["started"]) + "time.sleep(1); stub.kill(); stub.wait(); time.sleep(60)"
    assert supervised(tmp_path, script) == (1, "the backend process has died")


def test_a_backend_process_that_ended_in_order_is_not_missed(tmp_path: Path) -> None:
    script = EVENTS.format(events=["started", "ended"]) + "time.sleep(1); stub.kill(); stub.wait(); time.sleep(4)"
    assert supervised(tmp_path, script) == (0, None)


UNSTOPPED = "tritonserver did not stop within 10 seconds of the signal"


@pytest.mark.parametrize(
    ("events", "end"),
    [
        (["started", "idle"], (0, None)),
        (["started", "busy", "3", "idle"], (0, None)),
        (["started", "ended"], (0, None)),
        (["started", "idle", "busy"], (1, UNSTOPPED)),
        (["started"], (1, UNSTOPPED)),
        ([], (1, UNSTOPPED)),
    ],
)
def test_a_stopping_server_without_requests_does_not_wait_for_its_connections(
    tmp_path: Path, events: list[str], end: tuple[int, str | None]
) -> None:
    script = EVENTS.format(events=events) + "time.sleep(1); " + STOP
    assert supervised(tmp_path, script, "--exit-timeout-secs=0") == end


def test_a_server_with_models_of_other_backends_has_its_time_to_stop(tmp_path: Path) -> None:
    write_model(tmp_path / "models", "other", {}, config='backend: "onnxruntime"\n')
    script = EVENTS.format(events=["started", "idle"]) + "time.sleep(1); " + STOP
    flags = ("--exit-timeout-secs=0", f"--model-repository={tmp_path / 'models'}")
    assert supervised(tmp_path, script, *flags) == (1, UNSTOPPED)


@pytest.mark.parametrize(
    ("pause", "expected"),
    [(0, f"tritonserver aborted over {ABORTED} ({SHARED})"), (3, "tritonserver ended with signal 11")],
)
def test_how_the_server_ended_is_not_explained_by_an_older_line(tmp_path: Path, pause: int, expected: str) -> None:
    script = f"#!{sys.executable}\nimport os, signal, time\nprint('{SHARED}', flush=True)\ntime.sleep({pause})\n"
    script += "os.kill(os.getpid(), signal.SIGSEGV)"
    assert supervised(tmp_path, script) == (128 + signal.SIGSEGV, expected)


ENVIRONMENT = f"""#!{sys.executable}
import json, os
json.dump(dict(os.environ), open(os.path.dirname(__file__) + "/environment", "w"))
"""


@pytest.mark.parametrize(
    ("backends", "visible"), [(["vllm"], ""), (["vllm", "onnxruntime"], "0,1"), (["onnxruntime"], "0,1")]
)
def test_tritonserver_sees_a_gpu_only_where_another_backend_may_need_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backends: list[str], visible: str
) -> None:
    for backend in backends:
        write_model(tmp_path / "models", backend, {}, config=f'backend: "{backend}"\n')
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert supervised(tmp_path, ENVIRONMENT, f"--model-repository={tmp_path / 'models'}") == (0, None)
    found = json.loads((tmp_path / "environment").read_text())
    assert found["CUDA_VISIBLE_DEVICES"] == visible
    assert found.get("TRITON_VLLM_HIDDEN_GPUS") == (None if visible else "0,1")
    assert json.loads(found["TRITON_VLLM_PHASES"]) == []


def test_load_that_was_given_up_ends_the_server(tmp_path: Path) -> None:
    (port,) = networks.free_ports(PORTS, 1)
    script = f"#!{sys.executable}\n{WAIT_FOR_A_CHILD}"
    assert supervised(tmp_path, script, f"--http-port={port}") == (1, GIVEN_UP)


@pytest.mark.parametrize("flag", ["--http-address=127.0.0.1", "--allow-http=false"])
def test_server_that_is_open_may_wait_for_a_process(tmp_path: Path, flag: str) -> None:
    (port,) = networks.free_ports(PORTS, 1)
    script = (
        f"#!{sys.executable}\nimport socket; door = socket.create_server(('127.0.0.1', {port})); {WAIT_FOR_A_CHILD}"
    )
    assert supervised(tmp_path, script, flag, "--http-port", str(port)) == (0, None)


def test_wait_must_last_without_a_break(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("backend.launcher.serve.time.monotonic", lambda: now[0])
    lasting = Lasting(2)
    for second, waits, too_long in [(0, True, False), (1.9, True, False), (2, False, False), (3, True, False)]:
        now[0] = 100.0 + second
        assert lasting.seen(waits) is too_long
    now[0] = 105.0
    assert lasting.seen(True)


@pytest.mark.parametrize(
    ("flags", "door"),
    [
        ([], ("127.0.0.1", 8000)),
        (["--http-port", "1234", "--http-address=10.0.0.1"], ("10.0.0.1", 1234)),
        (["--allow-http=False"], None),
        (["--http-port=none"], None),
    ],
)
def test_where_the_server_opens(flags: list[str], door: tuple[str, int] | None) -> None:
    assert Command.parse(flags).http == door


@pytest.mark.parametrize(
    ("effects", "expected"), [(2000, "the engine's worker VllmWorker-1 was killed by signal 9"), (6000, None)]
)
def test_a_cause_is_known_behind_many_effects_and_forgotten_in_the_end(
    tmp_path: Path, effects: int, expected: str | None
) -> None:
    cause = (
        "(EngineCore pid=7) ERROR Worker proc VllmWorker-1 died unexpectedly (exit code: -9), shutting down executor."
    )
    script = f"#!/bin/sh\necho '{cause}'\nyes '(MainProcess) INFO a line of a traceback' | head -{effects}\nexit 3\n"
    assert supervised(tmp_path, script) == (3, expected or "tritonserver ended with code 3")


def test_a_signal_before_the_server_runs_ends_the_start() -> None:
    """As process 1 a signal without a handler would be ignored until the grace period is over."""
    program = (
        "import sys, time\n"
        "from backend.launcher import serve\n"
        "serve.adopt_orphans = lambda: (print('started', flush=True), time.sleep(60))\n"
        "sys.exit(serve.main(['tritonserver']))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert any("started" in line for line in iter(process.stdout.readline, ""))
        process.terminate()
        assert process.wait(20) == 128 + signal.SIGTERM
