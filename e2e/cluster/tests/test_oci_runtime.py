"""The runtime in front of runc takes out what the machine cannot grant, and nothing else."""

from __future__ import annotations

import ast
import json
import resource
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.docker import daemon, oci_runtime

PROCESS: dict[str, Any] = {
    "args": ["/sbin/init"],
    "capabilities": {
        "bounding": ["CAP_SYS_ADMIN", "CAP_SYS_RESOURCE"],
        "effective": ["CAP_SYS_RESOURCE"],
        "ambient": None,
    },
    "oomScoreAdj": -500,
    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1048576, "soft": 1048576}],
}


def test_the_capability_is_dropped_from_every_set() -> None:
    fixed = oci_runtime.granted(PROCESS, 0, {})
    assert fixed["capabilities"] == {"bounding": ["CAP_SYS_ADMIN"], "effective": [], "ambient": []}


@pytest.mark.parametrize(("own", "wished", "left"), [(0, -500, None), (0, 0, 0), (0, 300, 300), (200, 100, None)])
def test_a_lower_oom_score_than_our_own_is_dropped(own: int, wished: int, left: int | None) -> None:
    assert oci_runtime.granted({"oomScoreAdj": wished}, own, {}).get("oomScoreAdj") == left


@pytest.mark.parametrize(
    ("hard", "left"), [(1024, (1024, 1024)), (4096, (4096, 2048)), (resource.RLIM_INFINITY, (8192, 2048))]
)
def test_no_resource_limit_is_above_the_machines(hard: int, left: tuple[int, int]) -> None:
    fixed = oci_runtime.limited({"type": "RLIMIT_NOFILE", "hard": 8192, "soft": 2048}, hard)
    assert (fixed["hard"], fixed["soft"]) == left


def test_the_rest_of_the_process_stays_and_the_original_is_not_touched() -> None:
    before = json.dumps(PROCESS)
    fixed = oci_runtime.granted(PROCESS, 0, {"RLIMIT_NOFILE": 1024})
    assert fixed["args"] == PROCESS["args"]
    assert fixed["rlimits"] == [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]
    assert json.dumps(PROCESS) == before


def test_a_process_without_wishes_is_left_as_it_is() -> None:
    assert oci_runtime.granted({"args": ["sh"]}, 0, {}) == {"args": ["sh"]}


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--root", "/r", "create", "--bundle", "/b", "--pid-file", "/p", "id"], (Path("/b/config.json"), "process")),
        (["--log=/l", "create", "--bundle=/b", "id"], (Path("/b/config.json"), "process")),
        (["run", "-b", "/b", "id"], (Path("/b/config.json"), "process")),
        (["create", "id"], (Path("config.json"), "process")),
        (["exec", "--process", "/tmp/p.json", "id"], (Path("/tmp/p.json"), None)),
        (["exec", "id", "ls"], None),
        (["kill", "id", "9"], None),
        ([], None),
    ],
)
def test_the_file_to_fix_is_found_in_runcs_command_line(
    arguments: list[str], found: tuple[Path, str | None] | None
) -> None:
    assert oci_runtime.configuration(arguments) == found


def test_a_containers_configuration_is_fixed_in_place(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"ociVersion": "1.0", "process": PROCESS, "mounts": [1]}))
    oci_runtime.fix(file, "process")
    content = json.loads(file.read_text())
    assert (content["ociVersion"], content["mounts"]) == ("1.0", [1])
    assert "CAP_SYS_RESOURCE" not in json.dumps(content["process"]["capabilities"])
    file.write_text(json.dumps(PROCESS))
    oci_runtime.fix(file, None)
    assert json.loads(file.read_text())["capabilities"]["bounding"] == ["CAP_SYS_ADMIN"]


def test_the_runtime_is_a_script_that_stands_alone(tmp_path: Path) -> None:
    script = daemon.write_wrapper(tmp_path)
    assert script.stat().st_mode & 0o111
    tree = ast.parse(script.read_text())
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [name for name in modules if name.startswith("e2e")]
    first = script.read_text().splitlines()[0]
    assert first.startswith("#!/")
    assert first.endswith(" -IS")
