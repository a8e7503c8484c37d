"""Which GPUs run a quantization method, by vLLM version: from the table of engine arguments."""

from packaging.version import Version

from triton_vllm_operator.catalog import argument_table
from triton_vllm_operator.catalog.versions import vllm_release

REMOVED_IN = {"bitsandbytes": Version("0.32.0"), "gguf": Version("0.32.0")}
"""Methods that vLLM no longer has -> the first version without them."""


def minimum_capability(method: str, version: Version) -> tuple[int, int] | None:
    """The compute capability that the method's kernels need, (7, 5) for 7.5; None where vLLM names none.

    Of a version that is not in the table the lower of the entries around it counts: a rejection must be certain.
    """
    forms = [(Version(first), least) for first, least in argument_table.minimum_capabilities(method)]
    before = [least for first, least in forms if first <= version]
    after = [least for first, least in forms if first > version]
    in_table = any(vllm_release(Version(one)) == version for one in argument_table.versions())
    around = before[-1:] if in_table else [*before[-1:], *after[:1]]
    known = [least for least in around if least is not None]
    return divmod(min(known), 10) if known else None
