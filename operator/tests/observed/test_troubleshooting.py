"""The page of symptoms knows every reason that the operator gives."""

from __future__ import annotations

import re
from pathlib import Path

from triton_vllm_operator.catalog.violations import Reason

SOURCE = Path(__file__).parents[2] / "src" / "triton_vllm_operator"
PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
SAID = re.compile(r'(?:Finding|Refusal)\(\s*"([A-Z]\w+)"')


def test_every_reason_of_a_check_is_on_the_page() -> None:
    sources = [SOURCE / "observed" / "findings.py", *(SOURCE / "runtime").glob("*.py")]
    reasons = {reason for path in sources for reason in SAID.findall(path.read_text())}
    assert len(reasons) > 15
    told = set(re.findall(r"`([A-Z]\w+)`", PAGE.read_text()))
    assert reasons - told == set()


def test_every_family_of_contract_problems_is_on_the_page() -> None:
    families = set(re.findall(r"`([A-Z][a-z]+)\.\.\.`", PAGE.read_text()))
    refused_now = [reason for reason in Reason if re.match(r"Argument|Flag|Release|Engine|Image", reason)]
    assert refused_now
    assert {re.match(r"[A-Z][a-z]+", reason)[0].removesuffix("s") for reason in refused_now} <= families  # type: ignore[index]
