"""The kind node image: the stock one where it can be pulled, else one built from pinned Go modules and packages."""

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
from e2e.cluster import bases, parts, settings, shell
from e2e.cluster.engine import Engine

STOCK = f"kindest/node:v{settings.KUBERNETES}"
NODE_PROGRAMS = ("kubeadm", "kubectl", "kubelet")
CONTROL_PLANE_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
IMPORT = "local"
"""Tag of images that only the node itself has."""


@dataclass(frozen=True)
class NodeImage:
    """A node image; `stock` ones bring their own pod network."""

    name: str
    stock: bool
    reason: str


def wanted_parts() -> tuple[parts.Part, ...]:
    """Parts that our own node image is made of."""
    return parts.KUBERNETES, parts.ETCD, parts.COREDNS, parts.LOCAL_PATH, parts.PAUSE


def stock(engine: Engine, log: Path) -> NodeImage | None:
    """The stock node image, if it is here or can be pulled."""
    if not bases.pullable(engine, STOCK, log):
        return None
    return NodeImage(STOCK, stock=True, reason=f"the stock image {STOCK} can be pulled")


def own_name() -> str:
    """Name of our own image: version and hash of everything that it is made of."""
    digest = hashlib.sha256(bases.debian_name().encode())
    for part in wanted_parts():
        digest.update(parts.content_key(part).encode())
    for file in sorted(settings.NODE_FILES.rglob("*")):
        if file.is_file() and "go" not in file.relative_to(settings.NODE_FILES).parts:
            digest.update(str(file.relative_to(settings.NODE_FILES)).encode() + file.read_bytes())
    return f"triton-vllm-operator/node:v{settings.KUBERNETES}-{digest.hexdigest()[:12]}"


def own(engine: Engine, log: Path) -> NodeImage:
    """Our own node image, built when the engine lacks it. The parts and the Debian base are built when missing."""
    image = NodeImage(own_name(), stock=False, reason=f"{STOCK} cannot be pulled: built from Go modules")
    if not engine.has_image(image.name):
        with tempfile.TemporaryDirectory(prefix="node-", dir=cache.root()) as scratch:
            _build(engine, image.name, Path(scratch), log)
    return image


def _build(engine: Engine, name: str, scratch: Path, log: Path) -> None:
    base = bases.debian(engine, log)
    programs = {key: path for part in wanted_parts() for key, path in parts.build(part).items()}
    context = scratch / "context"
    shutil.copytree(settings.NODE_FILES, context, ignore=shutil.ignore_patterns("go"))
    _copy_kind_files(context / "files")
    (context / "bin").mkdir()
    for program in NODE_PROGRAMS:
        os.link(programs[program], context / "bin" / program)
    pause = pause_image((context / "files/etc/containerd/config.toml").read_text())
    images = _pod_images(engine, programs, pause, base, scratch, log)
    shell.logged(["docker", "save", "-o", context / "images.tar", *images], log, env=engine.env)
    arguments = ["--network=host", "--build-arg", f"BASE={base}", "--build-arg", f"VERSION=v{settings.KUBERNETES}"]
    shell.logged(["docker", "build", *arguments, "-t", name, context], log, env=engine.env)
    engine.logged(log, "rmi", *images)


def _copy_kind_files(target: Path) -> None:
    """kind's own base files from its Go module, writable (the module's are not)."""
    with parts.module_dir(parts.KIND, "sigs.k8s.io/kind") as source:
        shutil.copytree(source / "images/base/files", target, copy_function=shutil.copyfile)
    for folder in (target, *(path for path in target.rglob("*") if path.is_dir())):
        folder.chmod(0o755)


def pause_image(containerd_config: str) -> str:
    """Sandbox image that containerd's configuration names."""
    found = re.search(r'sandbox_image = "([^"]+)"', containerd_config)
    if not found:
        raise ValueError("containerd's configuration names no sandbox_image")
    return found[1]


def kubeadm_images(listing: str) -> dict[str, str]:
    """Program to the image that kubeadm asks for, from the JSON of `kubeadm config images list`."""
    images = json.loads(listing)["images"]
    return {name.rsplit("/", 1)[1].rsplit(":", 1)[0]: name for name in images}


def _pod_images(
    engine: Engine, programs: dict[str, Path], pause: str, base: str, scratch: Path, log: Path
) -> list[str]:
    """Build an image for each pod of a node; their names."""
    listing = ["config", "images", "list", "--kubernetes-version", f"v{settings.KUBERNETES}", "-o", "json"]
    names = kubeadm_images(shell.output([programs["kubeadm"], *listing]))
    for program in (*CONTROL_PLANE_PROGRAMS, "etcd"):
        _program_image(engine, programs[program], names[program], "", log)
    local_path = f"localhost/local-path-provisioner:{IMPORT}"
    own_entrypoint = {names["coredns"]: "coredns", pause: "pause", local_path: "local-path-provisioner"}
    for image, program in own_entrypoint.items():
        _program_image(engine, programs[program], image, program, log)
    busybox = f"localhost/busybox:{IMPORT}"
    context = scratch / "images"
    context.mkdir()
    os.link(programs["kube-proxy"], context / "kube-proxy")
    shutil.copyfile(settings.NODE_FILES / "closure.sh", context / "closure.sh")
    recipe = settings.NODE_FILES / "images.Dockerfile"
    for target, image in (("kube-proxy", names["kube-proxy"]), ("busybox", busybox)):
        arguments = ["--network=host", "--build-arg", f"BASE={base}", "--target", target, "-f", str(recipe)]
        shell.logged(["docker", "build", *arguments, "-t", image, context], log, env=engine.env)
    in_control_plane = [names[program] for program in (*CONTROL_PLANE_PROGRAMS, "etcd", "kube-proxy")]
    return [*in_control_plane, *own_entrypoint, busybox]


def program_dockerfile(program: str, entrypoint: str) -> str:
    """Dockerfile of an image with one static program."""
    lines = ["FROM scratch", f"COPY {program} /usr/local/bin/{program}", "ENV PATH=/usr/local/bin"]
    if entrypoint:
        lines.append(f"ENTRYPOINT {json.dumps([f'/usr/local/bin/{entrypoint}'])}")
    return "\n".join(lines) + "\n"


def _program_image(engine: Engine, program: Path, image: str, entrypoint: str, log: Path) -> None:
    with tempfile.TemporaryDirectory(dir=cache.root()) as folder:
        os.link(program, Path(folder) / program.name)
        (Path(folder) / "Dockerfile").write_text(program_dockerfile(program.name, entrypoint))
        engine.logged(log, "build", "-t", image, folder)
