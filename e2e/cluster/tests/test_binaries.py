"""Programs from pinned Go modules: what is built, under which key, once."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from e2e.cluster import settings, shell
from e2e.cluster.images import binaries
from e2e.cluster.images.binaries import GoModule
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
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GoModule:
    monkeypatch.setattr(settings, "NODE_FILES", tmp_path / "node")
    folder = tmp_path / "node/go/tools"
    folder.mkdir(parents=True)
    (folder / "go.mod").write_text(GO_MOD)
    (folder / "go.sum").write_text("example.com/server/v3 v3.6.8 h1:abc=\n")
    return GoModule("tools", "example.com/server/v3")


def test_a_version_is_read_from_go_mod_and_a_longer_name_is_not_taken_for_it() -> None:
    assert binaries.required_version(GO_MOD, "example.com/server/v3") == "v3.6.8"
    assert binaries.required_version(GO_MOD, "example.com/server") == "v1.0.0"
    assert binaries.required_version("require example.com/one v0.1.0\n", "example.com/one") == "v0.1.0"
    with pytest.raises(ValueError, match=r"does not require example\.com/serve$"):
        binaries.required_version(GO_MOD, "example.com/serve")


def test_tools_are_read_from_lines_and_blocks() -> None:
    packages = ["example.com/cmd/single", "example.com/server/v3", "example.com/cmd/helper"]
    assert binaries.tool_packages(GO_MOD) == packages


def test_a_program_is_called_as_go_calls_it_without_the_major_version() -> None:
    assert binaries.built_name("k8s.io/kubernetes/cmd/kubectl") == "kubectl"
    assert binaries.built_name("go.etcd.io/etcd/server/v3") == "server"
    assert binaries.program_name("go.etcd.io/etcd/server/v3") == "etcd"


def test_kubernetes_programs_get_their_version_from_the_linker() -> None:
    flags = binaries.kubernetes_ldflags("v1.34.4")
    for fact in ("gitVersion=v1.34.4", "gitMajor=1", "gitMinor=34", "gitTreeState=clean"):
        assert f"-X k8s.io/component-base/version.{fact}" in flags
    assert all(module.ldflags == "-s -w" for module in binaries.CLUSTER if not module.kubernetes)


CHANGES: dict[str, Callable[[Path], object]] = {
    "go.mod": lambda folder: (folder / "go.mod").write_text(GO_MOD.replace("v3.6.8", "v3.6.9")),
    "go.sum": lambda folder: (folder / "go.sum").write_text("example.com/server/v3 v3.6.8 h1:def=\n"),
    "a new file": lambda folder: (folder / "main.go").write_text("package main\n"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_module_is_built_again_when_its_files_change(module: GoModule, change: str) -> None:
    before = binaries.content_key(module)
    assert before.startswith("tools-v3.6.8-")
    assert binaries.content_key(module) == before
    CHANGES[change](module.folder)
    assert binaries.content_key(module) != before


def test_a_module_is_built_once_for_all_callers(module: GoModule, program: Program) -> None:
    program("go", FAKE_GO)
    assert not binaries.is_built(module)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(binaries.build, [module] * 4))
    assert all(answer == answers[0] for answer in answers)
    assert {name: path.read_text() for name, path in answers[0].items()} == {
        "single": "example.com/cmd/single",
        "server": "example.com/server/v3",
        "helper": "example.com/cmd/helper",
    }
    assert (module.folder / "builds").read_text() == "x"


def test_what_a_killed_build_left_is_not_in_the_next_one(module: GoModule, program: Program, cache: Path) -> None:
    program("go", FAKE_GO)
    folder = binaries.folder_of(module)
    left = folder.with_suffix(".new")
    left.mkdir(parents=True)
    (left / "half a program").touch()
    built = binaries.build(module)
    assert sorted(folder.iterdir()) == sorted(built.values())
    assert not left.exists()


def test_the_binaries_of_the_tests_are_built_and_the_build_cache_cleared_once(
    module: GoModule, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiles = 'import os; Path(os.environ["GOCACHE"]).mkdir(parents=True, exist_ok=True)'
    # It writes nothing into the module's folder: one more file would change the key.
    program("go", FAKE_GO.replace('Path("builds").open("a").write("x")', compiles))
    cleared: list[str] = []
    clear = binaries.clear_build_cache
    monkeypatch.setattr(binaries, "clear_build_cache", lambda: cleared.append(clear()))
    for name in ("ETCD", "HELM", "KUBERNETES", "KUBERNETES_NEXT"):
        monkeypatch.setattr(binaries, name, module)
    assert binaries.build_for_tests() == [module.name] * 3
    assert binaries.is_built(module)
    assert cleared == ["cleared"]
    assert not binaries.build_cache().exists()
    assert binaries.build_for_tests() == []
    assert cleared == ["cleared"]


def test_the_build_cache_is_kept_for_a_later_build(
    module: GoModule, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("go", FAKE_GO.replace('Path("builds").open("a").write("x")', "pass"))
    for name in ("ETCD", "HELM", "KUBERNETES", "KUBERNETES_NEXT"):
        monkeypatch.setattr(binaries, name, module)
    monkeypatch.setattr(binaries, "clear_build_cache", lambda: pytest.fail("the build cache is cleared"))
    assert binaries.build_for_tests(keep_build_cache=True) == [module.name] * 3


def test_a_failed_build_leaves_nothing_and_names_its_log(module: GoModule, program: Program, cache: Path) -> None:
    program("go", FAKE_GO)
    (module.folder / "broken").touch()
    with pytest.raises(shell.CommandFailed, match="syntax error") as failed:
        binaries.build(module)
    assert failed.value.log == cache / "logs/build-tools.log"
    assert not binaries.is_built(module)
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


def test_the_build_cache_is_not_cleared_while_it_is_used(module: GoModule, program: Program) -> None:
    program("go", FAKE_MODULES)
    assert binaries.clear_build_cache() == "nothing to clear"
    with binaries.source_folder(module) as folder:
        assert folder == binaries.build_cache() / "modules/example.com/server/v3"
        folder.mkdir(parents=True)
        assert binaries.clear_build_cache() == "in use"
        assert folder.exists()
    assert binaries.clear_build_cache() == "cleared"
    assert not binaries.build_cache().exists()


def test_a_module_that_go_cannot_download_is_reported_with_its_error(module: GoModule, program: Program) -> None:
    program("go", FAKE_MODULES)
    gone = replace(module, requirement="example.com/gone")
    with pytest.raises(shell.CommandFailed, match="no such module"), binaries.source_folder(gone):
        pass


def test_a_missing_or_old_go_is_reported_with_what_to_do(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program("go", "print('go1.22.3')")
    with pytest.raises(shell.RequirementNotMet, match=r"go1\.22 is too old: install Go 1\.26 or newer"):
        binaries.require_go()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(shell.RequirementNotMet, match=r"Go is missing: install Go 1\.26 or newer"):
        binaries.require_go()


KNOWN = (*binaries.CLUSTER, binaries.KUBERNETES_NEXT)


def test_every_module_folder_is_known() -> None:
    folders = {folder.name for folder in (settings.NODE_FILES / "go").iterdir()}
    assert folders == {module.name for module in KNOWN}


def test_the_api_server_comes_in_the_clusters_version_and_in_a_newer_one() -> None:
    default, newest = sorted(binaries.api_server_versions())
    assert default == settings.KUBERNETES
    assert int(newest.split(".")[1]) > int(default.split(".")[1])
    for module in binaries.api_server_versions().values():
        programs = {binaries.program_name(name) for name in module.packages}
        assert {"kube-apiserver", "kube-controller-manager"} <= programs
    with pytest.raises(ValueError, match=rf"API server 1\.0 is not supported\. Supported: {default}, {newest}\."):
        binaries.api_server_programs("1.0")


@pytest.mark.parametrize("module", KNOWN, ids=lambda module: module.name)
def test_every_module_of_the_repository_is_pinned(module: GoModule) -> None:
    assert re.fullmatch(r"v\d+(\.\d+\.\d+)?", module.version)
    assert module.packages
    if module.requirement:
        assert (module.folder / "go.sum").exists()
        assert "replace" not in (module.folder / "go.mod").read_text() or module.kubernetes
