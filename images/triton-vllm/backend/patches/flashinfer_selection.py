"""Let vLLM select its own kernels, not those that FlashInfer compiles or downloads first.

Changes: `vllm.utils.flashinfer.has_flashinfer` returns False.

Why: where FlashInfer can compile, vLLM selects its kernels for layers whose own kernels need no compilation: for
experts on Hopper and Blackwell that is tens of minutes of compilation at a start, or a download, and for block-wise FP8
a compiler that runs while clients wait (operator/docs/adr/0007-kernels.md). What vLLM uses of FlashInfer without this
check (the sampler, the all-reduce) was compiled when the image was built.
"""

from __future__ import annotations

import functools
import importlib.util

from backend.patches.replace import replace_where_imported
from backend.patches.upstream import Target, Upstream

# FlashInfer's own distribution of what it would download. The image does not bring it; one that is made from it may.
PRECOMPILED = "flashinfer_cubin"
UPSTREAM = Upstream(
    (
        Target("vllm.utils.flashinfer", "has_flashinfer", source=("importlib.util.find_spec('flashinfer') is None",)),
        Target("vllm.utils.flashinfer", "has_flashinfer_moe", source=("has_flashinfer()",)),
    )
)


def install() -> bool:
    """Disable the selection of FlashInfer's kernels; returns whether that was done.

    Not done where FlashInfer's kernels are installed or vLLM does not ask for them. To be called before vLLM's layers
    are imported: some ask at import.
    """
    if importlib.util.find_spec(PRECOMPILED):
        return False
    try:
        import vllm.utils.flashinfer as wrapper
    except ImportError:
        return False
    replace_where_imported("has_flashinfer", wrapper.has_flashinfer, functools.cache(lambda: False))
    return True
