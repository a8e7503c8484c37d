"""What vLLM on CPU is told about the container."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.resources import GIB, Limits, keep_to_loopback, prepare_cpu, read_limits

BIND, THREADS = "VLLM_CPU_OMP_THREADS_BIND", "OMP_NUM_THREADS"


@pytest.mark.parametrize(
    ("limits", "workers", "told"),
    [
        pytest.param(Limits(None, None, (0, 1, 2, 3), 4), 1, ("nobind", "4"), id="all cores, as every container"),
        pytest.param(Limits(None, 2.0, (0, 1, 2, 3), 4), 2, ("nobind", "1"), id="a quota"),
        pytest.param(Limits(None, 2.0, (2, 3), 4), 1, ("2,3", None), id="a CPU set of its own"),
        pytest.param(Limits(None, None, (4, 5, 6, 7), 8), 2, ("4,5|6,7", None), id="one set for two workers"),
        pytest.param(Limits(None, None, (3,), 8), 2, ("nobind", "1"), id="fewer cores than workers"),
    ],
)
def test_threads_are_bound_to_cores_of_the_container_alone(
    limits: Limits, workers: int, told: tuple[str, str | None]
) -> None:
    environment: dict[str, str] = {}
    prepare_cpu({"tensor_parallel_size": workers}, limits, environment)
    assert (environment[BIND], environment.get(THREADS)) == told


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


@pytest.mark.parametrize(("given", "told"), [({}, "lo"), ({"GLOO_SOCKET_IFNAME": "eth1"}, "eth1")])
def test_processes_meet_on_the_loopback_interface_unless_told_otherwise(given: dict[str, str], told: str) -> None:
    environment = dict(given)
    keep_to_loopback(environment)
    assert environment == {"GLOO_SOCKET_IFNAME": told}
