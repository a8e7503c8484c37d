"""Answer numbers that JSON does not have as null.

Changes: `render` of Starlette's JSONResponse, by which vLLM's application writes its answers.

Why: a model whose weights or quantization overflow gives NaN as log probability, embedding or score. Starlette raises
ValueError for it, which vLLM answers as the client's error; its streams, and Triton's protocols here, write null.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

from backend.patches.upstream import Target, Upstream

UPSTREAM = Upstream(
    (Target("starlette.responses", "JSONResponse.render", parameters=("content",), source=("allow_nan=False",)),)
)


def install() -> None:
    """Write null for NaN and infinities from now on."""
    from starlette.responses import JSONResponse

    JSONResponse.render = _finite_first(JSONResponse.render)


def _finite_first(render: Callable[[Any, Any], bytes]) -> Callable[[Any, Any], bytes]:
    @wraps(render)
    def rendered(response: Any, content: Any) -> bytes:
        try:
            return render(response, content)
        except ValueError:
            return render(response, finite(content))

    return rendered


def finite(value: Any) -> Any:
    """The same value with None in place of NaN and infinities."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    return [finite(each) for each in value] if isinstance(value, (list, tuple)) else value
