"""`python -m fuzz --minutes N --seed S`: exit 1 when something was found.

Findings are written to a folder, one file each; a finding that is fixed moves to `fuzz/cases`, which every run sends
first.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz.cases import ADAPTER, Case, make, mark
from fuzz.doors import Doors, Outcome
from testing.server import HERE, Server, end_cleanly_on_sigterm, running, tiny_model, write_model

KINDS = ("llama", "lora", "seer", "embedding")
KEPT = HERE / "fuzz/cases"
# A short context, so that no request lasts; otherwise the limits are those of an image without configuration.
ENGINE = {"max_model_len": 512, "max_num_seqs": 32, "kv_cache_memory_bytes": 64 << 20}
CLIENTS = 6
LOOK_SECONDS = 5.0
# Memory may grow until the allocators have seen the largest requests at once; then it must not.
GROWTH_BYTES = 700 << 20
# Weight of requests for embeddings where the model does nothing else.
MANY_POOLING = 12
# What tritonserver 2.51 says with a 5xx status before the backend sees the request: see operator/docs/serving.md.
KNOWN = (
    "generate expects model to produce exactly 1 response",
    "failed to parse the request JSON buffer",
    "Unable to parse 'data'",
    "Failed to parse 'data' field",  # newer servers
    "Unable to parse JSON bytes array",
    "attempt to access JSON",
    "was not found in the JSON",
    "attempt to access non-existing object member",
    "unexpected error on creating Triton parameter",
    "doesn't support models with decoupled transaction policy",
    "explicit model load / unload is not allowed",
    "Unable to parse request",
)
# An answer of the backend to what it did not expect.
UNEXPECTED = "Error generating stream"
ENGINE_LINE = "(EngineCore"
FAULTS = ("INTERNAL", "UNKNOWN", "UNAVAILABLE", "hang")


@dataclass
class Run:
    """One run against one server."""

    server: Server
    seed: int
    folder: Path
    found: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _asked: dict[int, Case] = field(default_factory=dict)
    _kinds: Counter[str] = field(default_factory=Counter)

    def all(self, cases: Iterator[Case], seconds: float, clients: int) -> None:
        """Send cases from several clients until the time is over, there are no more, or the server is gone."""
        doors = Doors(self.server)
        deadline = time.monotonic() + seconds
        threads = [threading.Thread(target=self._client, args=(doors, cases, deadline)) for _ in range(clients)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            self.memory.append(resident(self.server))
            threads[0].join(LOOK_SECONDS)
        doors.close()

    def _client(self, doors: Doors, cases: Iterator[Case], deadline: float) -> None:
        while time.monotonic() < deadline and self.server.process.poll() is None:
            with self._lock:
                case = next(cases, None)
                if case is None:
                    return
                self._asked[threading.get_ident()] = case
            try:
                outcome = doors.send(case)
            except OSError as error:
                outcome = Outcome("refused", str(error))
            with self._lock:
                if self.server.process.poll() is None:
                    self.outcomes[f"{case.door} {outcome.code}"] += 1
                    self._note(case, judge(case, outcome))

    def after(self) -> None:
        """Findings about the server as a whole."""
        if self.server.process.poll() is not None:
            for case in self._asked.values():
                self._keep(case, "was being answered when the server ended")
            self.found.append(f"the server ended with {self.server.process.returncode}")
        elif self.server.health().status != 200 or not answers(self.server):
            self.found.append(f"the server is not ready: {self.server.health()}")
        self.found += in_log(self.server.log, self.seed)
        if len(self.memory) > 4 and self.memory[-1] - self.memory[len(self.memory) // 4] > GROWTH_BYTES:
            self.found.append(f"memory grew: {[value >> 20 for value in self.memory]} MiB")

    def _note(self, case: Case, problem: str) -> None:
        """Keep the first three of a kind."""
        kind = re.sub(r"[0-9]+|'[^']*'", "", problem)[:200]
        self._kinds[kind] += bool(problem)
        if problem and self._kinds[kind] <= 3:
            self._keep(case, problem)

    def _keep(self, case: Case, problem: str) -> None:
        name = f"{len(self.found):03d}.json"
        (self.folder / name).write_text(case.as_json())
        self.found.append(f"{case.name}: {problem} ({name})")


def judge(case: Case, outcome: Outcome) -> str:
    """What is wrong with an answer; "" when nothing is."""
    if case.leave or any(known in outcome.text for known in KNOWN):
        return ""
    if outcome.code in FAULTS or outcome.code.startswith("5") or UNEXPECTED in outcome.text:
        return f"{outcome.code}: {outcome.text[-600:]!r}"
    if outcome.code == "refused" or (case.sound and not outcome.code):
        return f"no answer: {outcome.text[-600:]!r}"
    return ""


def in_log(log: str, seed: int) -> list[str]:
    """What must not be in the log of a server that cases of this seed were sent to."""
    # The engine's own process logs a traceback for a grammar that does not compile.
    ours = "\n".join(line for line in log.splitlines() if not line.startswith(ENGINE_LINE))
    words = [(word, ours) for word in ("request failed", "failed to send a response", "Traceback")]
    texts = [*words, (mark(seed, 0)[:-3], log)]
    return [f"the log has '{word}':\n{_around(text, word)}" for word, text in texts if word in text]


def _around(log: str, words: str, characters: int = 1500) -> str:
    at = log.index(words)
    return log[max(0, at - characters) : at + characters]


def resident(server: Server) -> int:
    """Bytes of memory that are this server's own."""
    pages = 0
    for pid in server.processes(""):
        try:
            words = Path(f"/proc/{pid}/statm").read_text().split()
        except OSError:
            continue  # it has ended
        pages += int(words[1]) - int(words[2])
    return pages * 4096


def kept() -> list[Case]:
    """Findings of before."""
    return [Case(**json.loads(path.read_text())) for path in sorted(KEPT.glob("*.json"))]


def sampling_names(server: Server) -> list[str]:
    """What the server says that it knows; for a model that generates nothing, some that others know."""
    message: str = server.generate(nothing=1).error
    return (
        message.split("allowed: ")[1].split(", ")
        if "allowed: " in message
        else ["max_tokens", "temperature", "stop", "n"]
    )


def answers(server: Server) -> bool:
    """Whether the model does what it is for."""
    embedding = json.dumps({"input": "Hello"})
    return 200 in (server.generate(max_tokens=1).status, server.generate(embedding_request=embedding).status)


def fuzz(
    server: Server, seed: int, seconds: float, folder: Path, say: Callable[[str], Any], clients: int = CLIENTS
) -> list[str]:
    """Send what was found before and new cases; what was found."""
    names = sampling_names(server)
    generates = server.generate(max_tokens=1).status == 200
    pools = 1 if generates else MANY_POOLING
    run = Run(server, seed, folder)
    run.all(iter(kept()), 600, clients)
    run.all((make(seed, number, names, pools) for number in itertools.count()), seconds, clients)
    run.after()
    say(f"{run.outcomes.total()} requests: " + ", ".join(f"{n} {code}" for code, n in sorted(run.outcomes.items())))
    say(f"memory: {min(run.memory) >> 20} to {max(run.memory) >> 20} MiB, at the end {run.memory[-1] >> 20} MiB")
    return run.found


def write_server(repository: Path, kind: str) -> None:
    """Write a model repository with a model of this kind, and OpenAI's protocol."""
    files: dict[str, Any] = {"openai": {}}
    engine: dict[str, Any] = {**ENGINE, "model": str(tiny_model("llama" if kind == "lora" else kind))}
    if kind == "lora":
        engine |= {"enable_lora": True, "max_lora_rank": 8}
        files["multi_lora"] = {ADAPTER: str(tiny_model("lora"))}
    write_model(repository, "llm", engine, **files)


def main(arguments: Sequence[str]) -> int:
    """Start a server and send."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", choices=KINDS, default="llama", help="seer looks at images")
    parser.add_argument("--findings", type=Path, help="a folder for them; a new one by default")
    wanted = parser.parse_args(arguments)
    end_cleanly_on_sigterm()
    folder = wanted.findings or Path(tempfile.mkdtemp(prefix="fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "server").mkdir()
    write_server(folder / "server/models", wanted.model)
    with running(folder / "server", folder / "server/models") as server:
        found = fuzz(server, wanted.seed, wanted.minutes * 60, folder, lambda text: print(text, flush=True))  # noqa: T201
    for finding in found:
        print(finding, flush=True)  # noqa: T201 - this is a command
    print(f"verdict: {len(found)} findings, seed {wanted.seed}; {folder}", flush=True)  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
