"""Finds a Docker daemon that answers, or starts one from the distribution's package.

A daemon that we start belongs to the cache folder: its images and layers are kept there after it has stopped. All
checkouts that share the folder use it, and the last `down` stops it. Its socket, pid file and run-time state are below
/run.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from devtools import cache
from devtools.polling import wait_for
from e2e.cluster import shell
from e2e.cluster.docker import oci_runtime
from e2e.cluster.machine import firewall, kernel, packages, processes

START_SECONDS = 60.0
STOP_SECONDS = 30.0
CONTAINERD_PID = Path("exec/containerd/containerd.pid")


@dataclass(frozen=True)
class Docker:
    """A Docker daemon as its client reaches it.

    Attributes:
        host: DOCKER_HOST; empty for the client's default.
        ours: Whether we start and stop it.
        reason: Why it is used, for people.
    """

    host: str
    ours: bool
    reason: str

    @property
    def env(self) -> dict[str, str]:
        """Environment for docker and kind."""
        legacy = {"DOCKER_BUILDKIT": "0"} if self.ours else {}
        return {"DOCKER_HOST": self.host, **legacy} if self.host else legacy

    def output(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Output of `docker ARGUMENTS`; CommandFailed with its error."""
        return shell.output(["docker", *arguments], env=self.env, stdin=stdin, timeout=timeout)

    def logged(self, log: Path, *arguments: str, cwd: Path | None = None) -> None:
        """Run `docker ARGUMENTS` with its output appended to a log; CommandFailed with the last lines."""
        shell.logged(["docker", *arguments], log, env=self.env, cwd=cwd)

    def answers(self) -> bool:
        """Whether the daemon answers."""
        return shell.succeeds(["docker", "info"], env=self.env, timeout=20)

    def has_image(self, name: str) -> bool:
        """Whether the daemon has an image of this name and tag."""
        return shell.succeeds(["docker", "image", "inspect", name], env=self.env)


def run_dir() -> Path:
    """Folder with the socket and the run-time state of our own daemon."""
    digest = hashlib.sha256(str(cache.root().resolve()).encode()).hexdigest()[:8]
    return Path("/run") / f"triton-vllm-operator-{digest}"


def data_dir() -> Path:
    """Folder with the images and layers of our own daemon."""
    return cache.root() / "engine"


def own() -> Docker:
    """Our own daemon, running or not."""
    why = "no Docker daemon answers: starting one from the distribution's package"
    return Docker(f"unix://{run_dir()}/docker.sock", ours=True, reason=why)


def find() -> Docker:
    """The daemon that the user's docker client reaches; our own if that is it, or if none answers."""
    ours = own()
    if os.environ.get("DOCKER_HOST") == ours.host:
        return ours
    theirs = Docker(os.environ.get("DOCKER_HOST", ""), ours=False, reason="a Docker daemon answers")
    return theirs if shutil.which("docker") and theirs.answers() else ours


def ensure(docker: Docker, log: Path) -> str:
    """Make the daemon answer: our own is installed, started or replaced. A few words about what was done."""
    if not docker.ours:
        return docker.reason
    if shutil.which("docker") and docker.answers():
        return f"our own daemon already runs ({docker.host})"
    packages.install(packages.DOCKER, log)
    with cache.locked(cache.root() / "engine.lock"):
        if not docker.answers():
            end_daemon()
            _start_daemon(log)
    limits = "" if kernel.may_raise_limits() else "; runc behind a wrapper: CAP_SYS_RESOURCE is missing here"
    return f"{docker.reason}{limits} ({docker.host})"


def write_wrapper(folder: Path) -> Path:
    """Write `oci_runtime` as an executable script into `folder`; its path."""
    script = folder / "oci-runtime"
    interpreter = os.path.realpath(sys.executable)
    script.write_text(f"#!{interpreter} -IS\n{Path(oci_runtime.__file__).read_text()}")
    script.chmod(0o755)
    return script


def daemon_command(folder: Path) -> list[str]:
    """Command line of our own dockerd with its run-time state in `folder`."""
    command = [
        "dockerd",
        f"--data-root={data_dir()}",
        f"--exec-root={folder}/exec",
        f"--pidfile={folder}/docker.pid",
        f"--host=unix://{folder}/docker.sock",
        "--bridge=none",
        "--live-restore",  # containers outlive a killed daemon
        "--log-level=warn",
    ]
    if not kernel.may_raise_limits():
        command += [f"--add-runtime=limited={write_wrapper(folder)}", "--default-runtime=limited"]
    return command


def _start_daemon(log: Path) -> None:
    folder = run_dir()
    folder.mkdir(parents=True, exist_ok=True)
    firewall.save(folder / "before.json")
    daemon_log = cache.root() / "logs" / "dockerd.log"
    daemon_log.parent.mkdir(parents=True, exist_ok=True)
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    with daemon_log.open("wb") as sink:
        process = subprocess.Popen(
            daemon_command(folder),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            env={**os.environ, "PATH": path},
        )
    if not wait_for(lambda: own().answers() or process.poll() is not None, START_SECONDS):
        process.kill()
    if process.poll() is not None:
        log.write_text(daemon_log.read_text(errors="replace"))
        raise shell.CommandFailed(["dockerd"], process.returncode or 1, shell.tail(daemon_log), daemon_log)


def end_daemon() -> None:
    """Stop our own daemon, then the containerd that it started. Containers keep running.

    A dockerd that finds the pid file of a containerd assumes that it runs, even if it has just been killed.
    """
    for pidfile, name in ((run_dir() / "docker.pid", "dockerd"), (run_dir() / CONTAINERD_PID, "containerd")):
        if pidfile.exists():
            processes.end_process(int(pidfile.read_text()), name, STOP_SECONDS)
            pidfile.unlink(missing_ok=True)


def stop() -> None:
    """Stop our own daemon and remove what it leaves on the machine but its data. It must have no container."""
    with cache.locked(cache.root() / "engine.lock"):
        folder = run_dir()
        if not folder.exists():
            return
        end_daemon()
        for point in (*kernel.mounts_below(folder), *kernel.mounts_below(data_dir())):
            shell.output(["umount", "--lazy", point])
        firewall.restore(folder / "before.json")
        kernel.remove_empty_cgroups("docker")
        shutil.rmtree(folder)
