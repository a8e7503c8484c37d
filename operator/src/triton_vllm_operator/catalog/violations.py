"""One finding about what the user wrote, in the words that admission, status and command line all show."""

from dataclasses import dataclass

from triton_vllm_operator.catalog.messages import TEXTS, WARNINGS, Reason

__all__ = ["Problem", "Reason", "problem"]


@dataclass(frozen=True, slots=True)
class Problem:
    """`field` is the path in the custom resource; `refuse` False means a warning that blocks nothing.

    `reason` is a `Reason` of this package, or the reason of a condition that another one decides.
    """

    field: str
    reason: str
    message: str
    refuse: bool = True


def problem(field: str, reason: Reason, **values: object) -> Problem:
    """Raises KeyError when a value that the text needs is missing: a test formats every text."""
    return Problem(field, reason, TEXTS[reason].format(field=field, **values), reason not in WARNINGS)
