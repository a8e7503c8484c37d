"""The command of the inspection pod. Exit status 0 when the model was read, 1 when the message has the reason."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from triton_vllm_operator.inspect import access, model
from triton_vllm_operator.inspect.access import Access
from triton_vllm_operator.plan.inspection_protocol import Failure, InspectedModel, InspectionResult, encode_result

LIMIT_S = 45.0
FIRST_ANSWER_S = 10.0  # without a route to the hub, packets and DNS queries get no answer for minutes
TERMINATION_MESSAGE = "/dev/termination-log"


def command_line() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(prog="python3 -m triton_vllm_operator.inspect")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--repository", help="ORG/REPO at HF_ENDPOINT, read with the token that vLLM would find")
    where.add_argument("--folder", type=Path, help="a directory with config.json")
    parser.add_argument("--revision", help="branch, tag or commit of the repository (default: its default branch)")
    parser.add_argument("--display-name", help="the model in messages (default: the repository or the folder)")
    parser.add_argument("--message-file", type=Path, default=Path(TERMINATION_MESSAGE), help="(default: %(default)s)")
    first = "seconds until the hub must have resolved the revision (default: %(default)s)"
    parser.add_argument("--first-answer", type=float, default=FIRST_ANSWER_S, help=first)
    limit = "seconds until the inspection gives up (default: %(default)s)"
    parser.add_argument("--limit", type=float, default=LIMIT_S, help=limit)
    return parser


def inspect(model_access: Access, found: threading.Event) -> InspectionResult:
    """Read a model. `found` is set once it is known to exist."""
    try:
        source = model_access.open()
    except model.InspectionError as error:
        return error.failure
    found.set()
    return model.inspect(source, model_access.display_name)


def main(arguments: Sequence[str]) -> int:
    """Inspect, report, and end within the limit whatever the other side does; the exit status."""
    options = command_line().parse_args(arguments)
    model_access = access.of_options(options)
    reporting, found = threading.Lock(), threading.Event()

    def report(outcome: InspectionResult) -> int:
        if not reporting.acquire(blocking=False):  # another thread is reporting, and ends the process
            threading.Event().wait()
        options.message_file.write_text(encode_result(outcome), encoding="ascii")
        sys.stdout.write(_line(outcome) + "\n")
        sys.stdout.flush()
        return 0 if isinstance(outcome, InspectedModel) else 1

    # Requests and parsing cannot be interrupted from outside, so the process is ended under them.
    _after(options.limit, lambda: os._exit(report(model_access.too_slow(options.limit))))
    if no_answer := model_access.no_answer:
        _after(options.first_answer, lambda: found.is_set() or os._exit(report(no_answer(options.first_answer))))
    return report(inspect(model_access, found))


def _after(seconds: float, act: Callable[[], object]) -> None:
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()


def _line(outcome: InspectionResult) -> str:
    if isinstance(outcome, Failure):
        return f"{outcome.reason}: {outcome.message}"
    return f"{outcome.shape.architecture}, {len(outcome.shape.layers)} layers {outcome.commit}".strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
