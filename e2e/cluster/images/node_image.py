"""kind's node image: the stock one where it can be pulled, else one built from pinned Go modules and packages."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from devtools import cache
from e2e.cluster import settings, shell
from e2e.cluster.docker.daemon import Docker
from e2e.cluster.images import base_images, binaries

STOCK = f"kindest/node:v{settings.KUBERNETES}"
NODE_PROGRAMS = ("kubeadm", "kubectl", "kubelet")
CONTROL_PLANE_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
IMPORT = "local"
"""Tag of images that are in the node image and in no registry."""


@dataclass(frozen=True)
class NodeImage:
    """A node image. A `stock` one has a pod network of its own; `reason` says, for people, why it is used."""

    name: str
    stock: bool
    reason: str


def go_modules() -> tuple[binaries.GoModule, ...]:
    """Go modules of the programs in our own node image."""
    return binaries.KUBERNETES, binaries.ETCD, binaries.COREDNS, binaries.LOCAL_PATH, binaries.PAUSE


def stock(docker: Docker, log: Path) -> NodeImage | None:
    """The stock node image; None if the daemon does not have it and cannot pull it."""
    if not base_images.pullable(docker, STOCK, log):
        return None
    return NodeImage(STOCK, stock=True, reason=f"the stock image {STOCK} can be pulled")


def own_name() -> str:
    """Name of our own node image: version, and hash of everything that it is built from."""
    digest = hashlib.sha256(base_images.debian_name().encode())
    for module in go_modules():
        digest.update(binaries.content_key(module).encode())
    for file in sorted(settings.NODE_FILES.rglob("*")):
        if file.is_file() and "go" not in file.relative_to(settings.NODE_FILES).parts:
            digest.update(str(file.relative_to(settings.NODE_FILES)).encode() + file.read_bytes())
    return f"triton-vllm-operator/node:v{settings.KUBERNETES}-{digest.hexdigest()[:12]}"


def own(docker: Docker, log: Path) -> NodeImage:
    """Our own node image, built with its programs and its Debian base if the daemon does not have it."""
    image = NodeImage(own_name(), stock=False, reason=f"{STOCK} cannot be pulled: built from Go modules")
    if not docker.has_image(image.name):
        with tempfile.TemporaryDirectory(prefix="node-", dir=cache.root()) as scratch:
            _build(docker, image.name, Path(scratch), log)
    return image


def _build(docker: Docker, name: str, scratch: Path, log: Path) -> None:
    base = base_images.debian(docker, log)
    programs = {key: path for module in go_modules() for key, path in binaries.build(module).items()}
    context = scratch / "context"
    shutil.copytree(settings.NODE_FILES, context, ignore=shutil.ignore_patterns("go"))
    _copy_kind_files(context / "files")
    (context / "bin").mkdir()
    for program in NODE_PROGRAMS:
        os.link(programs[program], context / "bin" / program)
    pause = pause_image((context / "files/etc/containerd/config.toml").read_text())
    images = _pod_images(docker, programs, pause, base, scratch, log)
    shell.logged(["docker", "save", "-o", context / "images.tar", *images], log, env=docker.env)
    arguments = ["--network=host", "--build-arg", f"BASE={base}", "--build-arg", f"VERSION=v{settings.KUBERNETES}"]
    shell.logged(["docker", "build", *arguments, "-t", name, context], log, env=docker.env)
    docker.logged(log, "rmi", *images)


def _copy_kind_files(target: Path) -> None:
    """Copy kind's base files from its Go module, and make them writable."""
    with binaries.source_folder(binaries.KIND) as source:
        shutil.copytree(source / "images/base/files", target, copy_function=shutil.copyfile)
    for folder in (target, *(path for path in target.rglob("*") if path.is_dir())):
        folder.chmod(0o755)


def pause_image(containerd_config: str) -> str:
    """Sandbox image of a configuration of containerd.

    Raises:
        ValueError: The configuration has none.
    """
    found = re.search(r'sandbox_image = "([^"]+)"', containerd_config)
    if not found:
        raise ValueError("containerd's configuration has no sandbox_image")
    return found[1]


def kubeadm_images(listing: str) -> dict[str, str]:
    """Image that kubeadm runs, by program, from the JSON of `kubeadm config images list`."""
    images = json.loads(listing)["images"]
    return {name.rsplit("/", 1)[1].rsplit(":", 1)[0]: name for name in images}


def _pod_images(
    docker: Docker, programs: dict[str, Path], pause: str, base: str, scratch: Path, log: Path
) -> list[str]:
    """Build an image for each pod of a node; their names."""
    listing = ["config", "images", "list", "--kubernetes-version", f"v{settings.KUBERNETES}", "-o", "json"]
    names = kubeadm_images(shell.output([programs["kubeadm"], *listing]))
    for program in (*CONTROL_PLANE_PROGRAMS, "etcd"):
        _program_image(docker, programs[program], names[program], "", log)
    local_path = f"localhost/local-path-provisioner:{IMPORT}"
    own_entrypoint = {names["coredns"]: "coredns", pause: "pause", local_path: "local-path-provisioner"}
    for image, program in own_entrypoint.items():
        _program_image(docker, programs[program], image, program, log)
    busybox = f"localhost/busybox:{IMPORT}"
    context = scratch / "images"
    context.mkdir()
    os.link(programs["kube-proxy"], context / "kube-proxy")
    shutil.copyfile(settings.NODE_FILES / "closure.sh", context / "closure.sh")
    recipe = settings.NODE_FILES / "images.Dockerfile"
    for target, image in (("kube-proxy", names["kube-proxy"]), ("busybox", busybox)):
        arguments = ["--network=host", "--build-arg", f"BASE={base}", "--target", target, "-f", str(recipe)]
        shell.logged(["docker", "build", *arguments, "-t", image, context], log, env=docker.env)
    in_control_plane = [names[program] for program in (*CONTROL_PLANE_PROGRAMS, "etcd", "kube-proxy")]
    return [*in_control_plane, *own_entrypoint, busybox]


def program_dockerfile(program: str, entrypoint: str) -> str:
    """Dockerfile of an image with one static program."""
    lines = ["FROM scratch", f"COPY {program} /usr/local/bin/{program}", "ENV PATH=/usr/local/bin"]
    if entrypoint:
        lines.append(f"ENTRYPOINT {json.dumps([f'/usr/local/bin/{entrypoint}'])}")
    return "\n".join(lines) + "\n"


def _program_image(docker: Docker, program: Path, image: str, entrypoint: str, log: Path) -> None:
    with tempfile.TemporaryDirectory(dir=cache.root()) as folder:
        os.link(program, Path(folder) / program.name)
        (Path(folder) / "Dockerfile").write_text(program_dockerfile(program.name, entrypoint))
        docker.logged(log, "build", "-t", image, folder)
