"""The command of the inspection pod. Exit status 0 when the model was read, 1 when the message says why not."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.inspect import model
from triton_vllm_operator.inspect.folder import Folder
from triton_vllm_operator.inspect.hub import Hub, endpoint
from triton_vllm_operator.plan.inspection_protocol import Failure, InspectedModel, InspectionResult, encode_result

LIMIT_S = 45.0
FIRST_ANSWER_S = 10.0  # a network without a way out swallows packets and names for minutes
TERMINATION_MESSAGE = "/dev/termination-log"


def command_line() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python3 -m triton_vllm_operator.inspect")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--repository", help="ORG/REPO at HF_ENDPOINT, read with HF_TOKEN where that is set")
    where.add_argument("--folder", type=Path, help="a folder with config.json")
    parser.add_argument("--revision", help="branch, tag or commit of the repository (its default branch)")
    parser.add_argument("--told-as", help="what messages call the model (the repository or the folder)")
    parser.add_argument("--message-file", type=Path, default=Path(TERMINATION_MESSAGE), help="(%(default)s)")
    first = "seconds until the hub must have said which commit it has (%(default)s)"
    parser.add_argument("--first-answer", type=float, default=FIRST_ANSWER_S, help=first)
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds until it gives up (%(default)s)")
    return parser


def inspect(given: argparse.Namespace, found: threading.Event) -> InspectionResult:
    """Read the model that the command line names. `found` is set once it is known to be there."""
    told_as = given.told_as or given.repository or str(given.folder)
    try:
        source: model.Source
        if given.repository:
            source = Hub.open(given.repository, given.revision, os.environ.get("HF_TOKEN") or None)
        else:
            source = Folder.open(given.folder, told_as)
    except model.Unreadable as error:
        return error.failure
    found.set()
    return model.inspect(source, told_as)


def no_answer(given: argparse.Namespace) -> Failure:
    """What is said when the hub is silent."""
    text = f"{endpoint()} has not answered for {given.repository} within {given.first_answer:.0f} s."
    advice = "Check the hub, HF_ENDPOINT, proxies, DNS and network policies of the namespace."
    return Failure(Reason.HUB_UNREACHABLE, f"{text} {advice}")


def too_slow(given: argparse.Namespace) -> Failure:
    """What is said when the time is over."""
    if given.repository:
        text = f"The hub did not send the headers of {given.repository} within {given.limit:.0f} s."
        return Failure(
            Reason.HUB_UNREACHABLE, f"{text} It is tried again; check the hub and the network if that persists."
        )
    text = f"{given.told_as or given.folder} was not read within {given.limit:.0f} s"
    return Failure(Reason.INSPECTION_TIMEOUT, f"{text}: the volume is slow, or the files are not a model.")


def main(arguments: Sequence[str]) -> int:
    """Inspect, tell, and end within the limit whatever the other side does."""
    given = command_line().parse_args(arguments)
    told, found = threading.Lock(), threading.Event()

    def tell(outcome: InspectionResult) -> int:
        if not told.acquire(blocking=False):  # the other one is telling: it ends the process
            threading.Event().wait()
        given.message_file.write_text(encode_result(outcome), encoding="ascii")
        sys.stdout.write(_line(outcome) + "\n")
        sys.stdout.flush()
        return 0 if isinstance(outcome, InspectedModel) else 1

    # Requests and parsing cannot be interrupted from outside, so the process is ended under them.
    _after(given.limit, lambda: os._exit(tell(too_slow(given))))
    if given.repository:
        _after(given.first_answer, lambda: found.is_set() or os._exit(tell(no_answer(given))))
    return tell(inspect(given, found))


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
