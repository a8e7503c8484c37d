"""The one error of this package: an input that cannot be planned, with a reason code and the fix."""

from __future__ import annotations

from triton_vllm_operator.api.reasons import Reason

UNPLANNED = frozenset(
    {
        Reason.ARCHITECTURE_UNKNOWN,
        Reason.CONFIG_FIELD_PER_LAYER,
        Reason.CONFIG_FORMAT_UNKNOWN,
        Reason.LAYER_TYPE_UNKNOWN,
        Reason.POOLING_NOT_PLANNED,
    }
)
"""Reasons of models that the engine may serve and this package does not plan; the others mean a wrong input."""


class ShapeError(ValueError):
    """A model description that cannot be read: damaged, hostile, or of a kind the engine does not serve.

    `reason` is that of a condition; `str(error)` says what is wrong and what to do.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    @property
    def unplanned(self) -> bool:
        """Whether the model is right as far as it was read, and only not one that is planned."""
        return self.reason in UNPLANNED
