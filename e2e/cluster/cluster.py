"""One cluster from nothing to ready, healed when half of it died, and gone without a trace."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from devtools import cache
from devtools.progress import say
from e2e.cluster import (
    bases,
    engine,
    images,
    kind,
    network,
    node_image,
    nodes,
    parts,
    preflight,
    registry,
    settings,
    shell,
    slots,
    state,
)
from e2e.cluster.node_image import NodeImage
from e2e.cluster.state import State
from e2e.cluster.steps import Steps, Work

NODE_PROGRAMS = tuple(part for part in parts.EVERY if part not in (parts.KUBERNETES, parts.HELM))
"""Parts that a cluster needs besides Kubernetes itself. helm is only needed once the cluster stands."""


class Cluster:
    """The cluster of one checkout. Nothing happens before `up`."""

    def __init__(self, checkout: Path = settings.REPO) -> None:
        self.checkout = checkout
        self.engine = engine.find()
        self._proposed = state.propose(checkout)
        self._base = ""
        self._pushed: dict[str, str] = {}
        self._node_image: NodeImage | None = None

    @property
    def state(self) -> State:
        return state.load(self._proposed.key) or self._proposed

    @property
    def kubeconfig(self) -> Path:
        return self.state.kubeconfig

    @property
    def registry(self) -> str:
        """Prefix of image references, such as localhost:20000."""
        return self.state.registry

    @property
    def kubectl(self) -> nodes.Kubectl:
        return nodes.Kubectl(parts.build(parts.KUBERNETES)["kubectl"], self.kubeconfig)

    def up(self, build: Iterable[str] = ()) -> dict[str, str]:
        """Make the cluster stand, and build and push the images named in `build`; their references by name.

        Unmet when the machine lacks something (nothing was started then), StepFailed when a step fails.
        """
        names = tuple(build)
        steps = self.steps()
        self.image_steps(steps, names)
        steps.run()
        return {name: self.image(name) for name in names}

    def steps(self) -> Steps:
        """Check the machine, record the state and give the steps that make the cluster stand, to add more to."""
        preflight.check(self.engine, self._proposed)
        mine = state.claim(self.checkout)
        steps = Steps(mine.logs)
        steps.add("Docker engine", lambda log: engine.ensure(self.engine, log))
        steps.add("Kubernetes programs", lambda log: _built([parts.KUBERNETES]))
        steps.add("node programs", lambda log: _built(NODE_PROGRAMS))
        steps.add("helm", lambda log: _built([parts.HELM]), ["node programs"])
        steps.add("base image", self._find_base, ["Docker engine"])
        steps.add("clusters of checkouts that are gone", self._remove_orphans, ["Docker engine"])
        steps.add("network", lambda log: network.ensure(self.engine, mine, log), ["Docker engine"])
        steps.add("registry", self._start_registry, ["network"])  # builds its own program
        steps.add("node image", self._find_node_image, ["base image", "Kubernetes programs", "node programs"])
        steps.add("caches of Go", lambda log: parts.clear_workshop(), ["helm", "node image", "registry"])
        steps.add("cluster", self._start_cluster, ["network", "node image"])
        steps.add("nodes", self._settle_nodes, ["cluster"])
        return steps

    def image_steps(self, steps: Steps, names: Iterable[str]) -> None:
        """Add the steps that build and push images; they run beside the cluster's own."""
        for name in names:
            steps.add(f"build {name}", self._build_step(name), ["base image"])
            steps.add(f"push {name}", self._push_step(name), [f"build {name}", "registry"])

    def _find_base(self, log: Path) -> str:
        self._base = bases.python(self.engine, log)
        return self._base

    def _start_registry(self, log: Path) -> str:
        return registry.ensure(self.engine, self.state, log)

    def _find_node_image(self, log: Path) -> str:
        found = node_image.stock(self.engine, log) or node_image.own(self.engine, log)
        self._node_image = found
        return f"{found.name}: {found.reason}"

    def _start_cluster(self, log: Path) -> str:
        """Keep the cluster that stands, wake one that was stopped, make a new one when parts of it are gone."""
        image = self._chosen_image()
        standing = nodes.container_states(self.engine, self.state)
        if len(standing) == len(nodes.names(self.state)) and self._wake(image):
            return "stands"
        kind.delete(self.engine, self.state, log)
        network.ensure(self.engine, self.state, log)
        mine = slots.take(self.engine, self.state, image.name, log)
        kind.create(self.engine, mine, image, log)
        return "made anew" if standing else "made"

    def _wake(self, image: NodeImage) -> bool:
        """Whether all nodes are made from `image` and the API answers, once stopped nodes are started."""
        mine = self.state
        wanted = self.engine.docker("image", "inspect", "--format", "{{.Id}}", image.name).strip()
        for node in nodes.names(mine).values():
            if self.engine.docker("inspect", "--format", "{{.Image}}", node).strip() != wanted:
                return False
        nodes.start_stopped(self.engine, mine)
        kind.write_kubeconfig(self.engine, mine)
        return nodes.api_answers(self.kubectl)

    def _settle_nodes(self, log: Path) -> str:
        image, mine = self._chosen_image(), self.state
        if not nodes.api_answers(self.kubectl) or not nodes.all_ready(self.engine, self.kubectl, mine):
            log.write_text(self.kubectl("describe", "nodes"))
            raise shell.CommandFailed(["kubectl", "wait", "node", "--all"], 1, "the nodes do not become Ready", log)
        nodes.settle(self.engine, self.kubectl, mine, stock=image.stock)
        counts = ", ".join(f"{role} {count}" for role, count in settings.GPUS_PER_NODE.items())
        return f"Ready; GPUs: {counts}"

    def _chosen_image(self) -> NodeImage:
        if self._node_image is None:
            raise RuntimeError("the node image is chosen by an earlier step")
        return self._node_image

    def _build_step(self, name: str) -> Work:
        def work(log: Path) -> str:
            if images.pushed(self.state, name, self._base):
                return "unchanged"
            return images.build(self.engine, name, self._base, log)

        return work

    def _push_step(self, name: str) -> Work:
        def work(log: Path) -> str:
            self._pushed[name] = images.push(self.engine, self.state, name, self._base, log)
            return self._pushed[name]

        return work

    def image(self, name: str) -> str:
        """Reference of image `name` as it was pushed, else as its sources are now."""
        if name in self._pushed:  # the sources may have changed since
            return self._pushed[name]
        return images.reference(self.state, name, self._base or bases.python(self.engine, self._log("base image")))

    def build_and_push(self, name: str) -> str:
        """Build and push image `name` where its sources changed, on a standing cluster; its reference."""
        log = self._log(f"build {name}")
        self._base = self._base or bases.python(self.engine, log)
        if not images.pushed(self.state, name, self._base):
            images.build(self.engine, name, self._base, log)
        return images.push(self.engine, self.state, name, self._base, log)

    def _log(self, name: str) -> Path:
        self.state.logs.mkdir(parents=True, exist_ok=True)
        return self.state.logs / f"{name.replace(' ', '-')}.log"

    def env(self) -> dict[str, str]:
        """Variables for a shell: KUBECONFIG, DOCKER_HOST, and under PATH the folders to put before it."""
        tools = (parts.KUBERNETES, parts.HELM, parts.KIND)
        folders = [self.checkout / ".venv/bin", *(parts.folder_of(part) for part in tools)]
        variables = {"KUBECONFIG": str(self.kubeconfig), "PATH": ":".join(map(str, folders))}
        if self.engine.host:
            variables["DOCKER_HOST"] = self.engine.host
        return variables

    def down(self) -> None:
        """Remove this checkout's cluster, those of checkouts that are gone, and the engine when nobody uses it."""
        mine = state.load(self._proposed.key)
        for one in filter(None, (mine, *state.orphans())):
            say(self._remove(one))
        if not state.every():
            engine.stop()
            say("the engine is stopped; caches stay in " + str(cache.root()))

    def _remove_orphans(self, log: Path) -> str:
        """Docker starts the clusters of checkouts that are gone again with itself: they would run for ever."""
        return ", ".join(self._remove(one) for one in state.orphans()) or "none"

    def _remove(self, one: State) -> str:
        log = one.logs / "down.log"
        engine.ensure(self.engine, log)
        kind.delete(self.engine, one, log)
        if shell.succeeds(["docker", "inspect", one.registry_container], env=self.engine.env):
            self.engine.docker("rm", "--force", "--volumes", one.registry_container)
        network.remove(self.engine, one)
        shutil.rmtree(one.folder)
        return f"cluster {one.name} of {one.checkout} is removed"


def _built(wanted: Iterable[parts.Part]) -> str:
    missing = parts.build_missing(wanted)
    return f"built {', '.join(missing)}" if missing else "already built"
