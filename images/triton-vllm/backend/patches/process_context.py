"""Start vLLM's processes by a given multiprocessing context.

Changes: `vllm.utils.system_utils.get_mp_context` returns that context.

Why: vLLM knows the start methods `spawn` and `fork`. Ours forks from a server that has imported vLLM (see
`backend.engine.forkserver`), which saves 8 to 12 seconds per process.
"""

from __future__ import annotations

from typing import Any

from backend.patches.replace import replace_where_imported
from backend.patches.upstream import Target, Upstream

UPSTREAM = Upstream(
    (
        Target("vllm.utils.system_utils", "get_mp_context", source=("multiprocessing.get_context(mp_method)",)),
        Target("vllm.v1.engine.utils", source=("context = get_mp_context()",)),
        Target("vllm.v1.executor.multiproc_executor", source=("context = get_mp_context()",)),
    )
)


def install(context: Any) -> None:
    """Have vLLM in this process start its processes by `context`."""
    import vllm.utils.system_utils as utils

    replace_where_imported("get_mp_context", utils.get_mp_context, lambda: context)
