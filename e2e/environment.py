"""What the demo and the whole-cluster tests stand on: a cluster, two images and the installed chart.

By default that is the kind cluster of this checkout. With CLUSTER=existing it is the current kubeconfig context, and
the images come from OPERATOR_IMAGE and SERVING_IMAGE.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.cluster import Cluster, shell
from e2e.cluster.images import binaries
from e2e.hub import manifests

REPO = Path(__file__).resolve().parent.parent
CHART = REPO / "charts" / "triton-vllm-operator"
OPERATOR_NAMESPACE = "triton-vllm-system"
RELEASE = "triton-vllm-operator"


@dataclass(frozen=True)
class Environment:
    """A cluster with the programs that talk to it.

    Attributes:
        variables: environment of kubectl and helm.
    """

    kubectl_program: str
    helm_program: str
    variables: dict[str, str]
    operator_image: str
    serving_image: str

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        """The output of kubectl; CommandFailed with its error."""
        return shell.output([self.kubectl_program, *arguments], env=self.variables, stdin=stdin, timeout=timeout)

    def json(self, *arguments: str) -> Any:
        """kubectl's output as JSON."""
        return json.loads(self.kubectl(*arguments, "-o", "json"))

    def apply(self, *objects: dict[str, Any]) -> str:
        """Server-side apply of whole objects, as a user's own."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        return self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)

    def helm(self, *arguments: str, timeout: float = 180) -> str:
        """The output of helm; CommandFailed with its error."""
        return shell.output([self.helm_program, *arguments], env=self.variables, timeout=timeout)

    def install(self, *more: str) -> str:
        """Install or upgrade the chart, and wait until the operator is ready."""
        repository, _, tag = self.operator_image.rpartition(":")
        values = {
            "image.repository": repository,
            "image.tag": tag,
            "serving.image": self.serving_image,
            "serving.env.HF_ENDPOINT": manifests.ENDPOINT,
        }
        settings = [f"--set-string={key}={value}" for key, value in values.items()]
        self.apply(manifests.namespace(OPERATOR_NAMESPACE))
        return self.helm(
            "upgrade", "--install", RELEASE, str(CHART), f"--namespace={OPERATOR_NAMESPACE}", "--wait",
            "--timeout=2m", *settings, *more,
        )  # fmt: skip

    def start_hub(self) -> None:
        """Start the model hub, and wait until its models are made."""
        for obj in manifests.hub(self.serving_image):
            self.apply(obj)
        self.kubectl("rollout", "status", "-n", manifests.NAMESPACE, "deployment/hub", "--timeout=5m", timeout=320)


def existing() -> Environment:
    """The current kubeconfig context; RequirementNotMet when something it needs is not given."""
    images = {name: os.environ.get(name, "") for name in ("OPERATOR_IMAGE", "SERVING_IMAGE")}
    programs = {name: shutil.which(name) or "" for name in ("kubectl", "helm")}
    missing = [name for name, value in {**images, **programs}.items() if not value]
    if missing:
        raise shell.RequirementNotMet(
            f"CLUSTER=existing needs {', '.join(missing)}: set the images, install the programs"
        )
    return Environment(programs["kubectl"], programs["helm"], {}, *images.values())


def of(cluster: Cluster) -> Environment:
    """This checkout's own cluster, once it stands and the images are pushed."""
    return Environment(
        kubectl_program=str(binaries.build(binaries.KUBERNETES)["kubectl"]),
        helm_program=str(binaries.build(binaries.HELM)["helm"]),
        variables={"KUBECONFIG": str(cluster.kubeconfig)},
        operator_image=cluster.image("operator"),
        serving_image=cluster.image("triton-vllm"),
    )


def prepare() -> Environment:
    """A standing cluster with both images, the chart and the hub; each part is reused where it stands."""
    if os.environ.get("CLUSTER") == "existing":
        environment = existing()
    else:
        cluster = Cluster()
        cluster.up(["operator", "triton-vllm"])
        environment = of(cluster)
    environment.install()
    environment.start_hub()
    return environment
