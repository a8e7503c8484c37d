"""Checks the driver of a node against its GPUs and the CUDA of a release, before a pod waits for them."""

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog import releases
from triton_vllm_operator.catalog.releases import Release
from triton_vllm_operator.catalog.versions import InvalidVersionError, parse_driver_version
from triton_vllm_operator.catalog.violations import Violation, violation

_IMAGE = "spec.server.release"
_GPU = "spec.resources.gpu"


def check_driver(row: Release, driver: str, node: str, *, data_center: bool) -> Violation | None:
    """Why `driver` ("580.95.05") of `node` does not run the CUDA of a release; None when it does or CUDA is unknown.

    Rules (sources in data/releases.yaml): CUDA runs on the first driver of its major version and on newer ones; on
    older ones only with data center GPUs, through the compatibility package in NVIDIA's images.
    """
    if row.cuda is None:
        return None
    minimum = releases.load().minimum_driver[int(row.cuda.partition(".")[0])]
    values = {"driver": driver, "node": node, "cuda": row.cuda, "release": row.release, "minimum": minimum}
    try:
        version = parse_driver_version(driver)
    except InvalidVersionError:
        return violation(_IMAGE, Reason.DRIVER_UNREADABLE, **values)
    if version >= parse_driver_version(minimum):
        if row.listed_driver is None or version >= parse_driver_version(row.listed_driver):
            return None
        return violation(_IMAGE, Reason.DRIVER_OLDER_THAN_CUDA, **values, listed=row.listed_driver)
    oldest = parse_driver_version(releases.load().forward_compat_minimum_driver)
    bridged = row.forward_compat and data_center and version >= oldest
    return violation(_IMAGE, Reason.DRIVER_NEEDS_COMPATIBILITY if bridged else Reason.DRIVER_TOO_OLD, **values)


def check_driver_for_gpu(driver: str, minimum: int, node: str, gpu: str) -> Violation | None:
    """Why `driver` ("580.95.05") of `node` does not support a GPU whose first driver branch is `minimum` (580)."""
    try:
        version = parse_driver_version(driver)
    except InvalidVersionError:
        return None  # `check_driver` warns about it
    if version >= parse_driver_version(str(minimum)):
        return None
    return violation(_GPU, Reason.DRIVER_TOO_OLD_FOR_GPU, driver=driver, node=node, gpu=gpu, minimum=minimum)
