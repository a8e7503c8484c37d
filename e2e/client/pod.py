"""The pod that clients of the tests run in."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.environment import Environment
from e2e.hub import manifests

NAMESPACE = "clients"
SCRIPT = Path(__file__).parent / "requests.py"


@dataclass(frozen=True)
class Answer:
    """What came back for one request.

    Attributes:
        status: HTTP status; 0 when no HTTP answer came, then `body` is the error.
        arrivals: seconds after the request at which each part of the body came.
    """

    status: int
    body: str
    arrivals: tuple[float, ...]

    def json(self) -> Any:
        """The body as JSON; AssertionError with the body when the status is not 200."""
        assert self.status == 200, f"HTTP {self.status}: {self.body}"
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """The objects of a server-sent event stream."""
        assert self.status == 200, f"HTTP {self.status}: {self.body}"
        return [json.loads(line[5:]) for line in self.body.splitlines() if line.startswith("data:")]


@dataclass(frozen=True)
class Client:
    """Sends requests from inside the cluster, from a pod of this name."""

    env: Environment
    name: str = "client"

    def start(self) -> None:
        """Make the pod, and wait until it runs."""
        pod = manifests.script_pod(self.env.serving_image, ["sleep", "infinity"])
        meta = {"name": "scripts", "namespace": NAMESPACE}
        script = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": meta,
            "data": {"requests.py": SCRIPT.read_text()},
        }
        self.env.apply(manifests.namespace(NAMESPACE), script)
        meta = {"name": self.name, "namespace": NAMESPACE}
        self.env.kubectl("delete", "pod", self.name, "-n", NAMESPACE, "--ignore-not-found", "--grace-period=1")
        self.env.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod})
        self.env.kubectl("wait", "--for=condition=Ready", f"pod/{self.name}", "-n", NAMESPACE, "--timeout=60s")

    def send(
        self, requests: Iterable[dict[str, Any]], concurrency: int = 1, every: float = 0.0
    ) -> tuple[float, list[Answer]]:
        """Send requests ({"url", "json"}) from the pod: seconds for all of them, and each one's answer in order.

        `every`: seconds from the start of one to that of the next, at least.
        """
        plan = json.dumps({"concurrency": concurrency, "every": every, "requests": list(requests)})
        command = ["exec", "-i", "-n", NAMESPACE, self.name, "--", "python3", "/scripts/requests.py"]
        output = json.loads(self.env.kubectl(*command, stdin=plan, timeout=300))
        answers = [Answer(one["status"], one["body"], tuple(one["arrivals"])) for one in output["answers"]]
        return output["seconds"], answers

    @contextmanager
    def steadily(
        self, url: str, body: dict[str, Any], *, batch: int = 50, concurrency: int = 2, every: float = 0.2
    ) -> Iterator[list[Answer]]:
        """POST batch after batch while the block runs, by default five times per second: so few that they do not slow
        down what happens meanwhile.
        """
        answers: list[Answer] = []
        over = threading.Event()

        def send() -> None:
            while not over.is_set():
                answers.extend(self.send([{"url": url, "json": body}] * batch, concurrency=concurrency, every=every)[1])

        sender = threading.Thread(target=send)
        sender.start()
        try:
            yield answers
        finally:
            over.set()
            sender.join()

    def post(self, url: str, body: dict[str, Any]) -> Answer:
        """One POST with a JSON body."""
        _, (answer,) = self.send([{"url": url, "json": body}])
        return answer

    def get(self, url: str) -> Answer:
        """One GET."""
        _, (answer,) = self.send([{"url": url}])
        return answer
