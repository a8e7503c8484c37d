"""Programs built from pinned Go modules (`e2e/node/go/*`), once for each content, into the cache folder.

A module's `tool` lines name the programs; go.mod and go.sum pin every dependency.
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
class Part:
    """One Go module with tools to build. `module` is its folder below `e2e/node/go`."""

    module: str
    version_of: str
    """Go module whose required version is the part's version; empty for a program of our own."""
    kubernetes: bool = False
    """Kubernetes programs need to be told their own version, else they call themselves v0.0.0."""

    @property
    def folder(self) -> Path:
        return settings.NODE_FILES / "go" / self.module

    @property
    def version(self) -> str:
        """Version as go.mod requires it, such as v1.34.4."""
        if not self.version_of:
            return "v1"
        return required_version((self.folder / "go.mod").read_text(), self.version_of)

    @property
    def packages(self) -> list[str]:
        return tool_packages((self.folder / "go.mod").read_text()) if self.version_of else [f"e2e.local/{self.module}"]

    @property
    def ldflags(self) -> str:
        return kubernetes_ldflags(self.version) if self.kubernetes else "-s -w"


KUBERNETES = Part("kubernetes", "k8s.io/kubernetes", kubernetes=True)
KUBERNETES_NEXT = Part("kubernetes-next", "k8s.io/kubernetes", kubernetes=True)
"""The newest version, of which only the API server and the controller manager are built: no cluster runs it."""
ETCD = Part("etcd", "go.etcd.io/etcd/server/v3")
COREDNS = Part("coredns", "github.com/coredns/coredns")
KIND = Part("kind", "sigs.k8s.io/kind")
HELM = Part("helm", "helm.sh/helm/v4")
REGISTRY = Part("registry", "github.com/distribution/distribution/v3")
LOCAL_PATH = Part("local-path", "github.com/rancher/local-path-provisioner")
PAUSE = Part("pause", "")
EVERY = (KUBERNETES, KIND, REGISTRY, ETCD, PAUSE, LOCAL_PATH, HELM, COREDNS)

API_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kubectl")


def required_version(go_mod: str, module: str) -> str:
    """Version that the text of a go.mod requires of `module`; ValueError when it does not."""
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
    """Name that `go build` gives a package's program: the last element that is no major version (v3)."""
    return next(word for word in reversed(package.split("/")) if not re.fullmatch(r"v\d+", word))


def program_name(package: str) -> str:
    """Name under which we keep a package's program."""
    return {"go.etcd.io/etcd/server/v3": "etcd"}.get(package, built_name(package))


def content_key(part: Part) -> str:
    """Cache key of a built part: its version and a hash of everything that decides its content."""
    digest = hashlib.sha256()
    for file in sorted(part.folder.iterdir()):
        digest.update(file.name.encode() + file.read_bytes())
    digest.update(f"{part.ldflags} {platform.machine()}".encode())
    return f"{part.module}-{part.version}-{digest.hexdigest()[:12]}"


def require_go() -> None:
    """Raise Unmet unless a new enough Go is on the PATH."""
    wanted = ".".join(map(str, GO_MINIMUM))
    advice = f"install Go {wanted} or newer (https://go.dev/dl) and put it on the PATH"
    if not shutil.which("go"):
        raise shell.Unmet(f"Go is missing: {advice}")
    found = re.search(r"go(\d+)\.(\d+)", shell.output(["go", "env", "GOVERSION"]))
    if not found or (int(found[1]), int(found[2])) < GO_MINIMUM:
        raise shell.Unmet(f"Go {found[0] if found else '?'} is too old: {advice}")


def folder_of(part: Part) -> Path:
    """Folder of the programs of `part`, built or not."""
    return cache.root() / "parts" / content_key(part)


def build(part: Part) -> dict[str, Path]:
    """Programs of `part` by name, built now if the cache lacks them. Other processes wait for one build."""
    programs = [program_name(package) for package in part.packages]
    folder = folder_of(part)
    if not folder.exists():
        with cache.locked(folder.with_suffix(".lock")):
            if not folder.exists():
                _compile(part, folder)
    return {name: folder / name for name in programs}


def is_built(part: Part) -> bool:
    return folder_of(part).exists()


def workshop() -> Path:
    """Where Go keeps modules and compiled packages while parts are built: 10 GB for all of them."""
    return cache.root() / "go"


@contextmanager
def _at_work() -> Iterator[dict[str, str]]:
    """Go's environment in the workshop, which nobody clears meanwhile."""
    require_go()
    with cache.locked(workshop().with_suffix(".lock"), fcntl.LOCK_SH):
        yield {
            "CGO_ENABLED": "0",
            "GOCACHE": str(workshop() / "build"),
            "GOFLAGS": "-buildvcs=false -mod=readonly -modcacherw",
            "GOMODCACHE": str(workshop() / "modules"),
            "GOWORK": "off",
        }


def clear_workshop() -> str:
    """Remove what only builds need, unless one runs; a few words about what happened."""
    if not workshop().exists():
        return "nothing to clear"
    try:
        with cache.locked(workshop().with_suffix(".lock"), fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(workshop())
    except BlockingIOError:
        return "in use"
    return "cleared"


def _compile(part: Part, target: Path) -> None:
    log = cache.root() / "logs" / f"build-{part.module}.log"
    scratch = target.with_suffix(".new")  # nobody else writes it: the caller holds the lock
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    # The linker drops the tables of debuggers (-s -w): the compiler need not make them.
    flags = ["-trimpath", "-gcflags=all=-dwarf=false", "-ldflags", part.ldflags]
    command = ["nice", "-n", "5", "go", "build", *flags, "-o", f"{scratch}/"]
    try:
        with _at_work() as environment:
            shell.logged([*command, *part.packages], log, cwd=part.folder, env=environment)
        for package in part.packages:
            (scratch / built_name(package)).rename(scratch / program_name(package))
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def module_dir(part: Part, module: str) -> Iterator[Path]:
    """Folder of `module`'s sources, at the version that `part` pins, for the time of the block."""
    with _at_work() as environment:
        _go(part, environment, "mod", "download", module)
        yield Path(_go(part, environment, "list", "-m", "-f", "{{.Dir}}", module).strip())


def _go(part: Part, environment: dict[str, str], *arguments: str) -> str:
    """The output of go in the folder of `part`; CommandFailed with its error."""
    command = ["go", *arguments]
    done = subprocess.run(
        command, cwd=part.folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise shell.CommandFailed(command, done.returncode, done.stderr.strip(), None)
    return done.stdout


def api_parts() -> dict[str, Part]:
    """Supported API server versions (without v) and the part that builds each."""
    return {part.version.removeprefix("v"): part for part in (KUBERNETES, KUBERNETES_NEXT)}


def build_missing(wanted: Iterable[Part]) -> list[str]:
    """Build all of `wanted`; names of those that were missing."""
    parts = list(wanted)
    missing = [part.module for part in parts if not is_built(part)]
    for part in parts:
        build(part)
    return missing


def build_for_tests() -> list[str]:
    """Build what the tests against API servers start, which takes longer than a test may; names of what was missing."""
    if missing := build_missing((ETCD, HELM, *api_parts().values())):
        clear_workshop()
    return missing


def binaries(version: str = settings.KUBERNETES) -> dict[str, Path]:
    """Paths of etcd, kube-apiserver, kube-controller-manager and kubectl, built when missing.

    `version` is one of `api_parts()`; ValueError otherwise. kubectl and etcd are the default version's.
    """
    parts = api_parts()
    if version not in parts:
        raise ValueError(f"no API server {version}: known are {', '.join(sorted(parts))}")
    wanted = (ETCD, KUBERNETES, parts[version])
    if build_missing(wanted):
        clear_workshop()
    programs = {name: path for part in wanted for name, path in build(part).items()}
    return {name: programs[name] for name in ("etcd", *API_PROGRAMS)}
