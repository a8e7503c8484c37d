"""What users read of each state: the message is what they act by, so every word of it is in a golden file.

`python -m tests.observed.messages` writes the files.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from triton_vllm_operator.observed import findings
from triton_vllm_operator.observed.observation import Observation

GOLDEN = Path(__file__).parent / "golden"


def text(rows: Iterable[tuple[str, Observation]]) -> str:
    """For each name and state: the reason, whether it is Stalled, when it is looked at again, and the message."""
    return "\n".join(_block(name, seen) for name, seen in rows)


def _block(name: str, seen: Observation) -> str:
    found = findings.first_finding(seen)
    if found is None:
        return f"{name}: nothing\n"
    again = findings.recheck_s(seen, found)
    times = "" if again is None else f", again after {again:g} s"
    return f"{name}: {found.reason}{', stalled' if found.stalled else ''}{times}\n  {found.message}\n"


def main() -> None:
    """Write the golden files."""
    from tests.observed import test_findings, test_pod_checks

    rows: dict[str, list[tuple[str, Observation]]] = {
        "findings": [*((row[0], row[1]) for row in test_findings.CASES),
                     *((row[0], row[1]) for row in test_findings.STATES)],
        "pod_checks": [(row[0], row[1]) for row in test_pod_checks.STATES],
    }  # fmt: skip
    GOLDEN.mkdir(exist_ok=True)
    for name, states in rows.items():
        (GOLDEN / f"{name}.txt").write_text(text(states))


if __name__ == "__main__":
    main()
