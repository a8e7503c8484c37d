"""One finding about what the user wrote, in the words that admission, status and command line all show."""

from dataclasses import dataclass

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog.messages import TEXTS, WARNINGS


@dataclass(frozen=True, slots=True)
class Problem:
    """`field` is the path in the custom resource; `refuse` False means a warning that blocks nothing."""

    field: str
    reason: Reason
    message: str
    refuse: bool = True


def problem(field: str, reason: Reason, **values: object) -> Problem:
    """Raises KeyError when a value that the text needs is missing: a test formats every text."""
    return Problem(field, reason, TEXTS[reason].format(field=field, **values), reason not in WARNINGS)
