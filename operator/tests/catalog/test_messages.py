"""Every sentence that a user can read, as it is shown."""

from tests.catalog.samples import GOLDEN, SAMPLES, text
from triton_vllm_operator.catalog.messages import MESSAGES


def test_the_texts_equal_the_golden_file() -> None:
    assert text() == GOLDEN.read_text(encoding="utf-8"), "see tests/catalog/samples.py"


def test_every_reason_is_shown_by_a_real_input() -> None:
    shown = {violation.reason for sample in SAMPLES for violation in sample()}
    assert shown == set(MESSAGES)


def test_every_refusal_says_what_to_do() -> None:
    refusals = [violation for sample in SAMPLES for violation in sample() if violation.rejects]
    silent = [
        violation.message
        for violation in refusals
        if not any(word in violation.message for word in ("Set ", "Remove ", "Correct ", "Upgrade ", "Did you mean "))
    ]
    assert silent == []
