"""The cluster of a checkout: brought up from nothing, repaired where parts of it died, removed without leftovers."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from devtools import cache
from devtools.progress import log_file, say
from e2e.cluster import cluster_state, preflight, registry, settings, shell
from e2e.cluster.cluster_state import ClusterState
from e2e.cluster.docker import daemon, network
from e2e.cluster.images import base_images, binaries, node_image, project_images
from e2e.cluster.images.node_image import NodeImage
from e2e.cluster.kind import image_store, lifecycle, nodes
from e2e.cluster.steps import Steps, Work

NODE_PROGRAMS = tuple(one for one in binaries.CLUSTER if one not in (binaries.KUBERNETES, binaries.HELM))
"""What a cluster needs in addition to Kubernetes itself. helm is needed once the cluster is up."""


class Cluster:
    """The cluster of one checkout. Nothing is started before `up`."""

    def __init__(self, checkout: Path = settings.REPO) -> None:
        self.checkout = checkout
        self.docker = daemon.find()
        self._proposed = cluster_state.propose(checkout)
        self._base = ""
        self._pushed: dict[str, str] = {}
        self._node_image: NodeImage | None = None

    @property
    def state(self) -> ClusterState:
        """The recorded state, else the one that `up` would record."""
        return cluster_state.load(self._proposed.key) or self._proposed

    @property
    def kubeconfig(self) -> Path:
        return self.state.kubeconfig

    @property
    def registry(self) -> str:
        """Prefix of image references, such as localhost:20000."""
        return self.state.registry

    @property
    def kubectl(self) -> nodes.Kubectl:
        return nodes.Kubectl(binaries.build(binaries.KUBERNETES)["kubectl"], self.kubeconfig)

    def up(self, build: Iterable[str] = ()) -> dict[str, str]:
        """Bring the cluster up, and build and push the images named in `build`; their references by name.

        What only builds need is kept: `binaries.clear_build_cache` removes it.

        Raises:
            RequirementNotMet: The machine lacks something; nothing was started.
            StepFailed: A step failed.
        """
        names = tuple(build)
        steps = self.steps()
        self.image_steps(steps, names)
        steps.run()
        return {name: self.image(name) for name in names}

    def steps(self) -> Steps:
        """Check the machine and record the state; the steps that bring the cluster up, to which more can be added."""
        preflight.check(self.docker, self._proposed)
        state = cluster_state.claim(self.checkout)
        steps = Steps(state.logs)
        steps.add("Docker daemon", lambda log: daemon.ensure(self.docker, log))
        steps.add("Kubernetes programs", lambda log: _built([binaries.KUBERNETES]))
        steps.add("node programs", lambda log: _built(NODE_PROGRAMS))
        steps.add("helm", lambda log: _built([binaries.HELM]), ["node programs"])
        steps.add("base image", self._find_base, ["Docker daemon"])
        steps.add("clusters of checkouts that are gone", self._remove_orphans, ["Docker daemon"])
        steps.add("network", lambda log: network.ensure(self.docker, state, log), ["Docker daemon"])
        steps.add("registry", self._start_registry, ["network"])  # builds its own program
        steps.add("node image", self._find_node_image, ["base image", "Kubernetes programs", "node programs"])
        steps.add("cluster", self._start_cluster, ["network", "node image"])
        steps.add("nodes", self._configure_nodes, ["cluster"])
        return steps

    def image_steps(self, steps: Steps, names: Iterable[str]) -> None:
        """Add the steps that build and push images, in parallel with those of the cluster."""
        for name in names:
            steps.add(f"build {name}", self._build_step(name), ["base image"])
            steps.add(f"push {name}", self._push_step(name), [f"build {name}", "registry"])

    def _find_base(self, log: Path) -> str:
        self._base = base_images.python(self.docker, log)
        return self._base

    def _start_registry(self, log: Path) -> str:
        return registry.ensure(self.docker, self.state, log)

    def _find_node_image(self, log: Path) -> str:
        found = node_image.stock(self.docker, log) or node_image.own(self.docker, log)
        self._node_image = found
        return f"{found.name}: {found.reason}"

    def _start_cluster(self, log: Path) -> str:
        """Keep a cluster that is up, start one that was stopped, create a new one if parts of it are missing."""
        image = self._required_node_image()
        containers = nodes.container_states(self.docker, self.state)
        if len(containers) == len(nodes.node_names(self.state)) and self._started(image):
            return "already up"
        lifecycle.delete(self.docker, self.state, log)
        network.ensure(self.docker, self.state, log)
        state = image_store.take(self.docker, self.state, image.name, log)
        lifecycle.create(self.docker, state, image, log)
        return "created again" if containers else "created"

    def _started(self, image: NodeImage) -> bool:
        """Start stopped nodes; whether all nodes are made from `image` and the API server answers."""
        state = self.state
        image_id = self.docker.output("image", "inspect", "--format", "{{.Id}}", image.name).strip()
        for node in nodes.node_names(state).values():
            if self.docker.output("inspect", "--format", "{{.Image}}", node).strip() != image_id:
                return False
        nodes.start_stopped(self.docker, state)
        lifecycle.write_kubeconfig(self.docker, state)
        return nodes.api_answers(self.kubectl)

    def _configure_nodes(self, log: Path) -> str:
        image, state = self._required_node_image(), self.state
        if not nodes.api_answers(self.kubectl) or not nodes.all_ready(self.docker, self.kubectl, state):
            log.write_text(self.kubectl("describe", "nodes"))
            raise shell.CommandFailed(["kubectl", "wait", "node", "--all"], 1, "the nodes do not become Ready", log)
        nodes.configure(self.docker, self.kubectl, state, stock=image.stock)
        counts = ", ".join(f"{role} {count}" for role, count in settings.GPUS_PER_NODE.items())
        return f"Ready; GPUs: {counts}"

    def _required_node_image(self) -> NodeImage:
        if self._node_image is None:
            raise RuntimeError("an earlier step finds the node image")
        return self._node_image

    def _build_step(self, name: str) -> Work:
        def work(log: Path) -> str:
            if project_images.pushed(self.state, name, self._base):
                return "unchanged"
            return project_images.build(self.docker, name, self._base, log)

        return work

    def _push_step(self, name: str) -> Work:
        def work(log: Path) -> str:
            self._pushed[name] = project_images.push(self.docker, self.state, name, self._base, log)
            return self._pushed[name]

        return work

    def image(self, name: str) -> str:
        """Reference of image `name` as it was pushed, else as its sources are now."""
        if name in self._pushed:  # the sources may have changed since
            return self._pushed[name]
        return project_images.reference(
            self.state, name, self._base or base_images.python(self.docker, self._log("base image"))
        )

    def build_and_push(self, name: str) -> str:
        """Build and push image `name` if its sources have changed, on a running cluster; its reference."""
        log = self._log(f"build {name}")
        self._base = self._base or base_images.python(self.docker, log)
        if not project_images.pushed(self.state, name, self._base):
            project_images.build(self.docker, name, self._base, log)
        return project_images.push(self.docker, self.state, name, self._base, log)

    def _log(self, name: str) -> Path:
        self.state.logs.mkdir(parents=True, exist_ok=True)
        return log_file(self.state.logs, name)

    def env(self) -> dict[str, str]:
        """Variables for a shell: KUBECONFIG, DOCKER_HOST, and in PATH the folders to prepend to it."""
        modules = (binaries.KUBERNETES, binaries.HELM, binaries.KIND)
        folders = [self.checkout / ".venv/bin", *(binaries.folder_of(module) for module in modules)]
        variables = {"KUBECONFIG": str(self.kubeconfig), "PATH": ":".join(map(str, folders))}
        if self.docker.host:
            variables["DOCKER_HOST"] = self.docker.host
        return variables

    def down(self) -> None:
        """Remove the clusters of this checkout and of those that are gone; stop our own daemon if none is left."""
        state = cluster_state.load(self._proposed.key)
        for one in filter(None, (state, *cluster_state.orphans())):
            say(self._remove(one))
        if not cluster_state.recorded():
            daemon.stop()
            say("the Docker daemon is stopped; caches stay in " + str(cache.root()))

    def _remove_orphans(self, log: Path) -> str:
        """Docker starts the clusters of checkouts that are gone again whenever it starts: they would run for ever."""
        return ", ".join(self._remove(one) for one in cluster_state.orphans()) or "none"

    def _remove(self, one: ClusterState) -> str:
        log = one.logs / "down.log"
        daemon.ensure(self.docker, log)
        lifecycle.delete(self.docker, one, log)
        if shell.succeeds(["docker", "inspect", one.registry_container], env=self.docker.env):
            self.docker.output("rm", "--force", "--volumes", one.registry_container)
        network.remove(self.docker, one)
        shutil.rmtree(one.folder)
        return f"cluster {one.name} of {one.checkout} is removed"


def _built(modules: Iterable[binaries.GoModule]) -> str:
    built = binaries.build_missing(modules)
    return f"built {', '.join(built)}" if built else "already built"
