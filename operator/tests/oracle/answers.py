"""The engine's answers to the walk, kept in a file line by line: a walk that was stopped goes on where it ended."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

WALK = Path(__file__).with_name("vllm_walk.py")
Case = dict[str, Any]
Answer = dict[str, Any]


def answers_of(python: str, cases: Sequence[Case], seconds_per_case: float) -> Iterator[Answer]:
    """The engine's answers to cases of `vllm_walk.py`, in order.

    A case that ends its process, or does not end, is answered with that, and the next one asked in a new process.
    """
    waiting = list(cases)
    while waiting:
        with _process(python) as asked:
            while waiting:
                case = waiting.pop(0)
                answer, ended = asked.answer_to(case, seconds_per_case)
                yield answer
                if ended:
                    break


class _Asked:
    """A process of `vllm_walk.py`, and the file that its standard error goes to."""

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self.process, self.errors = process, errors

    def answer_to(self, case: Case, seconds: float) -> tuple[Answer, bool]:
        """The answer to one case, and whether the process has ended over it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        late = threading.Timer(seconds, self.process.kill)
        late.start()
        try:
            self.process.stdin.write(json.dumps(case) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            late.cancel()
        if line.endswith("\n"):
            answer: Answer = json.loads(line)
            return answer, False
        code, said = self.process.wait(), self.errors.read_text(errors="replace").strip()[-300:]
        why = f"no answer: its process ended with {code} in at most {seconds:.0f} s. {said}"
        return {"architecture": case.get("architecture", ""), "error": why}, True


@contextlib.contextmanager
def _process(python: str) -> Iterator[_Asked]:
    with tempfile.TemporaryDirectory() as folder:
        errors = Path(folder) / "stderr"
        with errors.open("w") as written:
            process = subprocess.Popen(
                [python, str(WALK)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=written, text=True
            )
        try:
            yield _Asked(process, errors)
        finally:
            process.kill()
            process.communicate()


class KeptAnswers:
    """A file of answers, one JSON line each: {"variant", "case", "answer"}."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found: dict[str, Answer] = {}
        self._lock = threading.Lock()
        whole = [line for line in path.read_text().splitlines(True) if line.endswith("\n")] if path.exists() else []
        for line in whole:
            kept = json.loads(line)
            self._found[_key(kept["variant"], kept["case"])] = kept["answer"]
        if path.exists():
            path.write_text("".join(whole))  # without a line that was cut off when a walk was stopped

    def get(self, variant: str, case: Case) -> Answer | None:
        """The answer of a variant to a case; None when it was not asked."""
        return self._found.get(_key(variant, case))

    def ask(
        self, python: str, variant: str, cases: Iterable[Case], seconds_per_case: float, *, failed: bool = False
    ) -> None:
        """Ask the cases that have no answer, or with `failed` only an error, and write each answer as it comes."""
        missing = [
            case for case in cases if (answer := self.get(variant, case)) is None or (failed and "error" in answer)
        ]
        for case, answer in zip(missing, answers_of(python, missing, seconds_per_case), strict=True):
            with self._lock, self.path.open("a") as file:
                file.write(json.dumps({"variant": variant, "case": case, "answer": answer}) + "\n")
            self._found[_key(variant, case)] = answer


def _key(variant: str, case: Case) -> str:
    return json.dumps([variant, case], sort_keys=True)
