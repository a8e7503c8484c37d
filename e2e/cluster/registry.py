"""The local registry: a container in the cluster's network. Its storage is in the cache, shared by all checkouts.

Image names start with localhost:PORT. On this machine that is the published port; on the nodes hosts.toml
directs containerd to the registry's container instead.
"""

from __future__ import annotations

import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from devtools import cache
from devtools.polling import wait_for
from e2e.cluster import shell
from e2e.cluster.cluster_state import ClusterState
from e2e.cluster.docker.daemon import Docker
from e2e.cluster.images import binaries

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


def image(docker: Docker, log: Path) -> str:
    """Name of the registry's image, built from its Go module if the daemon does not have it."""
    name = f"triton-vllm-operator/registry:{binaries.content_key(binaries.REGISTRY).rsplit('-', 1)[1]}"
    if not docker.has_image(name):
        program = binaries.build(binaries.REGISTRY)["registry"]
        with tempfile.TemporaryDirectory(dir=cache.root()) as folder:
            os.link(program, Path(folder) / "registry")
            (Path(folder) / "config.yml").write_text(CONFIG)
            (Path(folder) / "Dockerfile").write_text(DOCKERFILE)
            docker.logged(log, "build", "-t", name, folder)
    return name


def ensure(docker: Docker, state: ClusterState, log: Path) -> str:
    """Make the registry answer: start it, or replace it if it does not answer."""
    if answers(state):
        return f"already answers at {state.registry}"
    storage = cache.root() / "registry"
    storage.mkdir(parents=True, exist_ok=True)
    name = image(docker, log)
    if shell.succeeds(["docker", "inspect", state.registry_container], env=docker.env):
        docker.output("rm", "--force", state.registry_container)
    publish = f"127.0.0.1:{state.registry_port}:{PORT}"
    options = ["--detach", "--restart=always", f"--name={state.registry_container}", f"--network={state.name}"]
    docker.logged(log, "run", *options, "-p", publish, "-v", f"{storage}:/var/lib/registry", name)
    if not wait_for(lambda: answers(state), START_SECONDS):
        docker.logged(log, "logs", state.registry_container)
        raise shell.CommandFailed(["docker", "run", name], 1, shell.tail(log), log)
    return f"answers at {state.registry}"


def _exists(state: ClusterState, path: str) -> bool:
    request = urllib.request.Request(f"http://127.0.0.1:{state.registry_port}/v2/{path}", method="HEAD")
    request.add_header("Accept", MANIFESTS)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def answers(state: ClusterState) -> bool:
    """Whether the registry answers."""
    return _exists(state, "")


def has_image(state: ClusterState, repository: str, tag: str) -> bool:
    """Whether the registry has `repository:tag`."""
    return _exists(state, f"{repository}/manifests/{tag}")


def hosts_toml(state: ClusterState) -> str:
    """containerd's configuration that sends localhost:PORT to the registry's container."""
    return f'[host."http://{state.registry_container}:{PORT}"]\n  capabilities = ["pull", "resolve"]\n'


def configure_node(docker: Docker, state: ClusterState, node: str) -> None:
    """Write hosts.toml on `node`; containerd reads it at each pull."""
    folder = f"/etc/containerd/certs.d/{state.registry}"
    script = f"mkdir -p '{folder}' && cat > '{folder}/hosts.toml'"
    docker.output("exec", "--interactive", node, "sh", "-c", script, stdin=hosts_toml(state))
