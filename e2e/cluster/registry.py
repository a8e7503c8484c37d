"""The local registry: a container on the cluster's network. Its storage is in the cache, shared by all checkouts.

Image names start with localhost:PORT. On this machine that is the published port; on the nodes containerd is told
(hosts.toml) to ask the registry's container instead.
"""

from __future__ import annotations

import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from devtools import cache
from devtools.polling import wait_for
from e2e.cluster import parts, shell
from e2e.cluster.engine import Engine
from e2e.cluster.state import State

PORT = 5000
START_SECONDS = 30.0
MANIFESTS = ", ".join(
    (
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
    )
)
CONFIG = f"""version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: /var/lib/registry}}
  delete: {{enabled: true}}
http: {{addr: ":{PORT}"}}
"""
DOCKERFILE = """FROM scratch
COPY registry config.yml /
ENV OTEL_TRACES_EXPORTER=none
ENTRYPOINT ["/registry", "serve", "/config.yml"]
"""


def image(engine: Engine, log: Path) -> str:
    """Name of the registry's image, built from its Go module when the engine lacks it."""
    name = f"triton-vllm-operator/registry:{parts.content_key(parts.REGISTRY).rsplit('-', 1)[1]}"
    if not engine.has_image(name):
        program = parts.build(parts.REGISTRY)["registry"]
        with tempfile.TemporaryDirectory(dir=cache.root()) as folder:
            os.link(program, Path(folder) / "registry")
            (Path(folder) / "config.yml").write_text(CONFIG)
            (Path(folder) / "Dockerfile").write_text(DOCKERFILE)
            engine.logged(log, "build", "-t", name, folder)
    return name


def ensure(engine: Engine, mine: State, log: Path) -> str:
    """Make the registry answer: start it, or replace it when it is broken."""
    if answers(mine):
        return f"already answers at {mine.registry}"
    storage = cache.root() / "registry"
    storage.mkdir(parents=True, exist_ok=True)
    name = image(engine, log)
    if shell.succeeds(["docker", "inspect", mine.registry_container], env=engine.env):
        engine.docker("rm", "--force", mine.registry_container)
    publish = f"127.0.0.1:{mine.registry_port}:{PORT}"
    options = ["--detach", "--restart=always", f"--name={mine.registry_container}", f"--network={mine.name}"]
    engine.logged(log, "run", *options, "-p", publish, "-v", f"{storage}:/var/lib/registry", name)
    if not wait_for(lambda: answers(mine), START_SECONDS):
        engine.logged(log, "logs", mine.registry_container)
        raise shell.CommandFailed(["docker", "run", name], 1, shell.tail(log), log)
    return f"answers at {mine.registry}"


def _ask(mine: State, path: str) -> bool:
    request = urllib.request.Request(f"http://127.0.0.1:{mine.registry_port}/v2/{path}", method="HEAD")
    request.add_header("Accept", MANIFESTS)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def answers(mine: State) -> bool:
    return _ask(mine, "")


def holds(mine: State, repository: str, tag: str) -> bool:
    """Whether the registry has `repository:tag`."""
    return _ask(mine, f"{repository}/manifests/{tag}")


def hosts_toml(mine: State) -> str:
    """containerd's configuration that sends localhost:PORT to the registry's container."""
    return f'[host."http://{mine.registry_container}:{PORT}"]\n  capabilities = ["pull", "resolve"]\n'


def tell_node(engine: Engine, mine: State, node: str) -> None:
    """Write hosts.toml on `node`; containerd reads it at each pull."""
    folder = f"/etc/containerd/certs.d/{mine.registry}"
    script = f"mkdir -p '{folder}' && cat > '{folder}/hosts.toml'"
    engine.docker("exec", "--interactive", node, "sh", "-c", script, stdin=hosts_toml(mine))
