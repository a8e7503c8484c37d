"""`python -m tools.release add 26.11` adds a release to the catalog; `... check` checks what changes with time.

For each table the report says what was added, checked, or not found, and what is left to do. Adding twice is the same
as adding once. Run by `make release R=26.11` and `make release-check`.
"""

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from tools.engine_arguments.__main__ import DATA, require_own_catalog
from tools.release import release_rows, tables
from tools.release.findings import Finding
from tools.release.matrix import Matrix, ReleaseFacts, SourceUnreachableError, fetch_matrix, parse_matrix
from triton_vllm_operator.catalog import releases
from triton_vllm_operator.catalog.versions import InvalidVersionError, parse_triton_release, parse_vllm_version

RELEASES = DATA / "releases.yaml"


@dataclass(frozen=True, slots=True)
class Found:
    """The facts about a release, and the source that has them: a key of `sources` in releases.yaml, and a page."""

    facts: ReleaseFacts
    source: str
    page: str = ""


def find_facts(options: argparse.Namespace) -> tuple[Found | None, Finding]:
    """The facts about the release that was asked for, and how they were found; None where no source has them."""
    if options.vllm:
        facts = ReleaseFacts(options.vllm, options.vllm, options.cuda, options.driver, options.triton)
        return Found(facts, options.source), Finding("releases.yaml", "checked", "facts are those of the command line")
    try:
        saved = options.matrix
        matrix = Matrix("", parse_matrix(saved.read_text(encoding="utf-8"))) if saved else fetch_matrix()
    except (SourceUnreachableError, OSError, ValueError) as error:
        text = f"no network or no such page ({error}): save the matrix and give --matrix FILE, or give --vllm"
        return None, Finding("releases.yaml", "not found", text)
    page = matrix.page or str(saved)
    listed = matrix.releases.get(options.release)
    if listed is None:
        newest = max(matrix.releases, default="none")
        return None, Finding("releases.yaml", "not found", f"the matrix has releases up to {newest} ({page})")
    return Found(listed, "matrix", matrix.page), Finding("releases.yaml", "checked", f"facts are those of {page}")


def add_row(release: str, found: Found, today: date) -> Finding:
    """Writes the row of the release."""
    old = RELEASES.read_text(encoding="utf-8")
    new = release_rows.with_row(old, release, found.facts, found.source, today)
    if new == old:
        return Finding("releases.yaml", "unchanged", f"has release {release}")
    if found.page:
        new = release_rows.with_source(new, found.page, today)
    RELEASES.write_text(new, encoding="utf-8")
    return Finding("releases.yaml", "added", f"release {release} with vLLM {found.facts.vllm}")


def show(findings: Iterable[Finding]) -> None:
    """Prints each finding as it comes."""
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
        sys.stdout.flush()


def add(options: argparse.Namespace) -> int:
    """Adds a release; 1 when no source has it and the catalog neither."""
    if not options.release.startswith("vllm-"):
        found, finding = find_facts(options)
        show([finding])
        if found is not None:
            show([add_row(options.release, found, datetime.now(UTC).date())])
    row = releases.load().find(options.release)
    if row is None:
        show([Finding("releases.yaml", "not found", f"release {options.release} was not added")])
        return 1
    show(tables.check_tables(row))
    return 0


def check(_: argparse.Namespace) -> int:
    """What becomes wrong by itself with time; 1 when something has to be done."""
    findings = list(tables.check_age(datetime.now(UTC).date()))
    show(findings)
    return int(any(finding.state == "to do" for finding in findings))


def _release(text: str) -> str:
    if text.startswith("vllm-"):
        return "vllm-" + _vllm(text.removeprefix("vllm-"))
    try:
        parse_triton_release(text)
    except InvalidVersionError as error:
        raise argparse.ArgumentTypeError(f"{error} Give YY.MM, or vllm-X.Y.Z for the operator's own image.") from None
    return text


def _vllm(text: str) -> str:
    try:
        return str(parse_vllm_version(text))
    except InvalidVersionError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=__doc__)
    commands = parser.add_subparsers(required=True)
    adding = commands.add_parser("add", help="add a release, or check the tables for one that is there")
    adding.add_argument("release", type=_release, help="YY.MM of NVIDIA, or vllm-X.Y.Z of the operator's own image")
    adding.add_argument("--matrix", type=Path, help="a saved compatibility.md instead of the newest one")
    adding.add_argument("--vllm", type=_vllm, help="its vLLM version, where the matrix does not have the release")
    adding.add_argument("--cuda", help="its CUDA version; with --vllm")
    adding.add_argument("--driver", help="the driver that this CUDA was published with; with --vllm")
    adding.add_argument("--triton", help="its server version; with --vllm")
    adding.add_argument("--source", help="key of `sources` in releases.yaml that names it; with --vllm")
    adding.set_defaults(run=add)
    commands.add_parser("check", help="fail when the CVEs were last read too long ago").set_defaults(run=check)
    options = parser.parse_args(arguments)
    if getattr(options, "vllm", None) and not options.source:
        parser.error("--vllm requires --source: the key of `sources` in releases.yaml that names this version")
    require_own_catalog()
    run: int = options.run(options)
    return run


if __name__ == "__main__":
    sys.exit(main())
