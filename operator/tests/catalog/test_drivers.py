"""Drivers and compute capabilities at, above and below what a release needs."""

import pytest

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog import drivers, releases

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
    found = drivers.check_driver(row, driver, "gpu-1", data_center=data_center)
    assert (found.reason if found else None) is reason
    assert found is None or found.rejects is (reason is Reason.DRIVER_TOO_OLD)


def test_every_cuda_of_the_table_has_a_least_driver() -> None:
    majors = {int(row.cuda.partition(".")[0]) for row in releases.load().releases if row.cuda}
    assert majors == set(releases.load().minimum_driver)


@pytest.mark.parametrize(("driver", "refused"), [("565.57.01", True), ("570.00", False), ("580", False), ("?", False)])
def test_a_driver_that_does_not_know_the_gpu_is_refused(driver: str, refused: bool) -> None:
    found = drivers.check_driver_for_gpu(driver, 570, "gpu-1", "NVIDIA-B200")
    assert (found is not None) is refused
    assert found is None or (found.reason, found.rejects) == (Reason.DRIVER_TOO_OLD_FOR_GPU, True)
