"""Which release an image or `spec.server.release` means, and when it is refused."""

from datetime import date

import pytest

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog import releases
from triton_vllm_operator.catalog.versions import parse_triton_release, parse_vllm_version
from triton_vllm_operator.catalog.violations import Violation

DIGEST = "@sha256:" + "a" * 64
NVIDIA = "nvcr.io/nvidia/tritonserver"

# image, release that the user wrote, release that results, vLLM that results
RESOLVED = [
    (None, None, "26.08", "0.27.1"),
    (None, "25.09", "25.09", "0.10.1.1"),
    (f"{NVIDIA}:25.01-vllm-python-py3", None, "25.01", "0.6.3.post1"),
    (f"{NVIDIA}:26.07-vllm-python-py3", None, "26.07", "0.24.0"),
    (f"{NVIDIA}:26.07-vllm-python-py3", "26.07", "26.07", "0.24.0"),
    (f"{NVIDIA}:26.07-vllm-python-py3{DIGEST}", None, "26.07", "0.24.0"),
    (f"{NVIDIA}:25.06-vllm-python-py3", None, "25.06", "0.9.0rc1"),
    ("registry.example.com:5000/mirror/tritonserver:26.06-vllm-python-py3", None, "26.06", "0.22.1"),
    ("registry.example.com/ml/my-triton:26.08-vllm-python-py3-patched.2", None, "26.08", "0.27.1"),
    ("tritonserver:26.05-vllm-python-py3_ca", None, "26.05", "0.19.0"),
    (f"registry.example.com/ml/triton{DIGEST}", "26.07", "26.07", "0.24.0"),
    ("registry.example.com:5000/ml/triton:latest", "26.01", "26.01", "0.13.0"),
    ("registry.example.com:5000/ml/triton", "25.12", "25.12", "0.11.1"),
    ("localhost:5000/triton-vllm:vllm-0.32.0", None, "vllm-0.32.0", "0.32.0"),
    ("localhost:5000/triton-vllm:vllm-0.32.0-cpu", None, "vllm-0.32.0", "0.32.0"),
    ("registry.example.com/other:v3", "vllm-0.32.0", "vllm-0.32.0", "0.32.0"),
]

# image, release that the user wrote, field and reason of the refusal
REFUSED = [
    (f"{NVIDIA}{DIGEST}", None, "spec.server.release", Reason.RELEASE_REQUIRED),
    (f"{NVIDIA}:latest", None, "spec.server.release", Reason.RELEASE_REQUIRED),
    (NVIDIA, None, "spec.server.release", Reason.RELEASE_REQUIRED),
    ("registry.example.com:5000/ml/triton", None, "spec.server.release", Reason.RELEASE_REQUIRED),
    ("26.07-vllm-python-py3", None, "spec.server.release", Reason.RELEASE_REQUIRED),
    ("registry.example.com/vllm-openai:v0.24.0", None, "spec.server.release", Reason.RELEASE_REQUIRED),
    ("registry.example.com/other:vllm-0.32.0", None, "spec.server.release", Reason.RELEASE_REQUIRED),
    ("", None, "spec.server.release", Reason.RELEASE_REQUIRED),
    (f"{NVIDIA}:26.07-py3", None, "spec.server.image", Reason.IMAGE_WITHOUT_VLLM),
    (f"{NVIDIA}:26.07-trtllm-python-py3", None, "spec.server.image", Reason.IMAGE_WITHOUT_VLLM),
    (f"{NVIDIA}:26.07-py3-sdk", "26.07", "spec.server.image", Reason.IMAGE_WITHOUT_VLLM),
    (f"{NVIDIA}:24.12-vllm-python-py3", None, "spec.server.release", Reason.RELEASE_UNKNOWN),
    (f"{NVIDIA}:27.01-vllm-python-py3", None, "spec.server.release", Reason.RELEASE_UNKNOWN),
    (f"{NVIDIA}:26.13-vllm-python-py3", None, "spec.server.release", Reason.RELEASE_UNKNOWN),
    ("localhost:5000/triton-vllm:vllm-0.31.0", None, "spec.server.release", Reason.RELEASE_UNKNOWN),
    (None, "2.72.0", "spec.server.release", Reason.RELEASE_UNKNOWN),
    (None, "26.7", "spec.server.release", Reason.RELEASE_UNKNOWN),
    (f"{NVIDIA}:26.09-vllm-python-py3", None, "spec.server.release", Reason.ENGINE_VERSION_UNKNOWN),
    (None, "26.10", "spec.server.release", Reason.ENGINE_VERSION_UNKNOWN),
    (f"{NVIDIA}:26.07-vllm-python-py3", "26.08", "spec.server.release", Reason.RELEASE_CONTRADICTS_IMAGE),
    ("localhost:5000/triton-vllm:vllm-0.32.0", "26.08", "spec.server.release", Reason.RELEASE_CONTRADICTS_IMAGE),
    (None, "vllm-0.32.0", "spec.server.image", Reason.IMAGE_REQUIRED),
]


@pytest.mark.parametrize(("image", "release", "name", "vllm"), RESOLVED)
def test_an_image_or_a_release_resolves_to_one_engine(
    image: str | None, release: str | None, name: str, vllm: str
) -> None:
    found = releases.resolve(image, release)
    assert isinstance(found, releases.ResolvedRelease)
    assert (found.release, found.vllm_version) == (name, vllm)
    assert found.image == (image or f"{NVIDIA}:{name}-vllm-python-py3")


@pytest.mark.parametrize(("image", "release", "field", "reason"), REFUSED)
def test_an_engine_that_cannot_be_known_is_refused(
    image: str | None, release: str | None, field: str, reason: Reason
) -> None:
    found = releases.resolve(image, release)
    assert isinstance(found, Violation)
    assert (found.field, found.reason, found.rejects) == (field, reason, True)


OWN = "registry.example.com/triton-vllm:vllm-0.32.0"


@pytest.mark.parametrize(
    ("release", "name", "image"),
    [
        (None, "vllm-0.32.0", OWN),
        ("vllm-0.32.0", "vllm-0.32.0", OWN),
        ("26.07", "26.07", f"{NVIDIA}:26.07-vllm-python-py3"),
    ],
)
def test_the_operators_own_default_image_stands_where_no_image_is_written(
    release: str | None, name: str, image: str
) -> None:
    found = releases.resolve(None, release, default_image=OWN)
    assert isinstance(found, releases.ResolvedRelease)
    assert (found.release, found.image) == (name, image)


def test_a_release_built_from_an_unpublished_candidate_takes_the_arguments_of_the_published_version() -> None:
    found = releases.resolve(None, "25.07")
    assert isinstance(found, releases.ResolvedRelease)
    assert (found.vllm_version, found.arguments_version) == ("0.9.0rc1", "0.9.0")


def test_every_row_has_a_known_source_and_a_date() -> None:
    table = releases.load()
    assert {row.source for row in table.releases} <= set(table.sources)
    assert all(row.checked >= date(2026, 11, 24) for row in table.releases)


def test_no_month_from_25_01_to_the_newest_is_missing() -> None:
    table = releases.load()
    months = [row.release for row in table.releases if row.line == "nvidia"]
    expected = [f"{year}.{month:02d}" for year in (25, 26) for month in range(1, 13)]
    assert sorted(months) == expected[: expected.index("26.10") + 1]


def test_newer_releases_never_hold_an_older_engine() -> None:
    rows = sorted(releases.load().usable("nvidia"), key=lambda row: parse_triton_release(row.release))
    keys = [parse_vllm_version(row.vllm or "") for row in rows]
    assert keys == sorted(keys)


def test_each_build_text_begins_with_its_version() -> None:
    for row in releases.load().releases:
        assert row.build is None or row.build.split("+")[0] == row.vllm
