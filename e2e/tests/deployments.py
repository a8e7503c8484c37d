"""What a test sees of the LLMDeployments in one namespace, and does to them."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from e2e.cluster import shell
from e2e.cluster.kind.nodes import GPU_RESOURCE, gpu_patch
from e2e.environment import OPERATOR_NAMESPACE, RELEASE, Environment

Object = dict[str, Any]
READY_SECONDS = 600
STANDING = "llama"
"""Name of the deployment of the fixture `standing`."""
REPORT = "STARTUP "
SMALL = {"cpu": "100m", "memory": "3Gi", "sharedMemory": "256Mi"}
"""Requests that a tiny model on a CPU needs."""


def llm(name: str, uri: str = "hf://demo/tiny-llama", **spec: Any) -> Object:
    """An LLMDeployment of a tiny model."""
    engine = {"maxModelLen": 1024, **spec.pop("engine", {})}
    resources = {**SMALL, **spec.pop("resources", {})}
    model = {"uri": uri, **spec.pop("model", {})}
    return {
        "apiVersion": "serving.triton-vllm.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": name},
        "spec": {"model": model, "engine": engine, "resources": resources, **spec},
    }


def ask(text: str = "The quick brown fox", **parameters: Any) -> dict[str, Any]:
    """The body of a generate request; greedy and without an early end unless the parameters say otherwise."""
    return {
        "text_input": text,
        "parameters": {"temperature": 0, "ignore_eos": True, **parameters},
        "exclude_input_in_output": True,
        "return_num_output_tokens": True,
    }


def eventually(what: str, done: Callable[[], bool], seconds: float, every: float = 0.5) -> float:
    """Wait until `done()`; the seconds it took. AssertionError with `what` after `seconds`."""
    begun = time.monotonic()
    while not done():
        assert time.monotonic() - begun < seconds, f"not within {seconds:.0f} s: {what}"
        time.sleep(every)
    return time.monotonic() - begun


def operator_pods(env: Environment) -> set[str]:
    """UIDs of the operator's pods."""
    label = f"app.kubernetes.io/name={RELEASE}"
    return {pod["metadata"]["uid"] for pod in env.json("get", "pods", "-n", OPERATOR_NAMESPACE, "-l", label)["items"]}


def advertise(env: Environment, resource: str, count: int) -> None:
    """Have a node offer this number of GPUs of a resource."""
    nodes = env.json("get", "nodes")["items"]
    node = max(nodes, key=lambda one: int(one["status"]["allocatable"].get(GPU_RESOURCE, 0)))
    patch = json.dumps(gpu_patch(count, resource))
    env.kubectl("patch", "node", node["metadata"]["name"], "--subresource=status", "--type=json", "-p", patch)


@dataclass(frozen=True)
class Namespace:
    """One namespace that enforces the restricted Pod Security Standard."""

    env: Environment
    name: str

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        return self.env.kubectl("-n", self.name, *arguments, stdin=stdin, timeout=timeout)

    def apply(self, *objects: Object) -> None:
        """`kubectl apply`, as a user does it."""
        for obj in objects:
            self.kubectl("apply", "-f", "-", stdin=json.dumps(obj))

    def patch(self, name: str, spec: Object) -> None:
        """Change fields of an LLMDeployment's spec; a field that is None is removed."""
        self.kubectl("patch", "llm", name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def get(self, kind: str, name: str) -> Object | None:
        """An object, or None where there is none."""
        found = self.kubectl("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(found) if found else None

    def condition(self, name: str, kind: str = "Ready") -> Object:
        """A condition of an LLMDeployment; {} when it is not there."""
        conditions = (self.get("llm", name) or {}).get("status", {}).get("conditions", [])
        return next((one for one in conditions if one["type"] == kind), {})

    def wait_ready(self, *names: str, seconds: int = READY_SECONDS) -> None:
        """As the documentation says it; AssertionError with the deployment's own message."""
        for name in names:
            try:
                self.kubectl(
                    "wait", "--for=condition=Ready", f"llm/{name}", f"--timeout={seconds}s", timeout=seconds + 9
                )
            except shell.CommandFailed as failed:
                raise AssertionError(f"{name}: {self.condition(name)}\n{self._last_words(name)}") from failed

    def _last_words(self, name: str) -> str:
        pods = self.pods(name)
        return "\n".join(self.kubectl("logs", pod["metadata"]["name"], "--tail=30") for pod in pods)

    def wait_generation(self, name: str, seconds: float = 30) -> None:
        """Until the status is about the newest spec."""

        def reported() -> bool:
            obj = self.get("llm", name) or {}
            return bool(obj) and obj.get("status", {}).get("observedGeneration") == obj["metadata"]["generation"]

        eventually(f"status of the newest spec of {name}", reported, seconds)

    def wait_reason(self, name: str, reason: str, seconds: float) -> str:
        """The message of Ready once it has this reason."""
        begun = time.monotonic()
        while (found := self.condition(name)).get("reason") != reason:
            assert time.monotonic() - begun < seconds, f"{name} is not {reason} after {seconds:.0f} s but {found}"
            time.sleep(0.5)
        return str(found["message"])

    def pods(self, name: str) -> list[Object]:
        """The pods of an LLMDeployment that are not being deleted."""
        items = json.loads(self.kubectl("get", "pods", "-l", f"app.kubernetes.io/instance={name}", "-o", "json"))[
            "items"
        ]
        return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]

    def pod(self, name: str) -> Object:
        """The only pod of an LLMDeployment."""
        (pod,) = self.pods(name)
        return pod

    def report(self, name: str) -> dict[str, Object]:
        """The lines of the serving pod's start-up report, by phase."""
        log = self.kubectl("logs", self.pod(name)["metadata"]["name"])
        lines = [json.loads(line.removeprefix(REPORT)) for line in log.splitlines() if line.startswith(REPORT)]
        return {line["phase"]: line for line in lines}

    def url(self, name: str, path: str = "generate") -> str:
        """Address of a path below the served model, by the Service's name."""
        return f"http://{name}.{self.name}:8000/v2/models/{name}/{path}"

    @contextmanager
    def forward(self, name: str, port: int) -> Iterator[str]:
        """`kubectl port-forward` to a port of the Service: HOST:PORT on this machine."""
        variables = shell.environment(self.env.variables)
        command = [self.env.kubectl_program, "-n", self.name, "port-forward", f"service/{name}", f":{port}"]
        process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            assert found is not None, f"output of port-forward: {line!r}"
            yield f"127.0.0.1:{found.group(1)}"
        finally:
            process.terminate()
            process.wait(10)
