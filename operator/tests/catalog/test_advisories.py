"""Which release is refused for its CVEs, who may lift that, and how old the table may be."""

from datetime import date, timedelta

import pytest

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog import advisories, releases
from triton_vllm_operator.catalog.advisories import ReleaseVerdict
from triton_vllm_operator.catalog.releases import Release

TABLE = advisories.load()
NVIDIA_ROWS = [row for row in releases.load().releases if row.line == "nvidia"]


def row(name: str) -> Release:
    found = releases.load().find(name)
    assert found is not None
    return found


def assess(name: str, today: date = TABLE.checked) -> advisories.Assessment:
    return advisories.assess(row(name), today)


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("25.01", ReleaseVerdict.REJECT),
        ("25.07", ReleaseVerdict.REJECT),
        ("25.08", ReleaseVerdict.REJECT_UNLESS_OPTED_OUT),
        ("26.05", ReleaseVerdict.REJECT_UNLESS_OPTED_OUT),
        ("26.06", ReleaseVerdict.WARN),
        ("26.07", ReleaseVerdict.WARN),
        ("26.08", ReleaseVerdict.ALLOW),
        ("26.10", ReleaseVerdict.ALLOW),
        ("vllm-0.32.0", ReleaseVerdict.WARN),
    ],
)
def test_the_floors_stand_where_the_sources_put_them(name: str, verdict: ReleaseVerdict) -> None:
    assert assess(name).verdict is verdict


@pytest.mark.parametrize(
    ("name", "opted_out", "reason", "refuse"),
    [
        ("25.07", False, Reason.RELEASE_UNSAFE, True),
        ("25.07", True, Reason.RELEASE_UNSAFE, True),
        ("26.05", False, Reason.RELEASE_NEEDS_OPT_OUT, True),
        ("26.05", True, Reason.RELEASE_OPTED_OUT, False),
        ("26.07", False, Reason.RELEASE_OUTDATED, False),
        ("vllm-0.32.0", False, Reason.RELEASE_OUTDATED, False),
    ],
)
def test_an_opt_out_lifts_the_second_floor_only_and_stays_visible(
    name: str, opted_out: bool, reason: Reason, refuse: bool
) -> None:
    [found] = advisories.check(assess(name), opted_out=opted_out)
    assert (found.reason, found.rejects, found.field) == (reason, refuse, "spec.server.release")
    assert found in advisories.all_violations(assess(name), opted_out=opted_out)


def test_admission_is_silent_about_the_newest_release_and_the_condition_is_not() -> None:
    newest = assess("26.08")
    assert advisories.check(newest, opted_out=False) == []
    assert [found.reason for found in advisories.all_violations(newest, opted_out=False)] == [Reason.CVES_REMAIN]


@pytest.mark.parametrize(("days", "stale"), [(0, False), (90, False), (91, True)])
def test_an_old_table_says_so_beside_the_cves(days: int, stale: bool) -> None:
    found = advisories.all_violations(assess("26.08", TABLE.checked + timedelta(days=days)), opted_out=False)
    assert (Reason.ADVISORIES_STALE in [violation.reason for violation in found]) is stale
    assert Reason.CVES_REMAIN in [violation.reason for violation in found]


@pytest.mark.parametrize(
    ("cve", "last_with", "first_without"),
    [
        ("CVE-2025-23310", "25.06", "25.07"),
        ("CVE-2026-24207", "26.02", "26.03"),
        ("CVE-2026-47627", "26.05", "26.06"),
        ("CVE-2026-27893", "26.03", "26.04"),  # vLLM 0.17.1, then 0.19.0; fixed in 0.18.0
        ("CVE-2026-22778", "26.01", "26.02"),  # vLLM 0.13.0, then 0.15.1; fixed in 0.14.1
    ],
)
def test_a_cve_ends_with_the_release_that_fixes_it(cve: str, last_with: str, first_without: str) -> None:
    assert cve in {found.id for found in assess(last_with).cves}
    assert cve not in {found.id for found in assess(first_without).cves}


def test_a_cve_that_cannot_be_reached_is_not_counted() -> None:
    closed = {cve.id for cve in (*TABLE.triton, *TABLE.vllm) if cve.closed}
    assert closed
    assert not closed & {cve.id for name in NVIDIA_ROWS for cve in assess(name.release).cves}


def test_our_own_image_is_warned_about_its_old_server_by_name() -> None:
    [found] = advisories.check(assess("vllm-0.32.0"), opted_out=False)
    assert "CVE-2025-23310 (score 9.8, fixed in release 25.07)" in found.message
    # NVIDIA's newer release would not read all of its spec.
    assert "spec.server.release" not in found.message
    assert "Allow only trusted clients to reach its ports" in found.message


def test_no_release_above_the_first_floors_holds_a_critical_cve() -> None:
    above = [
        name.release
        for name in NVIDIA_ROWS
        if assess(name.release).verdict in (ReleaseVerdict.ALLOW, ReleaseVerdict.WARN)
    ]
    assert above
    assert not [cve.id for name in above for cve in assess(name).cves if (cve.score or 0) >= 9]


def test_no_cve_is_written_twice_and_each_names_its_bulletin() -> None:
    ids = [cve.id for cve in (*TABLE.triton, *TABLE.vllm)]
    assert len(ids) == len(set(ids))
    assert all(cve.bulletin and cve.year and cve.score and cve.fixed_in for cve in TABLE.triton)


def test_the_condition_names_the_gravest_cve_while_one_is_known() -> None:
    condition = advisories.condition(assess("vllm-0.32.0"), opted_out=False)
    assert (condition.type, condition.status, condition.reason) == ("SecurityAdvisory", "True", "ReleaseOutdated")
    assert "CVE-2025-23310" in condition.message


def test_the_condition_is_false_when_nothing_is_known() -> None:
    nothing = advisories.Assessment("26.08", ReleaseVerdict.ALLOW, (), None, stale=False)
    assert advisories.condition(nothing, opted_out=False).status == "False"
