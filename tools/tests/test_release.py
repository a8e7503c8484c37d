"""`make release`: the row that is added, what the sources give, and what the report has where they are silent."""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from tools.release import __main__ as command
from tools.release import matrix, release_rows, tables
from tools.release.findings import Finding
from tools.release.matrix import ReleaseFacts, SourceUnreachableError, parse_matrix
from triton_vllm_operator.catalog import advisories, releases

TODAY = date(2026, 12, 1)
FACTS = ReleaseFacts("0.33.0", "0.33.0+abc.nv26.11", "13.5.0.001", "620.10")
TABLE = command.RELEASES.read_text(encoding="utf-8")
MATRIX = """
## Container Name: trtllm-python-py3
| Triton release version | CUDA version |
| --- | --- |
| 26.11 | 1.0 |
## Container Name: vllm-python-py3

| Triton release version\t | NGC Tag | vLLM version | CUDA version | CUDA Driver version | Size |
| --- | --- | --- | --- | --- | --- |
| 26.11 | image:26.11 | 0.33.0+abc.nv26.11| 13.5.0.001 | 620.10 | 10 GB |
| 26.10 | image:26.10 | 0.9.0rc1+x | 13.4.3.001 |  | 10 GB |
| 26.09 | image:26.09 | to be announced | 13.4.3.001 | 615.61 | 10 GB |

## ONNX
| 26.11 | 1.0 |
"""


def rows(text: str) -> releases.Releases:
    return TypeAdapter(releases.Releases).validate_python(yaml.safe_load(text))


def test_the_matrix_gives_the_facts_of_the_vllm_image() -> None:
    assert parse_matrix(MATRIX) == {
        "26.11": FACTS,
        "26.10": ReleaseFacts("0.9.0rc1", "0.9.0rc1+x", "13.4.3.001", None),
        "26.09": ReleaseFacts(None, "to be announced", "13.4.3.001", "615.61"),
    }
    assert parse_matrix("<html>") == {}


def test_a_new_release_stands_above_the_others_of_nvidia() -> None:
    text = release_rows.with_row(TABLE, "26.11", FACTS, "matrix", TODAY)
    row = rows(text).find("26.11")
    assert row is not None
    assert (row.vllm, row.build, row.cuda, row.listed_driver) == (FACTS.vllm, FACTS.build, FACTS.cuda, FACTS.driver)
    assert (row.server_code, row.checked, row.source) == ("26.11", TODAY, "matrix")
    assert rows(text).newest == row
    before = [one.release for one in rows(TABLE).releases]
    assert [one.release for one in rows(text).releases] == [before[0], "26.11", *before[1:]]
    assert set(TABLE.splitlines()) <= set(text.splitlines()), "comments and other rows stay"


def test_adding_a_release_twice_is_the_same_as_once() -> None:
    text = release_rows.with_row(TABLE, "26.11", FACTS, "matrix", TODAY)
    assert release_rows.with_row(text, "26.11", FACTS, "matrix", TODAY + timedelta(days=9)) == text


def test_a_known_release_gets_the_facts_that_it_lacks_and_keeps_those_that_it_has() -> None:
    text = release_rows.with_row(TABLE, "26.09", ReleaseFacts(vllm="0.30.0"), "matrix", TODAY)
    old, new = rows(TABLE).find("26.09"), rows(text).find("26.09")
    assert old is not None
    assert new is not None
    assert (old.vllm, new.vllm, new.triton) == (None, "0.30.0", old.triton)
    assert len(rows(text).releases) == len(rows(TABLE).releases)


def test_the_page_of_the_matrix_and_the_day_are_kept() -> None:
    text = release_rows.with_source(TABLE, "https://example.com/page", TODAY)
    assert (rows(text).sources["matrix"], rows(text).checked) == ("https://example.com/page", TODAY)


@pytest.fixture
def catalog_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of releases.yaml that the command writes, and no network."""
    file = tmp_path / "releases.yaml"
    file.write_text(TABLE, encoding="utf-8")
    monkeypatch.setattr(command, "RELEASES", file)

    def unreachable(url: str) -> str:
        raise SourceUnreachableError(f"{url}: no route")

    monkeypatch.setattr(matrix, "fetch_text", unreachable)
    monkeypatch.setattr(tables, "fetch_text", unreachable)
    return file


def test_without_network_the_report_says_so_and_nothing_is_written(
    catalog_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["add", "26.11"]) == 1
    report = capsys.readouterr().out
    assert "no network or no such page" in report
    assert "release 26.11 was not added" in report
    assert catalog_file.read_text(encoding="utf-8") == TABLE


def test_a_release_that_the_matrix_does_not_have_is_not_added(
    catalog_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "matrix.md").write_text(MATRIX, encoding="utf-8")
    assert command.main(["add", "26.12", f"--matrix={tmp_path / 'matrix.md'}"]) == 1
    assert "the matrix has releases up to 26.11" in capsys.readouterr().out


def test_a_release_without_a_known_vllm_says_what_cannot_be_checked(
    catalog_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["add", "26.10"]) == 0
    assert "no source names the vLLM version of release 26.10" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["26.13"], ["2.72.0"], ["vllm-0.x"], ["26.11", "--vllm=0.25.xyz", "--source=matrix"], ["26.11", "--vllm=0.33.0"]],
)
def test_what_is_not_a_version_or_has_no_source_is_rejected(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(["add", *arguments])
    assert caught.value.code == 2


def states(found: Iterator[Finding]) -> list[tuple[str, str]]:
    return [(finding.state, finding.text) for finding in found]


def test_tables_are_checked_for_a_version_that_they_have() -> None:
    assert states(tables.add_arguments("0.32.0")) == [("unchanged", "has vLLM 0.32.0")]
    for check in (tables.check_renamed, tables.check_quantization, tables.check_engine_rules):
        assert [state for state, _ in states(check("0.32.0"))] == ["checked"]
    assert [state for state, _ in states(tables.check_renamed("0.32.9"))] == ["not found"]
    assert [state for state, _ in states(tables.check_quantization("0.32.9"))] == ["not found"]


class FakeSources:
    """Modules of a vLLM by name."""

    def __init__(self, version: str, **modules: str) -> None:
        self.version, self.modules = version, modules

    def read(self, module: str) -> str | None:
        return self.modules.get(module.rpartition(".")[2])


def test_modules_that_changed_since_the_newest_rules_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "fetch", lambda version: FakeSources(version, envs=version, workspace="same"))
    [(state, text)] = states(tables.check_engine_rules("0.99.0"))
    assert (state, text.rpartition(": ")[2]) == ("to do", "vllm.envs")


def test_model_types_of_the_engine_that_the_list_lacks_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "_CONFIG_REGISTRY: dict[str, type] = LazyConfigDict(llama='A', brand_new='B')"
    monkeypatch.setattr(tables, "fetch", lambda version: FakeSources(version, config=source))
    [(state, text)] = states(tables.check_model_types("0.99.0"))
    assert state == "to do"
    assert text.endswith("it lacks brand_new")
    monkeypatch.setattr(tables, "fetch", lambda version: FakeSources(version, config="_CONFIG_REGISTRY = load()"))
    assert [state for state, _ in states(tables.check_model_types("0.99.0"))] == ["not found"]


def test_advisories_that_the_table_lacks_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = advisories.load().vllm[0].id
    listed = [{"id": "PYSEC-1", "aliases": [known]}, {"id": "PYSEC-2", "aliases": ["CVE-1999-1"]}]
    monkeypatch.setattr(tables, "fetch_text", lambda url: json.dumps({"vulnerabilities": listed}))
    assert states(tables.check_vulnerabilities("0.99.0")) == [("to do", "add PYSEC-2 of vLLM 0.99.0")]
    monkeypatch.setattr(tables, "fetch_text", lambda url: "<html>")
    assert [state for state, _ in states(tables.check_vulnerabilities("0.99.0"))] == ["not found"]


@pytest.mark.parametrize(("days", "state"), [(0, "checked"), (90, "checked"), (91, "to do"), (-1, "to do")])
def test_the_table_of_cves_has_to_be_checked_within_90_days(days: int, state: str) -> None:
    assert advisories.load().max_age_days == 90
    first, *sources = tables.check_age(advisories.load().checked + timedelta(days=days))
    assert first.state == state
    assert bool(sources) is (state == "to do")
