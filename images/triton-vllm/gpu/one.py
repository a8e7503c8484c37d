"""One case in a process of its own: `python -m gpu.one JSON`, which writes `row.json` into the case's folder."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from backend.container.processes import adopt_orphans
from gpu.cases import CASES
from gpu.place import Place
from gpu.record import Record
from testing.server import end_cleanly_on_sigterm

ROW = "row.json"


def to_argument(place: Place, case: str) -> str:
    """The argument."""
    return json.dumps({"case": case, "place": dataclasses.asdict(place)}, default=str)


def from_argument(text: str) -> tuple[Place, str]:
    """The place and the name of the case that `to_argument` wrote."""
    said = json.loads(text)
    values: dict[str, Any] = said["place"]
    paths = {name: Path(values[name]) for name in ("folder", "caches", "rows")}
    return Place(**{**values, **paths, "devices": tuple(values["devices"]), "clients": tuple(values["clients"])}), said[
        "case"
    ]


def run(place: Place, name: str) -> Record:
    """Run the case; what it raises is one more problem."""
    (case,) = [one for one in CASES if one.name == name]
    record = Record()
    try:
        case.run(place, record)
    except Exception as error:  # noqa: BLE001 - a case that breaks off has failed, with what it has found so far
        traceback.print_exc()
        record.problems.append(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        record.problems += [f"termination message: {words}" for words in termination_messages(place.folder)]
    return record


def termination_messages(folder: Path) -> list[str]:
    """What servers have left as the reason of their end."""
    return [words for file in sorted(folder.glob("*/termination")) if (words := file.read_text())]


def main(arguments: list[str]) -> int:
    """Run one case."""
    place, name = from_argument(arguments[0])
    adopt_orphans()  # so that what a server leaves is seen
    end_cleanly_on_sigterm()
    begun = time.monotonic()
    record = run(place, name)
    row = {"outcome": record.outcome, "seconds": round(time.monotonic() - begun, 1), "headline": record.headline}
    row |= {"problems": record.problems, "openQuestions": record.open_questions, "facts": record.facts}
    (place.folder / ROW).write_text(json.dumps(row, default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
