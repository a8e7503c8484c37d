"""What the walk makes of its findings. No engine is asked."""

from __future__ import annotations

from typing import Any

import pytest

from tests.oracle.walk import NOT_BUILT, Finding, document, judge, merged


@pytest.mark.parametrize(
    ("older", "newer", "proof"),
    [
        (("config", ""), ("config", ""), "config"),
        (("headers", "weights do not follow from config.json"), ("config", ""), "headers"),
        (("", "KV cache differs"), ("config", ""), ""),
        (("config", ""), ("", "weights differ"), ""),
        (("", NOT_BUILT), ("config", ""), "config"),
        (("config", ""), ("", NOT_BUILT), "config"),
    ],
)
def test_what_any_version_contradicts_is_not_proven(older: tuple[str, str], newer: tuple[str, str], proof: str) -> None:
    (found,) = merged(Finding("FooForCausalLM", "foo", *one) for one in (older, newer))
    assert found.proof == proof


@pytest.mark.parametrize(
    ("error", "why"),
    [
        ("LookupError: neither Transformers nor vLLM has one", "no configuration of its own to compare with"),
        ("AttributeError: no vocab_size", "the engine does not build its default configuration"),
    ],
)
def test_why_there_is_nothing_to_compare(error: str, why: str) -> None:
    assert judge({"architecture": "FooForCausalLM", "error": error}).why == why


def test_what_embeds_or_drafts_is_not_planned_though_it_equals_the_engine() -> None:
    kinds = {"FooForCausalLM": "text_generation", "FooModel": "embedding", "FooMTP": "speculative_decoding",
             "BarForCausalLM": "text_generation"}  # fmt: skip
    findings = [Finding(name, "llama", "config") for name in kinds if name != "BarForCausalLM"]
    content: dict[str, Any] = document(findings, [], kinds)
    assert content["planned"]["FooForCausalLM"] == {"llama": "config"}
    assert content["unknown"] == {
        "BarForCausalLM": "not compared",
        "FooMTP": "a draft model, which is not served alone",
        "FooModel": "embeds or classifies",
    }
