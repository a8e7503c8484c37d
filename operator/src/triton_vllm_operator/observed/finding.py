"""One cause that keeps an LLMDeployment from being ready."""

from dataclasses import dataclass

from triton_vllm_operator.api.reasons import Kind, Reason
from triton_vllm_operator.observed.observation import Observation
from triton_vllm_operator.observed.pods import seconds_between

_MESSAGE_LIMIT = 2000


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause.

    Attributes:
        message: what is wrong and what to do.
        overdue: it has lasted longer than it takes to go away by itself, so the user has to act.
        due_s: seconds until it is overdue; None: never, or the time is not known.
    """

    reason: Reason
    message: str
    overdue: bool = False
    due_s: float | None = None

    @property
    def stalled(self) -> bool:
        """Whether nothing changes until the user acts."""
        return self.overdue or self.reason.kind is Kind.STALLED

    @property
    def progressing(self) -> bool:
        """Whether it is expected to go away by itself."""
        return self.reason.kind is Kind.PROGRESSING and not self.overdue


def temporary(seen: Observation, reason: Reason, message: str, advice: str, since: str, limit_s: float) -> Finding:
    """Return a finding that is progress for a time, as of the time of the observation."""
    return lasting(seen.now, reason, message, advice, since, limit_s)


def lasting(now: str, reason: Reason, message: str, advice: str, since: str, limit_s: float) -> Finding:
    """Return a finding that is progress for `limit_s` seconds from the RFC 3339 time `since`, and Stalled after that.

    Args:
        now: RFC 3339 time.
        advice: what to do; added to the message when it is Stalled.
    """
    passed = seconds_between(since, now)
    if passed > limit_s:
        minutes = "a minute" if limit_s == 60 else f"{limit_s / 60:.0f} minutes"
        return Finding(reason, f"{message} This has lasted more than {minutes}. {advice}".rstrip(), True)
    known = bool(since and now)
    return Finding(reason, message, due_s=limit_s - passed + 1 if known else None)


def one_line(text: str) -> str:
    """One line of a text from elsewhere, at most 2,000 characters, ending with a full stop."""
    line = " ".join(text.split())[-_MESSAGE_LIMIT:].rstrip(". ")
    return f"{line}." if line else ""
