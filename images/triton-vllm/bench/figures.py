"""From measurements to ratios, bounds and the text for the docs. Pure."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tools import documents

PROMISED_SPEEDUP = 10.0
METRICS_COST = 0.01
# So far may an interval that holds a bound reach beyond it: within it the value equals the bound.
NOISE = 0.05


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement of a target. Those of one `round` were taken close together; a base has two of each."""

    model: str
    clients: int
    round: int
    target: str
    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A figure of one target over that of another, and what is promised of it.

    `able`: a target that shows what the engine could give. Where even that is not ahead of the base by the bound, the
    engine is the limit, no front end could be ahead by as much, and nothing is promised.
    """

    title: str
    target: str
    base: str
    figure: str
    bound: float
    at_least: bool = True
    able: str = ""

    def holds(self, ratio: float) -> bool:
        """Whether the promise is kept."""
        return ratio >= self.bound if self.at_least else ratio <= self.bound

    def word(self, found: Ratio) -> str:
        """KEPT, EQUAL or MISSED."""
        if self.holds(found.median):
            return KEPT
        return EQUAL if self._best_holds(found) and not self.open(found) else MISSED

    def open(self, found: Ratio) -> bool:
        """Whether more rounds are needed: the interval holds the bound and reaches beyond it by more than noise.

        The median does not matter, so that no run stops early because of a pleasing value.
        """
        worst = found.low if self.at_least else found.high
        off = worst / self.bound if self.at_least else self.bound / worst
        return self._best_holds(found) and off < 1 - NOISE

    def _best_holds(self, found: Ratio) -> bool:
        return self.holds(found.high if self.at_least else found.low)


SPEED, FIRST, EACH, FRONT = "tokensPerSecond", "firstSeconds", "eachSeconds", "frontMicroseconds"
FIRST_TAIL, BETWEEN_TAIL = "firstTailSeconds", "betweenTailSeconds"
SPEEDS = (
    Comparison("generate", "ours full", "vllm full", SPEED, 1.00),
    Comparison("generate_stream", "ours stream", "vllm stream", SPEED, 0.95),
    Comparison("OpenAI", "openai full", "vllm full", SPEED, 1.00),
    Comparison("OpenAI stream", "openai stream", "vllm stream", SPEED, 1.00),
    Comparison("generate / stock", "ours full", "stock full", SPEED, 1.3, able="vllm full"),
    Comparison("stream / stock", "ours stream", "stock stream", SPEED, 1.3, able="vllm stream"),
)
LATENCIES = (
    Comparison("TTFT generate_stream", "ours stream", "vllm stream", FIRST, 1.05, at_least=False),
    Comparison("TTFT OpenAI", "openai stream", "vllm stream", FIRST, 1.05, at_least=False),
    Comparison("ITL generate_stream", "ours stream", "vllm stream", EACH, 1.05, at_least=False),
    Comparison("ITL OpenAI", "openai stream", "vllm stream", EACH, 1.05, at_least=False),
)


PROMISES = (*SPEEDS, *LATENCIES)
# What has to hold on a GPU, beside `vllm serve` alone: tails too, and streams as fast as full answers but for noise.
STRICT = (
    Comparison("generate", "ours full", "vllm full", SPEED, 1.00),
    Comparison("generate_stream", "ours stream", "vllm stream", SPEED, 0.98),
    Comparison("OpenAI", "openai full", "vllm full", SPEED, 1.00),
    Comparison("OpenAI stream", "openai stream", "vllm stream", SPEED, 0.98),
    *LATENCIES,
    Comparison("TTFT p99 generate_stream", "ours stream", "vllm stream", FIRST_TAIL, 1.05, at_least=False),
    Comparison("TTFT p99 OpenAI", "openai stream", "vllm stream", FIRST_TAIL, 1.05, at_least=False),
    Comparison("ITL p99 generate_stream", "ours stream", "vllm stream", BETWEEN_TAIL, 1.05, at_least=False),
    Comparison("ITL p99 OpenAI", "openai stream", "vllm stream", BETWEEN_TAIL, 1.05, at_least=False),
)


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of paired ratios and the 95 % interval of that median."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f}"


def ratios(measured: Iterable[Measured], comparison: Comparison) -> list[list[float]]:
    """For each model and number of clients one ratio of each round in which both were measured.

    Of what was measured twice in a round the mean counts.
    """
    found: dict[tuple[str, int], dict[int, dict[str, list[float]]]] = {}
    for one in measured:
        values = found.setdefault((one.model, one.clients), {}).setdefault(one.round, {})
        values.setdefault(one.target, []).append(float(one.result[comparison.figure]))
    cases = [[_ratio(both, comparison) for both in rounds.values()] for rounds in found.values()]
    known = [[ratio for ratio in case if ratio is not None] for case in cases]
    return [case for case in known if case]


def _ratio(measured: Mapping[str, Sequence[float]], comparison: Comparison) -> float | None:
    above, below = measured.get(comparison.target), measured.get(comparison.base)
    return statistics.fmean(above) / statistics.fmean(below) if above and below and any(below) else None


def middle(cases: Sequence[Sequence[float]], samples: int = 500) -> Ratio | None:
    """The median of all, and its interval; None of nothing.

    Bootstrap, always with the same seed. Cases are chosen and not drawn: each is resampled from itself.
    """
    if not cases:
        return None
    chance = random.Random(0)
    drawn = ([ratio for case in cases for ratio in chance.choices(case, k=len(case))] for _ in range(samples))
    medians = sorted(map(statistics.median, drawn))
    median = statistics.median([ratio for case in cases for ratio in case])
    return Ratio(median, medians[int(0.025 * samples)], medians[int(0.975 * samples)])


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was promised and measured, and one of the words below."""

    text: str
    word: str


KEPT, EQUAL, MISSED = "kept", "equal within the noise", "missed"


def promises(
    measured: Sequence[Measured], comparisons: Sequence[Comparison] = PROMISES
) -> Iterator[tuple[Comparison, Ratio]]:
    """What is promised of one model, with its ratio where that can be kept; nothing where it was not measured."""
    for comparison in comparisons:
        if found := middle(ratios(able(measured, comparison), comparison)):
            yield comparison, found


def unsettled(measured: Sequence[Measured], comparisons: Sequence[Comparison] = PROMISES) -> list[str]:
    """The promises of one model that take more rounds, with the intervals so far."""
    found = promises(measured, comparisons)
    return [f"{one.title} [{ratio.low:.3f}, {ratio.high:.3f}]" for one, ratio in found if one.open(ratio)]


def judge(
    measured: Sequence[Measured], copier_share: float | None, comparisons: Sequence[Comparison] = PROMISES
) -> list[Verdict]:
    """Every promise for every model: of all the rounds at all numbers of clients, the median counts."""
    verdicts = []
    for model in dict.fromkeys(one.model for one in measured):
        own = [one for one in measured if one.model == model]
        for comparison, found in promises(own, comparisons):
            sign = ">=" if comparison.at_least else "<="
            text = f"{model}: {comparison.title} {found.median:.3f} [{found.low:.3f}, {found.high:.3f}]"
            verdicts.append(Verdict(f"{text} {sign} {comparison.bound:g}", comparison.word(found)))
        if speedup := concurrency(own):
            text = f"{model}: 100 clients / 1 client {speedup:.1f} >= {PROMISED_SPEEDUP:g}"
            verdicts.append(Verdict(text, KEPT if speedup >= PROMISED_SPEEDUP else MISSED))
    for comparison in comparisons:
        if ratios(measured, comparison) and not able(measured, comparison):
            text = f"{comparison.title}: the engine was the limit everywhere; it takes more clients, or a smaller model"
            verdicts.append(Verdict(text, MISSED))
    if copier_share is not None:
        text = f"metrics: {copier_share:.2%} of one core < {METRICS_COST:.0%}"
        verdicts.append(Verdict(text, KEPT if copier_share < METRICS_COST else MISSED))
    return verdicts


def able(measured: Sequence[Measured], comparison: Comparison) -> list[Measured]:
    """What was measured where the promise can be kept: all, or the models and numbers of clients that `able` leaves."""
    if not comparison.able:
        return list(measured)
    lead = replace(comparison, target=comparison.able)
    found = []
    for case in dict.fromkeys((one.model, one.clients) for one in measured):
        own = [one for one in measured if (one.model, one.clients) == case]
        reached = middle(ratios(own, lead))
        found += own if reached and comparison.holds(reached.median) else []
    return found


def concurrency(measured: Iterable[Measured]) -> float | None:
    """Tokens per second of 100 clients over those of one."""
    speeds: dict[int, list[float]] = {1: [], 100: []}
    for one in measured:
        if one.target == "ours full" and one.clients in speeds:
            speeds[one.clients].append(one.result[SPEED])
    if not all(speeds.values()):
        return None
    return statistics.median(speeds[100]) / statistics.median(speeds[1])


def table(measured: Sequence[Measured], columns: Sequence[Comparison] = PROMISES) -> str:
    """Markdown: a row for each model and number of clients, a column for each comparison."""
    head = ["model", "clients", "`vllm serve` tokens/s", *(column.title for column in columns)]
    promised = ["", "", "", *(f"{'>=' if c.at_least else '<='} {c.bound:g}" for c in columns)]
    rows = [promised]
    for model, clients in dict.fromkeys((one.model, one.clients) for one in measured):
        own = [one for one in measured if (one.model, one.clients) == (model, clients)]
        base = statistics.median([one.result[SPEED] for one in own if one.target == "vllm full"] or [0.0])
        cells = [str(middle(ratios(own, column)) or "") for column in columns]
        rows.append([model, str(clients), f"{base:,.0f}", *cells])
    return documents.table(head, rows)


PLOTTED = (
    "vllm full",
    "ours full",
    "openai full",
    "stock full",
    "vllm stream",
    "ours stream",
    "openai stream",
    "stock stream",
)


def plot(measured: Sequence[Measured], width: int = 44) -> str:
    """Bars of tokens per second, the longest of each model over the whole width."""
    lines = []
    for model in dict.fromkeys(one.model for one in measured):
        speeds = medians([one for one in measured if one.model == model], lambda one: one.result[SPEED])
        most = max(speeds.values())
        for clients in sorted({clients for _, clients in speeds}):
            lines.append(f"{model}, {clients} client{'s' if clients > 1 else ''}")
            for target in PLOTTED:
                if (speed := speeds.get((target, clients))) is not None:
                    lines.append(f"  {target:<14}{'#' * round(width * speed / most):<{width}} {speed:>8,.0f}")
    return "\n".join(lines)


def document(
    measured: Sequence[Measured], verdicts: Sequence[Verdict], host: str, columns: Sequence[Comparison] = PROMISES
) -> str:
    """Markdown for the docs: the table, what became of each promise, and a plot of each model."""
    rows = [(verdict.text, verdict.word) for verdict in verdicts]
    parts = [f"{host}.\n", table(measured, columns), documents.table(["promise", "measured"], rows), costs(measured)]
    for model in dict.fromkeys(one.model for one in measured):
        speeds = medians([one for one in measured if one.model == model], lambda one: one.result[SPEED])
        clients = sorted({number for _, number in speeds})
        drawn = [target for target in PLOTTED[:4] if all((target, number) in speeds for number in clients)]
        lines = [[speeds[target, number] for number in clients] for target in drawn]
        parts.append(documents.plot(f"{model}: {', '.join(drawn)}, over clients", clients, "tokens/s", lines))
    return "\n".join(parts)


def costs(measured: Sequence[Measured]) -> str:
    """Markdown: microseconds of processor time a token of all that is not the engine."""
    targets = [target for target in PLOTTED if any(one.target == target for one in measured)]
    rows = []
    for model, clients in dict.fromkeys((one.model, one.clients) for one in measured):
        own = [one for one in measured if (one.model, one.clients) == (model, clients)]
        found = medians(own, lambda one: one.result[FRONT])
        rows.append([model, str(clients), *(f"{found[target, clients]:.0f}" for target in targets)])
    return documents.table(["model", "clients", *targets], rows)


def medians(measured: Iterable[Measured], figure: Callable[[Measured], float]) -> dict[tuple[str, int], float]:
    """(target, clients) -> the median of a figure."""
    found: dict[tuple[str, int], list[float]] = {}
    for one in measured:
        found.setdefault((one.target, one.clients), []).append(figure(one))
    return {key: statistics.median(values) for key, values in found.items()}
