"""The one error of this package: an input that cannot be planned, with a reason code and the fix."""

from __future__ import annotations

from triton_vllm_operator.api.reasons import Reason


class ShapeError(ValueError):
    """A model description that cannot be read: damaged, hostile, or of a kind the engine does not serve.

    `reason` is that of a condition; `str(error)` says what is wrong and what to do.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
