"""Whether a node's driver and GPUs run what a release holds, before a pod waits for them."""

from . import contract, releases
from .problems import Problem, Reason, problem
from .releases import Release
from .versions import driver_key

_IMAGE = "spec.server.release"
_QUANTIZATION = "spec.engine.quantization"


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
        key = driver_key(driver)
    except ValueError:
        return problem(_IMAGE, Reason.DRIVER_UNREADABLE, **values)
    if key >= driver_key(least):
        if row.listed_driver is None or key >= driver_key(row.listed_driver):
            return None
        return problem(_IMAGE, Reason.DRIVER_OLDER_THAN_CUDA, **values, listed=row.listed_driver)
    bridged = row.forward_compat and data_center and key >= driver_key(releases.load().forward_compat_minimum_driver)
    return problem(_IMAGE, Reason.DRIVER_NEEDS_COMPATIBILITY if bridged else Reason.DRIVER_TOO_OLD, **values)


def check_quantization(vllm_version: str, method: str, gpu: str, capability: tuple[int, int]) -> Problem | None:
    """Whether a GPU's compute capability, (7, 5) for 7.5, is enough for the method's kernels in this vLLM.

    None also for a method that this version does not have: the check of arguments refuses it. Raises KeyError for a
    version without a contract.
    """
    least = contract.load(vllm_version).least_capability.get(method)
    if least is None or capability >= divmod(least, 10):
        return None
    values = {"method": method, "gpu": gpu, "capability": _dotted(capability), "least": _dotted(divmod(least, 10))}
    return problem(_QUANTIZATION, Reason.QUANTIZATION_NOT_ON_GPU, **values)


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"
