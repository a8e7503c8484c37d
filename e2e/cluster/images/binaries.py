"""Builds Kubernetes' programs from pinned Go modules (`e2e/node/go/*`) into the cache folder, once per content.

The `tool` lines of a go.mod name the programs; go.mod and go.sum pin every dependency.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devtools import cache
from e2e.cluster import settings, shell

GO_MINIMUM = (1, 26)


@dataclass(frozen=True)
class GoModule:
    """A Go module whose tools are built. `name` is its folder below `e2e/node/go`."""

    name: str
    requirement: str
    """Module that its go.mod requires and that holds the programs; empty for a program of our own."""
    kubernetes: bool = False
    """Whether the linker has to set Kubernetes' version in the programs; without it they report v0.0.0."""

    @property
    def folder(self) -> Path:
        return settings.NODE_FILES / "go" / self.name

    @property
    def version(self) -> str:
        """Version as go.mod requires it, such as v1.34.4."""
        if not self.requirement:
            return "v1"
        return required_version((self.folder / "go.mod").read_text(), self.requirement)

    @property
    def packages(self) -> list[str]:
        return tool_packages((self.folder / "go.mod").read_text()) if self.requirement else [f"e2e.local/{self.name}"]

    @property
    def ldflags(self) -> str:
        return kubernetes_ldflags(self.version) if self.kubernetes else "-s -w"


KUBERNETES = GoModule("kubernetes", "k8s.io/kubernetes", kubernetes=True)
KUBERNETES_NEXT = GoModule("kubernetes-next", "k8s.io/kubernetes", kubernetes=True)
"""The newest version: only its API server and controller manager are built, for the tests against API servers."""
ETCD = GoModule("etcd", "go.etcd.io/etcd/server/v3")
COREDNS = GoModule("coredns", "github.com/coredns/coredns")
KIND = GoModule("kind", "sigs.k8s.io/kind")
HELM = GoModule("helm", "helm.sh/helm/v4")
REGISTRY = GoModule("registry", "github.com/distribution/distribution/v3")
LOCAL_PATH = GoModule("local-path", "github.com/rancher/local-path-provisioner")
PAUSE = GoModule("pause", "")
CLUSTER = (KUBERNETES, KIND, REGISTRY, ETCD, PAUSE, LOCAL_PATH, HELM, COREDNS)
"""Everything that a cluster needs, in the order of building."""

API_SERVER_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kubectl")


def required_version(go_mod: str, module: str) -> str:
    """Version of `module` that the text of a go.mod requires.

    Raises:
        ValueError: It does not require the module.
    """
    found = re.search(rf"^(?:require|\t)\s*{re.escape(module)} (v\S+)", go_mod, re.MULTILINE)
    if not found:
        raise ValueError(f"go.mod does not require {module}")
    return found.group(1)


def tool_packages(go_mod: str) -> list[str]:
    """Packages on the `tool` lines of a go.mod's text."""
    single = re.findall(r"^tool (?!\()(\S+)$", go_mod, re.MULTILINE)
    blocks = re.findall(r"^tool \(\n(.*?)^\)", go_mod, re.MULTILINE | re.DOTALL)
    return single + [line.strip() for block in blocks for line in block.splitlines()]


def kubernetes_ldflags(version: str) -> str:
    """Linker flags that make Kubernetes programs report `version` (v1.34.4)."""
    major, minor, _ = version.removeprefix("v").split(".", 2)
    facts = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return "-s -w " + " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in facts.items())


def built_name(package: str) -> str:
    """Name that `go build` gives a package's program: the last path element that is not a major version (v3)."""
    return next(word for word in reversed(package.split("/")) if not re.fullmatch(r"v\d+", word))


def program_name(package: str) -> str:
    """Name of a package's program in the cache folder."""
    return {"go.etcd.io/etcd/server/v3": "etcd"}.get(package, built_name(package))


def content_key(module: GoModule) -> str:
    """Cache key of a module's programs: name, version and a hash of everything that decides their content."""
    digest = hashlib.sha256()
    for file in sorted(module.folder.iterdir()):
        digest.update(file.name.encode() + file.read_bytes())
    digest.update(f"{module.ldflags} {platform.machine()}".encode())
    return f"{module.name}-{module.version}-{digest.hexdigest()[:12]}"


def require_go() -> None:
    """Check that a recent enough Go is on the PATH.

    Raises:
        RequirementNotMet: There is none.
    """
    minimum = ".".join(map(str, GO_MINIMUM))
    advice = f"install Go {minimum} or newer (https://go.dev/dl) and put it on the PATH"
    if not shutil.which("go"):
        raise shell.RequirementNotMet(f"Go is missing: {advice}")
    found = re.search(r"go(\d+)\.(\d+)", shell.output(["go", "env", "GOVERSION"]))
    if not found or (int(found[1]), int(found[2])) < GO_MINIMUM:
        raise shell.RequirementNotMet(f"Go {found[0] if found else '?'} is too old: {advice}")


def folder_of(module: GoModule) -> Path:
    """Folder of a module's programs, built or not. "parts" is its name on disk: another would build all again."""
    return cache.root() / "parts" / content_key(module)


def build(module: GoModule) -> dict[str, Path]:
    """Paths of a module's programs by name, built now if missing. Other processes wait for the build."""
    programs = [program_name(package) for package in module.packages]
    folder = folder_of(module)
    if not folder.exists():
        with cache.locked(folder.with_suffix(".lock")):
            if not folder.exists():
                _compile(module, folder)
    return {name: folder / name for name in programs}


def is_built(module: GoModule) -> bool:
    """Whether the cache folder has the module's programs."""
    return folder_of(module).exists()


def build_cache() -> Path:
    """Folder of Go's module and build caches: 10 GB once every module is built."""
    return cache.root() / "go"


@contextmanager
def _build_environment() -> Iterator[dict[str, str]]:
    """Environment variables of go, with the build cache kept until the end of the block."""
    require_go()
    with cache.locked(build_cache().with_suffix(".lock"), fcntl.LOCK_SH):
        yield {
            "CGO_ENABLED": "0",
            "GOCACHE": str(build_cache() / "build"),
            "GOFLAGS": "-buildvcs=false -mod=readonly -modcacherw",
            "GOMODCACHE": str(build_cache() / "modules"),
            "GOWORK": "off",
        }


def clear_build_cache() -> str:
    """Remove Go's caches unless a build uses them; a few words about what was done."""
    if not build_cache().exists():
        return "nothing to clear"
    try:
        with cache.locked(build_cache().with_suffix(".lock"), fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(build_cache())
    except BlockingIOError:
        return "in use"
    return "cleared"


def _compile(module: GoModule, target: Path) -> None:
    log = cache.root() / "logs" / f"build-{module.name}.log"
    scratch = target.with_suffix(".new")  # no other process writes it: the caller holds the lock
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    # The linker drops the tables of debuggers (-s -w): the compiler need not make them.
    flags = ["-trimpath", "-gcflags=all=-dwarf=false", "-ldflags", module.ldflags]
    command = ["nice", "-n", "5", "go", "build", *flags, "-o", f"{scratch}/"]
    try:
        with _build_environment() as environment:
            shell.logged([*command, *module.packages], log, cwd=module.folder, env=environment)
        for package in module.packages:
            (scratch / built_name(package)).rename(scratch / program_name(package))
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def source_folder(module: GoModule) -> Iterator[Path]:
    """Folder with the sources of a module's `requirement`, at the required version, until the end of the block."""
    with _build_environment() as environment:
        _go(module, environment, "mod", "download", module.requirement)
        yield Path(_go(module, environment, "list", "-m", "-f", "{{.Dir}}", module.requirement).strip())


def _go(module: GoModule, environment: dict[str, str], *arguments: str) -> str:
    """Output of a go command in the module's folder; CommandFailed with its error."""
    command = ["go", *arguments]
    done = subprocess.run(
        command, cwd=module.folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise shell.CommandFailed(command, done.returncode, done.stderr.strip(), None)
    return done.stdout


def api_server_versions() -> dict[str, GoModule]:
    """Module that builds each supported API server, by version without v."""
    return {module.version.removeprefix("v"): module for module in (KUBERNETES, KUBERNETES_NEXT)}


def build_missing(modules: Iterable[GoModule]) -> list[str]:
    """Build those of `modules` that are not built; their names."""
    missing = [module for module in modules if not is_built(module)]
    for module in missing:
        build(module)
    return [module.name for module in missing]


def build_for_tests(*, keep_build_cache: bool = False) -> list[str]:
    """Build the programs of the tests against API servers, which takes longer than a test may; names of those built."""
    built = build_missing((ETCD, HELM, *api_server_versions().values()))
    if built and not keep_build_cache:
        clear_build_cache()
    return built


def api_server_programs(version: str = settings.KUBERNETES) -> dict[str, Path]:
    """Paths of etcd, kube-apiserver, kube-controller-manager and kubectl, built when missing.

    kubectl and etcd are the default version's.

    Raises:
        ValueError: `version` is not one of `api_server_versions()`.
    """
    versions = api_server_versions()
    if version not in versions:
        raise ValueError(f"API server {version} is not supported. Supported: {', '.join(sorted(versions))}.")
    modules = (ETCD, KUBERNETES, versions[version])
    if build_missing(modules):
        clear_build_cache()
    programs = {name: path for module in modules for name, path in build(module).items()}
    return {name: programs[name] for name in ("etcd", *API_SERVER_PROGRAMS)}
