"""Every sentence that a user can read, as it is shown; what it advises to write is accepted."""

import re
from typing import Any

import pytest
import yaml
from pydantic.alias_generators import to_snake

from tests.catalog.samples import GOLDEN, SAMPLES, text
from triton_vllm_operator.catalog import arguments, openai_arguments, releases
from triton_vllm_operator.catalog.messages import MESSAGES
from triton_vllm_operator.catalog.violations import Violation

# A field and the value that a message advises.
ADVICE = re.compile(r'(?:Set|Did you mean|[0-9a-z}\]"],) (spec\.[\w.]+): ("[^"]*"|\{[^}]*\}|\[[^\]]*\]|[^,?()\s]+)')


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


def advised() -> list[tuple[str, Any]]:
    """Every field with a value that a message of a sample says to write."""
    found = [violation for sample in SAMPLES for violation in sample() if violation.rejects]
    pairs = [(field, value.rstrip(".")) for one in found for field, value in ADVICE.findall(one.message)]
    return [(field, yaml.safe_load(value)) for field, value in dict.fromkeys(pairs)]


@pytest.mark.parametrize(("field", "value"), advised())
def test_advice_is_accepted(field: str, value: Any) -> None:
    name = field.rsplit(".", 1)[-1]
    versions = {version for row in releases.load().releases if (version := row.arguments_version) is not None}
    if field.startswith(openai_arguments.FIELD):
        refused = [openai_arguments.check({name: value}, {})]
    elif field.startswith(arguments.EXTRA):
        first, *keys = field.removeprefix(f"{arguments.EXTRA}.").split(".")
        for key in reversed(keys):
            value = {key: value}
        refused = [arguments.check({first: value}, version) for version in versions]
    elif field in arguments.typed_fields().values():
        refused = [arguments.check({}, version, {to_snake(name): value}) for version in versions]
    elif field in ("spec.server.release", "spec.server.image"):
        given = (None, value) if name == "release" else (value, None)
        found = releases.resolve(*given, default_image="registry/triton-vllm:vllm-0.32.0")
        refused = [[found] if isinstance(found, Violation) else []]
    else:
        pytest.fail(f"no rule for {field}")
    assert any(not [one for one in each if one.rejects] for each in refused), refused


def test_much_advice_is_tried() -> None:
    assert len({field for field, _ in advised()}) > 6
