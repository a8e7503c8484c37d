"""Programs from pinned Go modules: what is built, under which key, once."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from e2e.cluster import parts, settings, shell
from e2e.cluster.parts import Part
from e2e.cluster.tests.conftest import Program

GO_MOD = """module e2e.local/tools

go 1.26.0

require (
\texample.com/server/v3 v3.6.8
\texample.com/server v1.0.0 // indirect
)

tool (
\texample.com/server/v3
\texample.com/cmd/helper
)

tool example.com/cmd/single
"""
FAKE_GO = """
from pathlib import Path
if sys.argv[1:3] == ["env", "GOVERSION"]:
    print("go1.26.1")
else:
    Path("builds").open("a").write("x")
    if Path("broken").exists():
        sys.exit("./main.go:1: syntax error")
    target = Path(sys.argv[sys.argv.index("-o") + 1])
    for package in sys.argv[sys.argv.index("-o") + 2:]:
        words = [word for word in package.split("/") if word not in ("v2", "v3")]
        (target / words[-1]).write_text(package)
"""


@pytest.fixture
def part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Part:
    monkeypatch.setattr(settings, "NODE_FILES", tmp_path / "node")
    folder = tmp_path / "node/go/tools"
    folder.mkdir(parents=True)
    (folder / "go.mod").write_text(GO_MOD)
    (folder / "go.sum").write_text("example.com/server/v3 v3.6.8 h1:abc=\n")
    return Part("tools", "example.com/server/v3")


def test_a_version_is_read_from_go_mod_and_a_longer_name_is_not_taken_for_it() -> None:
    assert parts.required_version(GO_MOD, "example.com/server/v3") == "v3.6.8"
    assert parts.required_version(GO_MOD, "example.com/server") == "v1.0.0"
    assert parts.required_version("require example.com/one v0.1.0\n", "example.com/one") == "v0.1.0"
    with pytest.raises(ValueError, match=r"does not require example\.com/serve$"):
        parts.required_version(GO_MOD, "example.com/serve")


def test_tools_are_read_from_lines_and_blocks() -> None:
    packages = ["example.com/cmd/single", "example.com/server/v3", "example.com/cmd/helper"]
    assert parts.tool_packages(GO_MOD) == packages


def test_a_program_is_called_as_go_calls_it_without_the_major_version() -> None:
    assert parts.built_name("k8s.io/kubernetes/cmd/kubectl") == "kubectl"
    assert parts.built_name("go.etcd.io/etcd/server/v3") == "server"
    assert parts.program_name("go.etcd.io/etcd/server/v3") == "etcd"


def test_kubernetes_programs_are_told_their_version() -> None:
    flags = parts.kubernetes_ldflags("v1.34.4")
    for fact in ("gitVersion=v1.34.4", "gitMajor=1", "gitMinor=34", "gitTreeState=clean"):
        assert f"-X k8s.io/component-base/version.{fact}" in flags
    assert all(part.ldflags == "-s -w" for part in parts.EVERY if not part.kubernetes)


CHANGES: dict[str, Callable[[Path], object]] = {
    "go.mod": lambda folder: (folder / "go.mod").write_text(GO_MOD.replace("v3.6.8", "v3.6.9")),
    "go.sum": lambda folder: (folder / "go.sum").write_text("example.com/server/v3 v3.6.8 h1:def=\n"),
    "a new file": lambda folder: (folder / "main.go").write_text("package main\n"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_part_is_built_again_when_its_module_changes(part: Part, change: str) -> None:
    before = parts.content_key(part)
    assert before.startswith("tools-v3.6.8-")
    assert parts.content_key(part) == before
    CHANGES[change](part.folder)
    assert parts.content_key(part) != before


def test_a_part_is_built_once_however_many_ask(part: Part, program: Program) -> None:
    program("go", FAKE_GO)
    assert not parts.is_built(part)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(parts.build, [part] * 4))
    assert all(answer == answers[0] for answer in answers)
    assert {name: path.read_text() for name, path in answers[0].items()} == {
        "single": "example.com/cmd/single",
        "server": "example.com/server/v3",
        "helper": "example.com/cmd/helper",
    }
    assert (part.folder / "builds").read_text() == "x"


def test_what_a_killed_build_left_is_not_in_the_next(part: Part, program: Program, cache: Path) -> None:
    program("go", FAKE_GO)
    folder = parts.folder_of(part)
    left = folder.with_suffix(".new")
    left.mkdir(parents=True)
    (left / "half a program").touch()
    built = parts.build(part)
    assert sorted(folder.iterdir()) == sorted(built.values())
    assert not left.exists()


def test_all_that_the_tests_start_is_built_at_once_and_the_workshop_cleared_once(
    part: Part, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("go", FAKE_GO.replace('Path("builds")', 'Path("/dev/null")'))  # one more file would make another part of it
    for name in ("ETCD", "HELM", "KUBERNETES", "KUBERNETES_NEXT"):
        monkeypatch.setattr(parts, name, part)
    assert parts.build_for_tests() == [part.module] * 3
    assert parts.is_built(part)
    assert not parts.workshop().exists()
    assert parts.build_for_tests() == []


def test_a_failed_build_leaves_nothing_and_names_its_log(part: Part, program: Program, cache: Path) -> None:
    program("go", FAKE_GO)
    (part.folder / "broken").touch()
    with pytest.raises(shell.CommandFailed, match="syntax error") as failed:
        parts.build(part)
    assert failed.value.log == cache / "logs/build-tools.log"
    assert not parts.is_built(part)
    assert [path for path in (cache / "parts").iterdir() if path.is_dir()] == []


FAKE_MODULES = """
import os
if sys.argv[1:3] == ["env", "GOVERSION"]:
    print("go1.26.1")
elif sys.argv[1] == "list":
    print(os.environ["GOMODCACHE"] + "/" + sys.argv[-1])
elif sys.argv[-1] == "example.com/gone":
    sys.exit("no such module")
"""


def test_the_workshop_stands_while_somebody_is_at_work_and_goes_then(part: Part, program: Program) -> None:
    program("go", FAKE_MODULES)
    assert parts.clear_workshop() == "nothing to clear"
    with parts.module_dir(part, "example.com/module") as folder:
        assert folder == parts.workshop() / "modules/example.com/module"
        folder.mkdir(parents=True)
        assert parts.clear_workshop() == "in use"
        assert folder.exists()
    assert parts.clear_workshop() == "cleared"
    assert not parts.workshop().exists()


def test_a_module_that_cannot_be_had_is_told_in_the_words_of_go(part: Part, program: Program) -> None:
    program("go", FAKE_MODULES)
    with pytest.raises(shell.CommandFailed, match="no such module"), parts.module_dir(part, "example.com/gone"):
        pass


def test_go_that_is_missing_or_too_old_is_said_with_what_to_do(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program("go", "print('go1.22.3')")
    with pytest.raises(shell.Unmet, match=r"go1\.22 is too old: install Go 1\.26 or newer"):
        parts.require_go()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(shell.Unmet, match=r"Go is missing: install Go 1\.26 or newer"):
        parts.require_go()


KNOWN = (*parts.EVERY, parts.KUBERNETES_NEXT)


def test_every_module_folder_is_a_part() -> None:
    folders = {folder.name for folder in (settings.NODE_FILES / "go").iterdir()}
    assert folders == {part.module for part in KNOWN}


def test_the_api_server_comes_in_the_clusters_version_and_in_a_newer_one() -> None:
    default, newest = sorted(parts.api_parts())
    assert default == settings.KUBERNETES
    assert int(newest.split(".")[1]) > int(default.split(".")[1])
    for part in parts.api_parts().values():
        assert {"kube-apiserver", "kube-controller-manager"} <= {parts.program_name(name) for name in part.packages}
    with pytest.raises(ValueError, match=rf"no API server 1\.0: known are {default}, {newest}"):
        parts.binaries("1.0")


@pytest.mark.parametrize("part", KNOWN, ids=lambda part: part.module)
def test_every_module_of_the_repository_is_pinned(part: Part) -> None:
    assert re.fullmatch(r"v\d+(\.\d+\.\d+)?", part.version)
    assert part.packages
    if part.version_of:
        assert (part.folder / "go.sum").exists()
        assert "replace" not in (part.folder / "go.mod").read_text() or part.kubernetes
