"""What can go wrong between the fake API server and the operator, drawn from one seed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.fake.api import Change, FakeAPI, Refused
from triton_vllm_operator.api.kinds import Kind

OLDEST = 50  # versions that a stale view lags behind at most


@dataclass
class Chaos:
    """Rates between 0 and 1; `calm` ends everything.

    A lost event is gone from that stream for good: a bookmark after it makes the client believe that it has seen it.
    """

    rand: random.Random
    lost: float = 0.15
    repeated: float = 0.15
    stale: float = 0.15
    reordered: float = 0.2
    bookmarked: float = 0.3
    cut: float = 0.05
    gone: float = 0.05
    refused: float = 0.05
    answer_lost: float = 0.03
    stale_list: float = 0.2
    slow_s: float = 0.3

    def calm(self) -> None:
        for name in ("lost", "repeated", "stale", "reordered", "cut", "gone", "refused", "answer_lost", "stale_list"):
            setattr(self, name, 0.0)

    def happens(self, rate: float) -> bool:
        return self.rand.random() < rate

    def delay(self) -> float:
        return self.rand.uniform(0.001, self.slow_s)

    def refuse(self) -> None:
        """Raise what an API server under stress answers, now and then."""
        if self.happens(self.refused):
            code, after = self.rand.choice(((429, "1"), (429, ""), (500, ""), (503, ""), (409, "")))
            raise Refused(code, f"injected {code}", after)

    def version_of_list(self, api: FakeAPI) -> int:
        """The version whose view a list gets."""
        return api.version - self.rand.randint(0, OLDEST) if self.happens(self.stale_list) else api.version

    def stream(self, changes: list[Change], api: FakeAPI, kind: Kind) -> Iterator[Change]:
        """The events that really arrive, in the order in which they do."""
        changes = list(changes)
        if self.happens(self.reordered):
            self.rand.shuffle(changes)
        for change in changes:
            if not self.happens(self.lost):
                yield change
            if self.happens(self.repeated):
                yield change
            if self.happens(self.stale):
                yield from self._old(api.since(kind, api.version - OLDEST))

    def _old(self, changes: Iterable[Change]) -> list[Change]:
        known = list(changes)
        return [self.rand.choice(known)] if known else []
