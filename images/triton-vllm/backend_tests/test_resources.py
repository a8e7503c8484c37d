"""What vLLM on CPU learns about the container."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.container import resources
from backend.container.resources import (
    GIB,
    Limits,
    hide_gpus,
    in_one_process,
    keep_to_loopback,
    prepare,
    prepare_cpu,
    read_limits,
    show_gpus,
)

BIND, THREADS = "VLLM_CPU_OMP_THREADS_BIND", "OMP_NUM_THREADS"


@pytest.mark.parametrize(
    ("limits", "workers", "expected"),
    [
        pytest.param(Limits(None, None, (0, 1, 2, 3), 4), 1, ("nobind", "4"), id="all cores, as every container"),
        pytest.param(Limits(None, 2.0, (0, 1, 2, 3), 4), 2, ("nobind", "1"), id="a quota"),
        pytest.param(Limits(None, 2.0, (2, 3), 4), 1, ("nobind", "2"), id="one worker has all of a CPU set"),
        pytest.param(Limits(None, None, (4, 5, 6, 7), 8), 2, ("4,5|6,7", None), id="one set for two workers"),
        pytest.param(Limits(None, None, (3,), 8), 2, ("nobind", "1"), id="fewer cores than workers"),
    ],
)
def test_threads_are_bound_to_cores_of_the_container_alone(
    limits: Limits, workers: int, expected: tuple[str, str | None]
) -> None:
    environment: dict[str, str] = {}
    prepare_cpu({"tensor_parallel_size": workers}, limits, environment)
    assert (environment[BIND], environment.get(THREADS)) == expected


def test_the_only_worker_runs_in_the_engine_cores_process() -> None:
    environment: dict[str, str] = {}
    one: dict[str, object] = {}
    prepare_cpu(one, Limits(8 * GIB, None, (0, 1), 2), environment)
    assert one["distributed_executor_backend"] == "uni"
    assert environment["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        ({"tensor_parallel_size": 2}, {}),
        ({"pipeline_parallel_size": 2}, {}),
        ({"distributed_executor_backend": "mp"}, {}),
        ({}, {BIND: "0-1"}),
    ],
)
def test_several_workers_and_what_the_user_wants_have_processes(
    arguments: dict[str, object], environment: dict[str, str]
) -> None:
    given = arguments.get("distributed_executor_backend")
    prepare_cpu(arguments, Limits(8 * GIB, None, (0, 1), 2), environment)
    assert arguments.get("distributed_executor_backend") == given
    assert "VLLM_ENABLE_V1_MULTIPROCESSING" not in environment


@pytest.mark.parametrize(
    ("arguments", "memory", "expected"),
    [
        ({}, 4 * GIB, int(3.6 * GIB) - int(1.7 * GIB)),
        ({"gpu_memory_utilization": 0.5}, 4 * GIB, 2 * GIB - int(1.7 * GIB)),
        ({"distributed_executor_backend": "mp"}, 4 * GIB, int(3.6 * GIB) - 2 * GIB),
        ({"tensor_parallel_size": 2}, 8 * GIB, (int(7.2 * GIB) - int(2.7 * GIB)) // 2),
        ({}, GIB, 64 << 20),
        ({}, None, 4 * GIB),
        ({"pipeline_parallel_size": 4}, None, GIB),
    ],
)
def test_the_kv_cache_is_what_the_containers_memory_leaves(
    arguments: dict[str, object], memory: int | None, expected: int
) -> None:
    prepare_cpu(arguments, Limits(memory, None, (0, 1), 2), {})
    assert abs(int(str(arguments["kv_cache_memory_bytes"])) - expected) <= 2


def test_the_weights_are_no_room_for_the_kv_cache(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x" * 1000)
    without, beside = {"model": "/no/such/model"}, {"model": str(tmp_path)}
    for arguments in (without, beside):
        prepare_cpu(arguments, Limits(4 * GIB, None, (0, 1), 2), {})
    assert int(without["kv_cache_memory_bytes"]) - int(beside["kv_cache_memory_bytes"]) == 1000


def test_what_the_user_set_stays() -> None:
    environment = {BIND: "0-7", "VLLM_CPU_KVCACHE_SPACE": "1"}
    arguments = {"enforce_eager": False}
    prepare_cpu(arguments, Limits(8 * GIB, None, (0, 1), 2), environment)
    assert environment[BIND] == "0-7"
    assert arguments == {"enforce_eager": False}


@pytest.mark.parametrize(
    ("files", "memory", "quota"),
    [
        ({"memory.max": "4294967296\n", "cpu.max": "150000 100000\n"}, 4 * GIB, 1.5),
        ({"memory.max": "max\n", "cpu.max": "max 100000\n"}, None, None),
        (
            {
                "memory/memory.limit_in_bytes": "9223372036854771712\n",
                "cpu/cpu.cfs_quota_us": "-1\n",
                "cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
            None,
        ),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, None, 2.0),
    ],
)
def test_limits_are_read_from_both_versions_of_control_groups(
    tmp_path: Path, files: dict[str, str], memory: int | None, quota: float | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = read_limits(tmp_path)
    assert (found.memory_bytes, found.cpu_quota) == (memory, quota)
    assert 1 <= len(found.cpus) <= found.node_cpus


@pytest.mark.parametrize(("given", "expected"), [({}, "lo"), ({"GLOO_SOCKET_IFNAME": "eth1"}, "eth1")])
def test_processes_meet_on_the_loopback_interface_unless_set_otherwise(given: dict[str, str], expected: str) -> None:
    environment = dict(given)
    keep_to_loopback(environment)
    assert environment == {"GLOO_SOCKET_IFNAME": expected}


def test_on_a_gpu_the_engine_starts_afresh_unless_the_user_says_how() -> None:
    arguments, environment = dict[str, object](), dict[str, str]()
    prepare(arguments, environment)
    assert (arguments, environment) == (
        {},
        {"VLLM_WORKER_MULTIPROC_METHOD": "spawn", "VLLM_ENABLE_STARTUP_PLAN": "1"},
    )
    chosen = {"VLLM_WORKER_MULTIPROC_METHOD": "fork", "VLLM_ENABLE_STARTUP_PLAN": "0"}
    prepare({}, chosen)
    assert chosen == {"VLLM_WORKER_MULTIPROC_METHOD": "fork", "VLLM_ENABLE_STARTUP_PLAN": "0"}


def test_on_a_cpu_the_engine_gets_its_threads_and_its_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "read_limits", lambda: Limits(None, None, (0, 1), 2))
    arguments, environment = dict[str, object](), {"TRITON_VLLM_DEVICE": "cpu"}
    prepare(arguments, environment)
    assert (environment[THREADS], arguments["kv_cache_memory_bytes"]) == ("2", 4 * GIB)


@pytest.mark.parametrize("given", [None, "", "0,1", "GPU-1234"])
def test_gpus_that_tritonserver_does_not_see_are_as_before_for_the_engine(given: str | None) -> None:
    environment = {"HOME": "/", **({} if given is None else {"CUDA_VISIBLE_DEVICES": given})}
    hidden = hide_gpus(environment)
    assert hidden["CUDA_VISIBLE_DEVICES"] == ""
    assert hidden.items() >= {"HOME": "/"}.items()
    shown = dict(hidden)
    show_gpus(shown)
    assert shown == environment


@pytest.mark.parametrize("given", [{}, {"CUDA_VISIBLE_DEVICES": ""}, {"CUDA_VISIBLE_DEVICES": "1"}])
def test_gpus_that_were_not_hidden_stay_as_they_are(given: dict[str, str]) -> None:
    environment = dict(given)
    show_gpus(environment)
    assert environment == given


@pytest.mark.parametrize(
    ("arguments", "environment", "alone"),
    [
        ({}, {}, True),
        ({"tensor_parallel_size": 1}, {}, True),
        ({"tensor_parallel_size": 2}, {}, False),
        ({"pipeline_parallel_size": 2}, {}, False),
        ({"distributed_executor_backend": "uni"}, {}, False),
        ({}, {BIND: "0-1"}, False),
    ],
)
def test_the_only_worker_is_alone_unless_the_user_says_how_it_runs(
    arguments: dict[str, object], environment: dict[str, str], alone: bool
) -> None:
    assert in_one_process(arguments, environment) is alone
