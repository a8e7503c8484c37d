"""helm on our chart, without a cluster."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
CHART = Path(__file__).parents[3] / "charts" / "triton-vllm-operator"
RELEASE = "triton-vllm-operator"
NAMESPACE = "triton-vllm-system"


@dataclass(frozen=True)
class Helm:
    program: Path
    home: Path

    def run(self, *arguments: str, values: Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
        """Run helm, with a values file made of `values` if there are any; its exit code and output."""
        file = self.home / "values.json"
        if values is not None:
            file.write_text(json.dumps(values))
            arguments = (*arguments, f"--values={file}")
        folders = {f"HELM_{kind}_HOME": str(self.home / kind) for kind in ("CACHE", "CONFIG", "DATA")}
        return subprocess.run(
            [str(self.program), *arguments],
            env={**os.environ, **folders, "KUBECONFIG": str(self.home / "no-cluster")},
            capture_output=True,
            text=True,
            check=False,
        )

    def template(self, values: Mapping[str, Any] | None = None, *options: str, namespace: str = NAMESPACE) -> Rendered:
        """The chart's objects. AssertionError with helm's words when it refuses."""
        done = self.run("template", RELEASE, str(CHART), f"--namespace={namespace}", *options, values=values)
        assert done.returncode == 0, done.stderr
        return Rendered([obj for obj in yaml.load_all(done.stdout, yaml.CSafeLoader) if obj])

    def notes(self, values: Mapping[str, Any] | None = None) -> str:
        """What a user reads after the installation."""
        options = ["--dry-run=client", f"--namespace={NAMESPACE}"]
        done = self.run("install", RELEASE, str(CHART), *options, values=values)
        assert done.returncode == 0, done.stderr
        return done.stdout.split("\nNOTES:\n", 1)[1]

    def refusal(self, values: Mapping[str, Any]) -> str:
        """What helm says about values that it refuses."""
        done = self.run("template", RELEASE, str(CHART), values=values)
        assert done.returncode != 0, f"accepted: {values}"
        return done.stderr


@dataclass(frozen=True)
class Rendered:
    objects: list[Object]

    def of(self, kind: str) -> list[Object]:
        return [obj for obj in self.objects if obj["kind"] == kind]

    def one(self, kind: str) -> Object:
        (found,) = self.of(kind)
        return found

    @property
    def cluster_role(self) -> Object:
        """The operator's own ClusterRole; the others are aggregated to those of users."""
        (found,) = [
            role for role in self.of("ClusterRole") if not role["metadata"]["name"].endswith(("-view", "-edit"))
        ]
        return found

    @property
    def pod(self) -> Object:
        """Template of the operator's pods."""
        template: Object = self.one("Deployment")["spec"]["template"]
        return template

    @property
    def container(self) -> Object:
        (found,) = self.pod["spec"]["containers"]
        assert isinstance(found, dict)
        return found
