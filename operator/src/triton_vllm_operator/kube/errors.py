"""What can go wrong in a call, in the words that the reconcile loop acts on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(eq=False)
class KubeError(Exception):
    """Base of all errors of this package. `reason` is a sentence for a log line or a condition."""

    reason: str

    def __str__(self) -> str:
        return self.reason


@dataclass(eq=False)
class Retry(KubeError):
    """Nobody's fault, try again. `after`: seconds that the server asked for, None for the queue's own backoff."""

    after: float | None = None


@dataclass(eq=False)
class Unauthorized(Retry):
    """401: the token expired or was rotated; it is read again before the next try."""


@dataclass(eq=False)
class Expired(Retry):
    """410: the resourceVersion of a watch or of a page is too old; list again."""


@dataclass(eq=False)
class Conflict(Retry):
    """409: somebody else wrote first, owns the field, or the precondition (uid, resourceVersion) does not hold."""


@dataclass(eq=False)
class NotLeader(Retry):
    """The lease is not ours, or was not renewed in time: the write was not sent."""


@dataclass(eq=False)
class Terminal(KubeError):
    """The same request will fail again: a human or a new spec has to change something."""


@dataclass(eq=False)
class NotFound(Terminal):
    """404: the object or its kind is not there (any more)."""


@dataclass(eq=False)
class Invalid(Terminal):
    """400, 405, 413, 415 or 422: the API server or a policy refused the content.

    And the 500 with which it answers a server-side apply that it cannot merge, such as a list with a key twice, or
    cannot read, such as a quantity that is none.
    """


@dataclass(eq=False)
class Forbidden(Retry):
    """403: a missing permission or a quota; or an admission webhook that does not answer.

    Retried, because a role, a quota or a webhook is mended without telling us.
    """


# Of Kubernetes' own messages; there is no reason code to go by.
_CONTENT = ("failed to create typed patch object", "unable to convert unstructured object")
_WEBHOOK = "failed calling webhook"


def from_status(code: int, message: str, retry_after: float | None = None) -> KubeError:
    """The error for an HTTP status above 399; `message` is the server's own text."""
    plain: dict[int, type[Retry | Terminal]] = {
        401: Unauthorized,
        403: Forbidden,
        404: NotFound,
        409: Conflict,
        410: Expired,
    }
    text = f"{message} (HTTP {code})"
    if code == 500 and any(words in message for words in _CONTENT):
        return Invalid(text)
    if code == 500 and _WEBHOOK in message:
        return Forbidden(text)
    if code in plain:
        return plain[code](text)
    if code == 429 or code >= 500:
        return Retry(text, retry_after)
    return Invalid(text)
