"""How versions of vLLM, Triton and drivers are read, ordered and rejected."""

import itertools

import pytest
from packaging.version import Version

from triton_vllm_operator.catalog import engine_rules
from triton_vllm_operator.catalog.engine_rules import EngineVersionError, rules_for
from triton_vllm_operator.catalog.versions import (
    InvalidVersionError,
    parse_driver_version,
    parse_triton_release,
    parse_vllm_version,
    vllm_release,
)

# written, its version, the release whose engine rules apply
VLLM = [
    ("0.25.1", "0.25.1", "0.25.1"),
    ("v0.25.1", "0.25.1", "0.25.1"),
    (" 0.25.1\n", "0.25.1", "0.25.1"),
    ("0.25", "0.25.0", "0.25.0"),
    ("0.25.1rc1", "0.25.1rc1", "0.25.1"),
    ("0.25.1.rc1", "0.25.1rc1", "0.25.1"),
    ("0.25.1.dev3", "0.25.1.dev3", "0.25.1"),
    ("0.25.2.dev3+g1234567", "0.25.2.dev3", "0.25.2"),
    ("0.25.1+cpu", "0.25.1", "0.25.1"),
    ("0.11.0+nv25.11", "0.11.0", "0.11.0"),
    ("0.24.0+092c4842.nv26.7.57386851", "0.24.0", "0.24.0"),
    ("0.10.1.1", "0.10.1.1", "0.10.1.1"),
    ("0.10.1.post1", "0.10.1.post1", "0.10.1"),
    ("0.9.0rc1", "0.9.0rc1", "0.9.0"),
    ("1.0.0", "1.0.0", "1.0.0"),
]

NOT_VLLM = [
    *("", " ", "latest", "newest", "v", "0", "1" * 5000, "0." + "9" * 80, "0.25.xyz", "0.25.1garbage", "0.x.1"),
    *(
        "0.9.0 rc1",
        "-1.2.3",
        "0.25.1-",
        "0.25.1+",
        "0.25..1",
        "0,25",
        "vllm-0.25.1",
        "0.25.1\x00",
        "\u0660.\u0662\u0665.\u0661",
        "1!0.25.1",
    ),
    *("26.07", "26.08", "25.1.0"),
]


@pytest.mark.parametrize(("text", "version", "release"), VLLM)
def test_a_vllm_version_is_read(text: str, version: str, release: str) -> None:
    parsed = parse_vllm_version(text)
    assert (parsed, vllm_release(parsed)) == (Version(version), Version(release))
    assert rules_for(text).version == Version(release)


@pytest.mark.parametrize("text", NOT_VLLM)
def test_other_text_is_not_a_vllm_version(text: str) -> None:
    with pytest.raises(InvalidVersionError, match="not a vLLM version") as caught:
        parse_vllm_version(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", NOT_VLLM)
def test_rules_of_other_text_name_the_known_versions(text: str) -> None:
    with pytest.raises(
        EngineVersionError, match=r"not a vLLM version such as 0\.25\.1\. Use a version from 0\.9\.0"
    ) as caught:
        rules_for(text)
    assert caught.value.reason == "EngineVersionUnknown"
    assert engine_rules.newest_known() in str(caught.value)


def test_a_triton_release_as_vllm_version_is_named_as_such() -> None:
    with pytest.raises(InvalidVersionError, match=r"'26\.08' is a Triton release"):
        parse_vllm_version("26.08")


def test_vllm_versions_are_ordered_as_pep_440_says() -> None:
    ordered = [
        "0.6.3",
        "0.6.3.post1",
        "0.9.0.dev1",
        "0.9.0rc1",
        "0.9.0",
        "0.9.2",
        "0.10.1",
        "0.10.1.1",
        "0.10.2",
        "0.32.0",
    ]
    assert all(parse_vllm_version(a) < parse_vllm_version(b) for a, b in itertools.pairwise(ordered))


@pytest.mark.parametrize("text", ["26.08", "25.01", "24.12"])
def test_a_triton_release_is_read(text: str) -> None:
    assert parse_triton_release(text) == Version(text)


@pytest.mark.parametrize(
    "text",
    ["", "26.8", "26.13", "26.00", "2026.08", "26.08.1", "2.72.0", "26.08\n", "\u0662\u0666.\u0660\u0668", "v26.08"],
)
def test_other_text_is_not_a_triton_release(text: str) -> None:
    with pytest.raises(InvalidVersionError, match="not a Triton release YY"):
        parse_triton_release(text)


def test_drivers_are_ordered_by_their_numbers() -> None:
    ordered = ["575.57.08", "580", "580.82.07", "580.95.05", "610.43.02"]
    assert all(parse_driver_version(a) < parse_driver_version(b) for a, b in itertools.pairwise(ordered))
    assert parse_driver_version("580") == parse_driver_version("580.0.0")


@pytest.mark.parametrize(
    "text", ["", "R580", "580.95.05-open", "580.95.05rc1", "580.", "580.95.05\n", "1.2.3.4.5", "\u0665\u0668\u0660"]
)
def test_other_text_is_not_a_driver_version(text: str) -> None:
    with pytest.raises(InvalidVersionError, match="not a driver version"):
        parse_driver_version(text)
