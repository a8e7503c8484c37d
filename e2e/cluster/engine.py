"""The Docker engine: the one that answers, else one of our own from the distribution's package.

Our own engine belongs to the cache folder: its images and layers live there and survive it. All checkouts that use
the same cache share it; the last `down` stops it. Its socket, pid file and run-time state are below /run.
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
from e2e.cluster import firewall, machine, oci, packages, shell

START_SECONDS = 60.0
STOP_SECONDS = 30.0
CONTAINERD_PID = Path("exec/containerd/containerd.pid")


@dataclass(frozen=True)
class Engine:
    """A Docker engine. `host` is its DOCKER_HOST, empty for the client's own default."""

    host: str
    ours: bool
    reason: str

    @property
    def env(self) -> dict[str, str]:
        """Environment for docker and kind."""
        legacy = {"DOCKER_BUILDKIT": "0"} if self.ours else {}
        return {"DOCKER_HOST": self.host, **legacy} if self.host else legacy

    def docker(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Output of `docker ARGUMENTS`; CommandFailed with its error."""
        return shell.output(["docker", *arguments], env=self.env, stdin=stdin, timeout=timeout)

    def logged(self, log: Path, *arguments: str, cwd: Path | None = None) -> None:
        shell.logged(["docker", *arguments], log, env=self.env, cwd=cwd)

    def answers(self) -> bool:
        return shell.succeeds(["docker", "info"], env=self.env, timeout=20)

    def has_image(self, name: str) -> bool:
        return shell.succeeds(["docker", "image", "inspect", name], env=self.env)


def run_dir() -> Path:
    """Folder for the sockets and run-time state of the engine that belongs to the cache folder."""
    digest = hashlib.sha256(str(cache.root().resolve()).encode()).hexdigest()[:8]
    return Path("/run") / f"triton-vllm-operator-{digest}"


def data_dir() -> Path:
    return cache.root() / "engine"


def own() -> Engine:
    """Our own engine, whether it runs or not."""
    why = "no Docker engine answers here: starting one from the distribution's package"
    return Engine(f"unix://{run_dir()}/docker.sock", ours=True, reason=why)


def find() -> Engine:
    """The engine to use: the one that the caller's docker client reaches, unless that is our own."""
    mine = own()
    if os.environ.get("DOCKER_HOST") == mine.host:
        return mine
    theirs = Engine(os.environ.get("DOCKER_HOST", ""), ours=False, reason="a Docker engine answers here")
    return theirs if shutil.which("docker") and theirs.answers() else mine


def ensure(engine: Engine, log: Path) -> str:
    """Make `engine` answer; for our own this installs packages and starts or replaces the daemon."""
    if not engine.ours:
        return engine.reason
    if shutil.which("docker") and engine.answers():
        return f"our own engine already runs ({engine.host})"
    packages.install(packages.ENGINE, log)
    with cache.locked(cache.root() / "engine.lock"):
        if not engine.answers():
            end_daemon()
            _start_daemon(log)
    limits = "" if machine.may_raise_limits() else "; runc behind a wrapper: CAP_SYS_RESOURCE is missing here"
    return f"{engine.reason}{limits} ({engine.host})"


def write_wrapper(folder: Path) -> Path:
    """Write the OCI runtime of `oci` as an executable script into `folder`."""
    script = folder / "oci-runtime"
    interpreter = os.path.realpath(sys.executable)
    script.write_text(f"#!{interpreter} -IS\n{Path(oci.__file__).read_text()}")
    script.chmod(0o755)
    return script


def daemon_command(folder: Path) -> list[str]:
    """Command line of our dockerd with its run-time state in `folder`."""
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
    if not machine.may_raise_limits():
        command += [f"--add-runtime=limited={write_wrapper(folder)}", "--default-runtime=limited"]
    return command


def _start_daemon(log: Path) -> None:
    folder = run_dir()
    folder.mkdir(parents=True, exist_ok=True)
    firewall.remember(folder / "before.json")
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
    """End the daemon, then the containerd that it started. Containers go on.

    A dockerd that finds the number of a containerd takes it for running, also when it has only just been killed.
    """
    for pidfile, name in ((run_dir() / "docker.pid", "dockerd"), (run_dir() / CONTAINERD_PID, "containerd")):
        if pidfile.exists():
            machine.end_process(int(pidfile.read_text()), name, STOP_SECONDS)
            pidfile.unlink(missing_ok=True)


def stop() -> None:
    """Stop our own engine and remove every trace of it but its data. Its containers must be gone."""
    with cache.locked(cache.root() / "engine.lock"):
        folder = run_dir()
        if not folder.exists():
            return
        end_daemon()
        for point in (*machine.mounts_below(folder), *machine.mounts_below(data_dir())):
            shell.output(["umount", "--lazy", point])
        firewall.restore(folder / "before.json")
        machine.remove_empty_cgroups("docker")
        shutil.rmtree(folder)
