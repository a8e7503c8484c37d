"""Drivers and compute capabilities at, above and below what a release needs."""

import pytest

from triton_vllm_operator.engine import contract, hardware, releases
from triton_vllm_operator.engine.problems import Reason

# release, driver, data center GPU, reason
DRIVERS = [
    ("26.08", "615.61", True, None),
    ("26.08", "620.10.02", False, None),
    ("26.08", "615.60", True, Reason.DRIVER_OLDER_THAN_CUDA),
    ("26.08", "580.65", False, Reason.DRIVER_OLDER_THAN_CUDA),
    ("26.08", "580.64", False, Reason.DRIVER_TOO_OLD),
    ("26.08", "580.64", True, Reason.DRIVER_NEEDS_COMPATIBILITY),
    ("26.08", "535.86", True, Reason.DRIVER_NEEDS_COMPATIBILITY),
    ("26.08", "535.85", True, Reason.DRIVER_TOO_OLD),
    ("25.01", "570.86.10", True, None),
    ("25.01", "525.60", False, Reason.DRIVER_OLDER_THAN_CUDA),
    ("25.01", "525.59", True, Reason.DRIVER_TOO_OLD),
    ("vllm-0.32.0", "580.65", False, None),  # ours: no compatibility package, no listed driver
    ("vllm-0.32.0", "580.64", True, Reason.DRIVER_TOO_OLD),
    ("26.09", "1.0", False, None),  # no source names its CUDA
    ("26.08", "", True, Reason.DRIVER_UNREADABLE),
    ("26.08", "N/A", True, Reason.DRIVER_UNREADABLE),
]


@pytest.mark.parametrize(("release", "driver", "data_center", "reason"), DRIVERS)
def test_a_driver_is_checked_against_the_cuda_of_the_release(
    release: str, driver: str, data_center: bool, reason: Reason | None
) -> None:
    row = releases.load().find(release)
    assert row is not None
    found = hardware.check_driver(row, driver, "gpu-1", data_center=data_center)
    assert (found.reason if found else None) is reason
    assert found is None or found.refuse is (reason is Reason.DRIVER_TOO_OLD)


def test_every_cuda_of_the_table_has_a_least_driver() -> None:
    majors = {int(row.cuda.partition(".")[0]) for row in releases.load().releases if row.cuda}
    assert majors == set(releases.load().minimum_driver)


@pytest.mark.parametrize(
    ("version", "method", "capability", "refused"),
    [
        ("0.27.1", "fp8", (7, 5), False),
        ("0.27.1", "fp8", (7, 0), True),
        ("0.13.0", "fp8", (7, 5), True),
        ("0.32.0", "awq", (7, 5), False),
        ("0.32.0", "awq", (7, 0), True),
        ("0.32.0", "gptq", (6, 0), False),
        ("0.32.0", "compressed-tensors", (6, 1), True),
        ("0.32.0", "mxfp4", (7, 5), True),
        ("0.32.0", "mxfp4", (8, 0), False),
        ("0.32.0", "fp_quant", (9, 0), True),
        ("0.32.0", "fp_quant", (10, 0), False),
        ("0.32.0", "fp_quant", (12, 1), False),
        ("0.32.0", "no-such-method", (7, 0), False),
    ],
)
def test_a_quantization_is_refused_on_a_gpu_without_its_kernels(
    version: str, method: str, capability: tuple[int, int], refused: bool
) -> None:
    found = hardware.check_quantization(version, method, "GPU", capability)
    assert (found is not None) is refused
    assert found is None or (found.reason, found.refuse) == (Reason.QUANTIZATION_NOT_ON_GPU, True)


def test_a_version_without_a_contract_is_an_error() -> None:
    with pytest.raises(KeyError, match=r"no contract for vLLM 9\.9\.9"):
        hardware.check_quantization("9.9.9", "fp8", "GPU", (9, 0))


def test_every_version_knows_some_methods() -> None:
    assert all(contract.load(version).least_capability for version in contract.versions())
