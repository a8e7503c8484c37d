"""Which kernels the engine chooses where several can do the same."""

from __future__ import annotations

import functools
import importlib.util

from backend.patching import replace_where_imported

# FlashInfer's own distribution of what it would download. The image does not bring it; one that is made from it may.
PRECOMPILED = "flashinfer_cubin"


def prefer_own() -> bool:
    """Have vLLM choose the kernels that it brings, not those that FlashInfer compiles or downloads first.

    Where FlashInfer can compile, vLLM takes its kernels for layers whose own do not need that: for experts on Hopper
    and on Blackwell that is tens of minutes of compiling at a start, or a download, and for FP8 in blocks a compiler
    that runs while clients wait (operator/docs/adr/0007-kernels.md). What vLLM uses of FlashInfer without asking (the
    sampler, the all-reduce) was compiled when the image was built. Best called before vLLM's layers are imported:
    some look at once. False, and nothing done, where FlashInfer's kernels are installed or vLLM does not ask for them.
    """
    if importlib.util.find_spec(PRECOMPILED):
        return False
    try:
        import vllm.utils.flashinfer as found
    except ImportError:
        return False
    replace_where_imported("has_flashinfer", found.has_flashinfer, functools.cache(lambda: False))
    return True
