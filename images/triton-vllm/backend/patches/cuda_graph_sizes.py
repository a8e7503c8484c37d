"""Capture fewer CUDA graphs for batches that hold a prompt.

Changes: `CudaGraphManager._init_candidates` of vLLM's V2 GPU runner plans the graphs of mode PIECEWISE at fewer sizes.

Why: vLLM captures each size twice: for batches that only decode (FULL), and in pieces for those that also read a prompt
(PIECEWISE). A start captures them one by one: 80 ms each for 8B on an H200. A decoding batch keeps all sizes, at most 8
or 16 tokens apart. A batch with a prompt that is padded by at most a quarter hardly takes longer, since up to some
hundred tokens the weights are what is read.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from backend.patches.upstream import Target, Upstream

PADDED_SHARE = 0.25
PADDED_TOKENS = 8
GRAPHS = "vllm.v1.worker.gpu.cudagraph_utils"
UPSTREAM = Upstream(
    (
        Target(
            GRAPHS,
            "CudaGraphManager._init_candidates",
            parameters=("self",),
            source=(
                "capture_sizes = self.compilation_config.cudagraph_capture_sizes",
                "self._capture_descs[mode] = descs",
                "self._candidates.setdefault(key, []).extend(matching)",
            ),
        ),
        Target(GRAPHS, "CudaGraphManager.__init__", source=("self._init_candidates()",)),
        Target(GRAPHS, "BatchExecutionDescriptor.cg_mode"),
        Target("vllm.config.compilation", "CUDAGraphMode.FULL"),
        Target("vllm.config.compilation", "CUDAGraphMode.PIECEWISE"),
    )
)


def spaced(sizes: Iterable[int]) -> list[int]:
    """Return as few of `sizes` as cover all batches up to the largest with limited padding.

    The limit is `PADDED_SHARE` of the batch, or `PADDED_TOKENS` when that is more, wherever `sizes` themselves keep it.
    """
    left, kept = sorted(set(sizes)), list[int]()
    while left:
        batch = kept[-1] + 1 if kept else 1
        near = [size for size in left if size - batch <= max(PADDED_TOKENS, PADDED_SHARE * batch)]
        kept.append(near[-1] if near else left[0])
        left = [size for size in left if size > kept[-1]]
    return kept


def install(manager: type, full: Any, piecewise: Any) -> None:
    """Have `manager`, vLLM's CudaGraphManager, plan graphs of mode `piecewise` at fewer sizes.

    Where decoding batches have no graphs of their own, mode `full`, nothing changes.
    """
    plan: Callable[[Any], None] = manager._init_candidates  # type: ignore[attr-defined]

    @functools.wraps(plan)
    def planned(self: Any) -> None:
        plan(self)
        descriptors, candidates = self._capture_descs, self._candidates
        if set(descriptors) != {full, piecewise}:
            return
        compilation = self.compilation_config
        sizes = compilation.cudagraph_capture_sizes
        self._capture_descs, self._candidates = {}, {}
        compilation.cudagraph_capture_sizes = spaced(sizes)
        try:
            plan(self)
        finally:
            compilation.cudagraph_capture_sizes = sizes
        pieces = self._candidates
        self._capture_descs = {**descriptors, piecewise: self._capture_descs[piecewise]}
        self._candidates = {
            key: [each for each in found if each.cg_mode == full]
            + [each for each in pieces.get(key, []) if each.cg_mode == piecewise]
            for key, found in candidates.items()
        }

    manager._init_candidates = planned  # type: ignore[attr-defined]
