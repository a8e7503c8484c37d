"""How small and fast the operator is: `make bench-operator`. A line a figure with its bound; exit 1 when one is missed.

Real etcd and kube-apiserver on this machine, the operator as a process of its own. The API server shares the cores with
the operator, so the seconds are those of both; `cpu` is the operator's own processor time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from e2e.cluster.images import binaries
from tests.apiserver.controlplane import ControlPlane, control_plane
from tests.apiserver.fixtures import install_crd
from tests.apiserver.operators import PROVEN, OperatorProcess
from tests.apiserver.view import llm
from tests.bench import cluster
from tools import documents
from triton_vllm_operator.api import kinds

SIZES = (300, 1000, 3000)
BOUND_S = {300: 10.0, 1000: 40.0, 3000: 120.0}
NODES, FOREIGN_PODS = 5_000, 10_000
MEMORY_MIB = 150.0
RESTART_S = 15.0
FIRST_CHILD_S = 1.0
GROWTH = 1.3
WAITING = 20  # LLMDeployments whose pods find no GPU
LATE = 100  # LLMDeployments that are created one by one while the others churn
LIMIT_S = 900.0
EVERY_CHILD = "every child exists"
PLOTTED = {EVERY_CHILD: "seconds", "writes per LLMDeployment": "writes", "memory": "MiB"}


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured at a size, and the bound that it must keep."""

    size: int
    name: str
    value: float
    unit: str
    bound: float | None

    @property
    def missed(self) -> bool:
        return self.bound is not None and self.value > self.bound


@dataclass
class Bench:
    """Figures of one run."""

    figures: list[Figure] = field(default_factory=list)

    def figure(self, size: int, name: str, value: float, unit: str, bound: float | None = None) -> None:
        """Keep a figure, and print it at once. `bound`: at most; None: it has none."""
        made = Figure(size, name, value, unit, bound)
        self.figures.append(made)
        limit = f"at most {bound:g} {unit}" if bound is not None else ""
        print(f"{'MISS' if made.missed else '    '}  {size:5} {name:46} {value:10.2f} {unit:8} {limit}", flush=True)

    def growth(self) -> None:
        """Whether time grows linearly: what one LLMDeployment takes among the most, by that among the fewest."""
        each = {found.size: found.value / found.size for found in self.figures if found.name == EVERY_CHILD}
        if len(each) > 1:
            most = max(each)
            self.figure(most, "time of each, by that among the fewest", each[most] / each[min(each)], "times", GROWTH)

    def verdict(self) -> int:
        """Print the last line; the exit code."""
        missed = [f"{figure.name} ({figure.size})" for figure in self.figures if figure.missed]
        print(f"verdict: {'every bound is kept' if not missed else 'missed: ' + ', '.join(missed)}")
        return 1 if missed else 0

    def document(self) -> str:
        """Table and plots in Markdown: a row a figure, a column a size."""
        sizes = sorted({figure.size for figure in self.figures})
        found = {(figure.name, figure.size): figure for figure in self.figures}
        rows = []
        for name in dict.fromkeys(figure.name for figure in self.figures):
            across = [found.get((name, size)) for size in sizes]
            unit = next(figure.unit for figure in across if figure)
            rows.append([f"{name} ({unit})", *(_cell(figure) for figure in across)])
        plotted = PLOTTED if len(sizes) > 1 else {}
        plots = [
            documents.plot(f"{name}", sizes, unit, [[found[name, size].value for size in sizes]])
            for name, unit in plotted.items()
            if all((name, size) in found for size in sizes)
        ]
        return "\n".join([documents.table(("", *map(str, sizes)), rows), *plots])

    def write(self, command: str) -> None:
        """Put the document into operator/docs/performance.md, with `command` as its source."""
        documents.write(documents.DOCS / "performance.md", command, self.document())


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return ""
    bound = f" (at most {figure.bound:g})" if figure.bound is not None else ""
    return f"{figure.value:.2f}{bound}"


def writes(operator: OperatorProcess, *, events: bool = False) -> float:
    """Accepted writes of this process so far, without events and Leases, or events alone."""
    total = 0.0
    for line in operator.get("/metrics")[1].splitlines():
        if line.startswith("triton_vllm_operator_api_writes_total") and 'kind="Lease"' not in line:
            total += float(line.split()[-1]) if ('kind="Event"' in line) == events else 0.0
    return total


def applied(operator: OperatorProcess, kind: str) -> float:
    return operator.metric(f'triton_vllm_operator_api_writes_total{{kind="{kind}",verb="apply"}}')


def measure_create(bench: Bench, plane: ControlPlane, operator: OperatorProcess, names: Sequence[str]) -> None:
    size = len(names)
    cpu = operator.metric("process_cpu_seconds_total")
    began = time.monotonic()
    took = cluster.create(plane, names)
    cluster.until(lambda: applied(operator, "Deployment") >= size, LIMIT_S)
    every = time.monotonic() - began
    cluster.until(lambda: operator.metric("triton_vllm_operator_queue_depth") == 0, LIMIT_S)
    time.sleep(3)
    bench.figure(size, "all created", took, "s")
    bench.figure(size, EVERY_CHILD, every, "s", BOUND_S.get(size))
    bench.figure(size, "writes per LLMDeployment", writes(operator) / size, "writes", 7.05)
    bench.figure(size, "events per LLMDeployment", writes(operator, events=True) / size, "writes", 1.05)
    bench.figure(
        size, "cpu per LLMDeployment", 1000 * (operator.metric("process_cpu_seconds_total") - cpu) / size, "ms"
    )
    bench.figure(size, "memory", operator.memory_mib(), "MiB", MEMORY_MIB if size == 1000 else None)


def measure_late(bench: Bench, plane: ControlPlane, names: Sequence[str]) -> None:
    """The first child of a new one while the others churn."""
    watch, made = cluster.FirstChildren(), {}
    with watch.watching(plane), cluster.churning(plane, names, 0.05):
        connection = cluster.Connection(plane)
        for number in range(LATE):
            name = f"late{number}"
            connection.send("POST", kinds.LLM_DEPLOYMENT.path(cluster.NAMESPACE), llm(name))
            made[name] = time.monotonic()
            time.sleep(0.1)
        cluster.until(lambda: all(name in watch.seen for name in made), 60)
    waits = sorted(watch.seen.get(name, float("inf")) - at for name, at in made.items())
    bench.figure(len(names), "first child of a new one, median", waits[len(waits) // 2], "s")
    bench.figure(len(names), "first child of a new one, p99", waits[int(len(waits) * 0.99) - 1], "s", FIRST_CHILD_S)


def measure_waiting(bench: Bench, plane: ControlPlane, operator: OperatorProcess, names: Sequence[str]) -> None:
    """Pods that find no GPU: the operator lists all nodes and the pods that hold their GPUs."""
    names = names[:WAITING]
    cluster.wait_for_gpus(plane, names)
    cluster.until(lambda: all(cluster.reason(plane, name) == "InsufficientGPUs" for name in names), LIMIT_S)
    time.sleep(3)
    bench.figure(len(names), "memory with pods that find no GPU", operator.memory_mib(), "MiB", MEMORY_MIB)


def measure_restart(bench: Bench, plane: ControlPlane, size: int, there: int) -> None:
    """A new operator on what is there: so many LLMDeployments."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("--no-leader-election", "--log-level", "WARNING")
        operator = OperatorProcess(plane.kubeconfig, Path(folder) / "log", PROVEN, options)
        began = time.monotonic()
        operator.start()
        done = 'triton_vllm_operator_reconcile_seconds_count{result="success"}'
        cluster.until(lambda: operator.ready() and operator.metric(done) >= there, LIMIT_S)
        bench.figure(
            size,
            "restart until all is looked at",
            time.monotonic() - began,
            "s",
            RESTART_S if size <= 1000 else None,
        )
        time.sleep(3)
        bench.figure(size, "writes of a restart", writes(operator) + writes(operator, events=True), "writes", 0)
        bench.figure(size, "memory after a restart", operator.memory_mib(), "MiB", MEMORY_MIB if size == 1000 else None)
        operator.kill()


def unlabelled(plane: ControlPlane) -> list[str]:
    """Lists and watches of the operator without our label, other than of LLMDeployments, nodes and their GPUs."""
    found = set()
    for event in plane.audit():
        ref = event.get("objectRef", {})
        ours = event.get("userAgent", "").startswith("triton-vllm-operator") or "kopf" in event.get("userAgent", "")
        allowed = ref.get("resource") in ("llmdeployments", "nodes", "resourceslices", "events")
        if ours and event["verb"] in ("list", "watch") and not allowed and "labelSelector" not in event["requestURI"]:
            found.add(event["requestURI"])
    return sorted(found)


def run(size: int, bench: Bench, *, crowded: bool) -> None:
    with control_plane(binaries.api_server_programs(), controllers=False, prepare=install_crd) as plane:
        if crowded:
            cluster.fill(plane, NODES, FOREIGN_PODS)
        names = [f"m{number}" for number in range(size)]
        with cluster.operator(plane) as operator:
            bench.figure(size, "memory before", operator.memory_mib(), "MiB")
            measure_create(bench, plane, operator, names)
            if size == 1000:
                measure_waiting(bench, plane, operator, names)
                measure_late(bench, plane, names)
                cluster.until(lambda: operator.metric("triton_vllm_operator_queue_depth") == 0, LIMIT_S)
                time.sleep(3)
        measure_restart(bench, plane, size, size + (LATE if size == 1000 else 0))
        bench.figure(size, "lists and watches without our label", len(unlabelled(plane)), "kinds", 0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-operator", description=__doc__)
    parser.add_argument("--size", type=int, choices=SIZES, action="append", help="may be repeated; all when absent")
    parser.add_argument("--write", action="store_true", help="write the figures into operator/docs/performance.md")
    given = parser.parse_args()
    bench = Bench()
    for size in given.size or SIZES:
        run(size, bench, crowded=size == 1000)
    bench.growth()
    if given.write:
        bench.write("make bench-operator")
    return bench.verdict()


if __name__ == "__main__":
    sys.exit(main())
