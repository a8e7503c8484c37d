"""Known CVEs of a release, and whether the operator lets it run. Facts, floors and sources: data/advisories.yaml."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache
from typing import ClassVar

from pydantic import ConfigDict

from triton_vllm_operator.api import names
from triton_vllm_operator.api.conditions import Condition, ConditionType
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog import loader, releases
from triton_vllm_operator.catalog.releases import Release
from triton_vllm_operator.catalog.versions import TritonRelease, parse_triton_release, parse_vllm_version
from triton_vllm_operator.catalog.violations import Problem, problem

# On a Namespace, with the value "true": an administrator takes the risk of releases below the second floor.
OPT_OUT_ANNOTATION = f"{names.GROUP}/allow-vulnerable-images"

_FIELD = "spec.server.release"
_NAMED = 3


class Verdict(StrEnum):
    REFUSE = "Refuse"
    REFUSE_UNLESS_OPTED_OUT = "RefuseUnlessOptedOut"
    WARN = "Warn"
    OK = "Ok"


@dataclass(frozen=True, slots=True)
class Advisory:
    """One CVE. `fixed_in`: first Triton release or vLLM version without it, None when none is known.

    `closed`: why a pod of this operator cannot be reached by it, None when it can.
    """

    __pydantic_config__: ClassVar[ConfigDict] = loader.CAMEL

    id: str
    effect: str
    fixed_in: str | None = None
    score: float | None = None
    closed: str | None = None
    bulletin: int | None = None
    year: int | None = None


@dataclass(frozen=True, slots=True)
class Floors:
    """Triton releases below which a release is refused, refused by default, and warned about; `own`: our image."""

    refuse_below: TritonRelease
    refuse_unless_opted_out_below: TritonRelease
    warn_below: TritonRelease
    own: Verdict


@dataclass(frozen=True, slots=True)
class Advisories:
    __pydantic_config__: ClassVar[ConfigDict] = loader.CAMEL

    checked: date
    max_age_days: int
    sources: dict[str, str]
    floors: Floors
    triton: tuple[Advisory, ...]
    vllm: tuple[Advisory, ...]


@dataclass(frozen=True, slots=True)
class Assessment:
    """What is known against a release.

    `cves`: open and reachable, the gravest first. `fixed_by`: the release to take instead, None when the release is
    already that one. `stale`: the table is older than it may be, so newer CVEs can be missing.
    """

    release: str
    verdict: Verdict
    cves: tuple[Advisory, ...]
    fixed_by: str | None
    stale: bool


@cache
def load() -> Advisories:
    return loader.load_yaml("advisories.yaml", Advisories)


def assess(row: Release, today: date) -> Assessment:
    """The verdict on a release of the table (`releases.Resolved.row`) on the day `today`."""
    table = load()
    newest = releases.load().newest.release
    open_cves = [*_open_in_triton(row.server_code, table.triton), *_open_in_vllm(row.vllm, table.vllm)]
    gravest_first = sorted(open_cves, key=lambda cve: (-(cve.score or 0), cve.id))
    stale = (today - table.checked).days > table.max_age_days
    return Assessment(
        row.release, _verdict(row), tuple(gravest_first), None if row.release == newest else newest, stale
    )


def problems(found: Assessment, *, opted_out: bool) -> list[Problem]:
    """What admission says: a refusal, a warning, nothing for a release above all floors."""
    values = _values(found)
    match found.verdict, opted_out:
        case Verdict.REFUSE, _:
            return [problem(_FIELD, Reason.RELEASE_UNSAFE, **values)]
        case Verdict.REFUSE_UNLESS_OPTED_OUT, False:
            return [problem(_FIELD, Reason.RELEASE_NEEDS_OPT_OUT, **values, annotation=OPT_OUT_ANNOTATION)]
        case Verdict.REFUSE_UNLESS_OPTED_OUT, True:
            return [problem(_FIELD, Reason.RELEASE_OPTED_OUT, **values, annotation=OPT_OUT_ANNOTATION)]
        case Verdict.WARN, _:
            return [problem(_FIELD, Reason.RELEASE_OUTDATED, **values)]
    return []


def findings(found: Assessment, *, opted_out: bool) -> list[Problem]:
    """What the condition SecurityAdvisory says while it is True: also what no release is without, and an old table."""
    said = problems(found, opted_out=opted_out)
    if not said and found.cves:
        said.append(problem(_FIELD, Reason.CVES_REMAIN, **_values(found)))
    if found.stale:
        said.append(problem(_FIELD, Reason.ADVISORIES_STALE, checked=load().checked.isoformat()))
    return said


def condition(found: Assessment, *, opted_out: bool) -> Condition:
    """The condition SecurityAdvisory: True with the gravest CVEs by name while there is something to say."""
    said = findings(found, opted_out=opted_out)
    if not said:
        return Condition(
            ConditionType.SECURITY_ADVISORY, "False", Reason.NO_KNOWN_CVES, "No open CVE of the serving image is known."
        )
    return Condition(ConditionType.SECURITY_ADVISORY, "True", said[0].reason, " ".join(one.message for one in said))


def _verdict(row: Release) -> Verdict:
    floors = load().floors
    if row.line == "own":
        return floors.own
    version = parse_triton_release(row.server_code)
    if version < parse_triton_release(floors.refuse_below):
        return Verdict.REFUSE
    if version < parse_triton_release(floors.refuse_unless_opted_out_below):
        return Verdict.REFUSE_UNLESS_OPTED_OUT
    return Verdict.WARN if version < parse_triton_release(floors.warn_below) else Verdict.OK


def _open_in_triton(server_code: str, rows: Iterable[Advisory]) -> list[Advisory]:
    version = parse_triton_release(server_code)
    return [
        row for row in rows if not row.closed and (row.fixed_in is None or version < parse_triton_release(row.fixed_in))
    ]


def _open_in_vllm(vllm: str | None, rows: Iterable[Advisory]) -> list[Advisory]:
    if vllm is None:
        return []
    version = parse_vllm_version(vllm)
    return [
        row for row in rows if not row.closed and (row.fixed_in is None or version < parse_vllm_version(row.fixed_in))
    ]


def _values(found: Assessment) -> dict[str, object]:
    named = found.cves[:_NAMED]
    left = len(found.cves) - len(named)
    return {
        "release": found.release,
        "count": len(found.cves),
        "cves": "; ".join(map(_sentence, named)) + (f"; and {left} more" if left else ""),
        "newest": found.fixed_by or found.release,
    }


def _sentence(cve: Advisory) -> str:
    """For example "CVE-2025-23310 (score 9.8, fixed in release 25.07): run code with one HTTP request"."""
    facts = [f"score {cve.score:g}"] if cve.score else []
    facts.append(f"fixed in {_fix(cve.fixed_in)}" if cve.fixed_in else "no fix known")
    return f"{cve.id} ({', '.join(facts)}): {cve.effect}"


def _fix(fixed_in: str) -> str:
    """A Triton release has two numbers, a vLLM version at least three."""
    return f"release {fixed_in}" if fixed_in.count(".") == 1 else f"vLLM {fixed_in}"
