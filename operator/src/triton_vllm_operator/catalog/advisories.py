"""The known CVEs of a release, and whether the operator allows it: data/advisories.yaml."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import ClassVar

from pydantic import ConfigDict

from triton_vllm_operator.api import names
from triton_vllm_operator.api.conditions import Condition, ConditionType
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog import loader, releases
from triton_vllm_operator.catalog.releases import Release
from triton_vllm_operator.catalog.versions import TritonRelease, parse_triton_release, parse_vllm_version
from triton_vllm_operator.catalog.violations import Violation, violation

# On a Namespace, with the value "true": an administrator accepts the risk of releases below the second floor.
OPT_OUT_ANNOTATION = f"{names.GROUP}/allow-vulnerable-images"

_FIELD = "spec.server.release"
_LISTED = 3


class ReleaseVerdict(StrEnum):
    """What admission does with a release."""

    REJECT = "Reject"
    REJECT_UNLESS_OPTED_OUT = "RejectUnlessOptedOut"
    WARN = "Warn"
    ALLOW = "Allow"


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
    """Releases below which one is rejected, rejected unless opted out, and warned about; `own`: of our image."""

    reject_below: TritonRelease
    reject_unless_opted_out_below: TritonRelease
    warn_below: TritonRelease
    own: ReleaseVerdict


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
    """The known CVEs of a release.

    Attributes:
        release: name of the release.
        verdict: what admission does with it.
        cves: open and reachable ones, the most severe first.
        fixed_by: the release to use instead, of the same line; None when it is already that one.
        stale: the table is older than its maximum age, so newer CVEs can be missing.
    """

    release: str
    verdict: ReleaseVerdict
    cves: tuple[Advisory, ...]
    fixed_by: str | None
    stale: bool


_NO_NEWER = "No newer release is available. Allow only trusted clients to reach its ports."


def load() -> Advisories:
    """The table of advisories."""
    return loader.load_yaml("advisories.yaml", Advisories)


def assess(row: Release, today: date) -> Assessment:
    """The verdict on a release of the table (`releases.Resolved.row`) on the day `today`."""
    table = load()
    # Of the same line: a release of the other one does not read every field of a spec.
    newest = releases.load().usable(row.line)[0].release
    open_cves = [*_open_in_triton(row.server_code, table.triton), *_open_in_vllm(row.vllm, table.vllm)]
    most_severe_first = sorted(open_cves, key=lambda cve: (-(cve.score or 0), cve.id))
    stale = (today - table.checked).days > table.max_age_days
    return Assessment(
        row.release, _verdict(row), tuple(most_severe_first), None if row.release == newest else newest, stale
    )


def check(found: Assessment, *, opted_out: bool) -> list[Violation]:
    """The violation that admission gives for a release; none for a release above all floors."""
    values = _values(found)
    match found.verdict, opted_out:
        case ReleaseVerdict.REJECT, _:
            return [violation(_FIELD, Reason.RELEASE_UNSAFE, **values)]
        case ReleaseVerdict.REJECT_UNLESS_OPTED_OUT, False:
            return [violation(_FIELD, Reason.RELEASE_NEEDS_OPT_OUT, **values, annotation=OPT_OUT_ANNOTATION)]
        case ReleaseVerdict.REJECT_UNLESS_OPTED_OUT, True:
            return [violation(_FIELD, Reason.RELEASE_OPTED_OUT, **values, annotation=OPT_OUT_ANNOTATION)]
        case ReleaseVerdict.WARN, _:
            return [violation(_FIELD, Reason.RELEASE_OUTDATED, **values)]
    return []


def all_violations(found: Assessment, *, opted_out: bool) -> list[Violation]:
    """The violations of the condition SecurityAdvisory: also CVEs that every release has, and an old table."""
    violations = check(found, opted_out=opted_out)
    if not violations and found.cves:
        violations.append(violation(_FIELD, Reason.CVES_REMAIN, **_values(found)))
    if found.stale:
        violations.append(violation(_FIELD, Reason.ADVISORIES_STALE, checked=load().checked.isoformat()))
    return violations


def condition(found: Assessment, *, opted_out: bool) -> Condition:
    """The condition SecurityAdvisory: True with the most severe CVEs while there is any violation."""
    violations = all_violations(found, opted_out=opted_out)
    if not violations:
        return Condition(
            ConditionType.SECURITY_ADVISORY, "False", Reason.NO_KNOWN_CVES, "No open CVE of the serving image is known."
        )
    return Condition(
        ConditionType.SECURITY_ADVISORY, "True", violations[0].reason, " ".join(one.message for one in violations)
    )


def _verdict(row: Release) -> ReleaseVerdict:
    floors = load().floors
    if row.line == "own":
        return floors.own
    version = parse_triton_release(row.server_code)
    if version < parse_triton_release(floors.reject_below):
        return ReleaseVerdict.REJECT
    if version < parse_triton_release(floors.reject_unless_opted_out_below):
        return ReleaseVerdict.REJECT_UNLESS_OPTED_OUT
    return ReleaseVerdict.WARN if version < parse_triton_release(floors.warn_below) else ReleaseVerdict.ALLOW


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
    listed = found.cves[:_LISTED]
    left = len(found.cves) - len(listed)
    return {
        "release": found.release,
        "count": len(found.cves),
        "cves": "; ".join(map(_sentence, listed)) + (f"; and {left} more" if left else ""),
        "newest": found.fixed_by or found.release,
        "instead": f'Set {_FIELD}: "{found.fixed_by}".' if found.fixed_by else _NO_NEWER,
    }


def _sentence(cve: Advisory) -> str:
    """For example "CVE-2025-23310 (score 9.8, fixed in release 25.07): run code with one HTTP request"."""
    facts = [f"score {cve.score:g}"] if cve.score else []
    facts.append(f"fixed in {_fix(cve.fixed_in)}" if cve.fixed_in else "no fix known")
    return f"{cve.id} ({', '.join(facts)}): {cve.effect}"


def _fix(fixed_in: str) -> str:
    """A Triton release has two numbers, a vLLM version at least three."""
    return f"release {fixed_in}" if fixed_in.count(".") == 1 else f"vLLM {fixed_in}"
