"""What one case found: facts, and every expectation that was not met."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# Not run: the time was over. Not here: the host lacks what the case needs.
PASSED, FAILED, NOT_RUN, NOT_HERE = "passed", "FAILED", "not run", "not here"


@dataclass(slots=True)
class Record:
    """`facts` go into the row as they are; `headline` are the few that the line of the case shows.

    `open_questions`: what could not be measured on this host, so that it does not count as met.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    headline: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    open_questions: list[str] = field(default_factory=list)

    def expect(self, holds: bool, problem: str) -> bool:
        """Note `problem` unless it holds; returns whether it does. The case goes on."""
        if not holds:
            self.problems.append(problem)
        return holds

    def attempt(self, what: str, act: Callable[[], Any]) -> Any:
        """The result of `act`; what it raises is a problem, and the case goes on with None."""
        try:
            return act()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what the case has found
            self.problems.append(f"{what}: {type(error).__name__}: {error}")
            return None

    def within(self, what: str, seconds: float | None, most: float) -> None:
        """Note how long something took; None: it did not happen."""
        self.facts[what] = self.headline[what] = None if seconds is None else round(seconds, 1)
        outcome = "did not happen" if seconds is None else f"took {seconds:.1f} s"
        self.expect(seconds is not None and seconds <= most, f"{what} {outcome}, at most {most:g} s are allowed")

    @property
    def outcome(self) -> str:
        """PASSED or FAILED."""
        return FAILED if self.problems else PASSED
