"""What is wrong with a spec, in the words that admission, status and the command line show."""

from dataclasses import dataclass

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog.messages import MESSAGES, WARNINGS


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that a field of the spec breaks.

    Attributes:
        field: path in the custom resource.
        reason: why, in one CamelCase word.
        message: what is wrong and what to do.
        rejects: whether the spec is rejected; False for a warning.
    """

    field: str
    reason: Reason
    message: str
    rejects: bool = True


def violation(field: str, reason: Reason, **values: object) -> Violation:
    """The violation of `field` with the message of `reason`; `values` fill the message's placeholders.

    Raises:
        KeyError: when a value that the message needs is missing: a test formats every message.
    """
    return Violation(field, reason, MESSAGES[reason].format(field=field, **values), reason not in WARNINGS)
