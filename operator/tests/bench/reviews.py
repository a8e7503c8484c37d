"""How fast the webhook answers with 1,000 LLMDeployments: `make bench-webhook`. Exit 1 when the bound is missed.

Real etcd and kube-apiserver on this machine, the operator as a process of its own. Reviews go straight to the webhook's
port, as the API server sends them: the milliseconds are the operator's alone. Then dry runs go through the API server.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import ssl
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from e2e.cluster.images import binaries
from tests.apiserver.controlplane import ControlPlane, control_plane
from tests.apiserver.fixtures import install_crd
from tests.apiserver.inspections import IMAGE
from tests.apiserver.view import Object, llm
from tests.apiserver.webhooks import Installed, installed
from tests.bench import cluster
from tests.bench.__main__ import NODES, Bench
from tests.builders.deployments import LLAMA_8B, LLAMA_70B
from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.capacity import shape_from_config
from triton_vllm_operator.plan.inspection_protocol import InspectedModel
from triton_vllm_operator.plan.model_status import model_status
from triton_vllm_operator.webhook.handler import API_VERSION, PATH

SIZE = 1000
P99_MS = 300.0
REVIEWS = 1500
HANDS = 4  # connections, as the API server keeps
PACE_S = 0.1  # after each answer: together at most 40 changes a second


def stored(name: str, config: Object, **spec: Any) -> Object:
    """An LLMDeployment whose model has been read."""
    obj = llm(name, **spec)
    obj["metadata"] |= {"namespace": cluster.NAMESPACE, "uid": f"uid-of-{name}"}
    read = InspectedModel("c" * 40, shape_from_config(config))
    return {**obj, "status": {"model": model_status(LLMDeployment.parse(obj), read).to_json()}}


def review(new: Object, old: Object | None = None) -> bytes:
    request: Object = {
        "uid": "1",
        "resource": {"group": names.GROUP, "version": names.VERSION, "resource": names.PLURAL},
        "operation": "CREATE" if old is None else "UPDATE",
        "object": new,
        "oldObject": old,
    }
    return json.dumps({"apiVersion": API_VERSION, "kind": "AdmissionReview", "request": request}).encode()


def reviews() -> Iterator[bytes]:
    """Of ten changes: five new ones, two wrong ones, two of a model that fits, one of a model that does not."""
    small, large = stored("small", LLAMA_8B), stored("large", LLAMA_70B)
    for number in itertools.count():
        longest = {"engine": {"maxModelLen": 1024 + number}}
        wrong = {"engine": {"extraArgs": {f"enable_lroa{number}": True, "disable_log_requests": True}}}
        new = [review(llm(f"new{number}", replicas=1 + place)) for place in range(5)]
        bad = [review(llm("bad", **wrong)), review({**small, "spec": {**small["spec"], **wrong}}, small)]
        fits = [review({**small, "spec": {**small["spec"], **longest, "replicas": n}}, small) for n in (2, 3)]
        tight = {"engine": {"tensorParallelSize": 1, "maxModelLen": 1024 + number}}
        yield from (*new, *bad, *fits, review({**large, "spec": {**large["spec"], **tight}}, large))


def timed(count: int, ask: Callable[[Callable[[], Any]], None], make: Callable[[], Any]) -> list[float]:
    """Milliseconds of `count` requests over some connections, sorted."""
    local = threading.local()
    waits: list[float] = []

    def one(_: int) -> None:
        if not hasattr(local, "connection"):
            local.connection = make()
        began = time.monotonic()
        ask(local.connection)
        waits.append(1000 * (time.monotonic() - began))
        time.sleep(PACE_S)

    with ThreadPoolExecutor(HANDS) as pool:
        list(pool.map(one, range(count)))
    return sorted(waits)


def straight(hook: Installed) -> list[float]:
    """Reviews to the webhook's own port."""
    bundle = b64decode(hook.live()["clientConfig"]["caBundle"]).decode()
    bodies, lock = reviews(), threading.Lock()

    def connect() -> http.client.HTTPSConnection:
        trust = ssl.create_default_context(cadata=bundle)
        return http.client.HTTPSConnection("127.0.0.1", hook.port, timeout=30, context=trust)

    def ask(connection: Any) -> None:
        with lock:
            body = next(bodies)
        connection.request("POST", PATH, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        review = json.loads(answer.read())["response"]
        assert answer.status == 200
        assert not any("NotChecked" in warning for warning in review.get("warnings", ())), review

    return timed(REVIEWS, ask, connect)


def through(plane: ControlPlane) -> list[float]:
    """Dry runs through the API server, its own time included."""
    path = f"{kinds.LLM_DEPLOYMENT.path(cluster.NAMESPACE)}?dryRun=All"
    number = itertools.count()

    def ask(connection: Any) -> None:
        connection.send("POST", path, llm(f"dry{next(number)}"))

    return timed(REVIEWS // 3, ask, lambda: cluster.Connection(plane))


def report(bench: Bench, name: str, waits: Sequence[float], bound: float | None) -> None:
    bench.figure(SIZE, f"{name}, median", waits[len(waits) // 2], "ms")
    bench.figure(SIZE, f"{name}, p99", waits[int(len(waits) * 0.99) - 1], "ms", bound)
    bench.figure(SIZE, f"{name}, longest", waits[-1], "ms")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-webhook", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the figures into operator/docs/performance.md")
    given = parser.parse_args()
    bench = Bench()
    with control_plane(binaries.api_server_programs(), controllers=False, prepare=install_crd) as plane:
        cluster.fill(plane, NODES, 0)
        with (
            installed(plane, cluster.NAMESPACE) as hook,
            cluster.operator(plane, *IMAGE, *hook.options) as operator,
        ):
            every = [f"m{number}" for number in range(SIZE)]
            cluster.create(plane, every)
            report(bench, "review while 1,000 are worked on", straight(hook), P99_MS)
            bench.figure(SIZE, "memory", operator.memory_mib(), "MiB")
            with cluster.churning(plane, every, 0.05):
                report(bench, "review while they are scaled", straight(hook), P99_MS)
            report(bench, "dry run through the API server", through(plane), P99_MS)
    if given.write:
        bench.write("make bench-webhook")
    return bench.verdict()


if __name__ == "__main__":
    sys.exit(main())
