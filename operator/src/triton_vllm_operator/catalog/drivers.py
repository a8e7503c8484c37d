"""Whether a node's driver runs its GPUs and what a release holds, before a pod waits for them."""

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog import releases
from triton_vllm_operator.catalog.releases import Release
from triton_vllm_operator.catalog.versions import InvalidVersionError, parse_driver_version
from triton_vllm_operator.catalog.violations import Problem, problem

_IMAGE = "spec.server.release"
_GPU = "spec.resources.gpu"


def check_driver(row: Release, driver: str, node: str, *, data_center: bool) -> Problem | None:
    """Whether `driver` ("580.95.05") of `node` runs the CUDA of a release; None when it does, or no source names CUDA.

    Rules (sources in data/releases.yaml): any driver from the first of CUDA's major version on; below it only on data
    center GPUs, through the compatibility package that NVIDIA's images carry.
    """
    if row.cuda is None:
        return None
    least = releases.load().minimum_driver[int(row.cuda.partition(".")[0])]
    values = {"driver": driver, "node": node, "cuda": row.cuda, "release": row.release, "least": least}
    try:
        version = parse_driver_version(driver)
    except InvalidVersionError:
        return problem(_IMAGE, Reason.DRIVER_UNREADABLE, **values)
    if version >= parse_driver_version(least):
        if row.listed_driver is None or version >= parse_driver_version(row.listed_driver):
            return None
        return problem(_IMAGE, Reason.DRIVER_OLDER_THAN_CUDA, **values, listed=row.listed_driver)
    oldest = parse_driver_version(releases.load().forward_compat_minimum_driver)
    bridged = row.forward_compat and data_center and version >= oldest
    return problem(_IMAGE, Reason.DRIVER_NEEDS_COMPATIBILITY if bridged else Reason.DRIVER_TOO_OLD, **values)


def check_floor(driver: str, least: int, node: str, gpu: str) -> Problem | None:
    """Whether `driver` ("580.95.05") of `node` knows the GPU, which the branch `least` (580) was the first to do."""
    try:
        version = parse_driver_version(driver)
    except InvalidVersionError:
        return None  # the check of the image says so
    if version >= parse_driver_version(str(least)):
        return None
    return problem(_GPU, Reason.DRIVER_TOO_OLD_FOR_GPU, driver=driver, node=node, gpu=gpu, least=least)
