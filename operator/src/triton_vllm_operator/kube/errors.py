"""The errors of a call to the API server, by what the reconcile loop does about them."""

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
    """A transient error. `after`: seconds of the Retry-After header; None for the queue's own backoff."""

    after: float | None = None


@dataclass(eq=False)
class Unauthorized(Retry):
    """401: the token expired or was rotated; it is read again before the next try."""


@dataclass(eq=False)
class Expired(Retry):
    """410: the resourceVersion of a watch or of a page is too old."""


@dataclass(eq=False)
class Conflict(Retry):
    """409: another writer was first, owns the field, or the precondition (uid, resourceVersion) does not hold."""


@dataclass(eq=False)
class NotLeader(Retry):
    """The lease is not held, or was not renewed in time: the write was not sent."""


@dataclass(eq=False)
class Terminal(KubeError):
    """The same request will fail again, until a user or a new spec changes something."""


@dataclass(eq=False)
class NotFound(Terminal):
    """404: the object or its kind does not exist."""


@dataclass(eq=False)
class Invalid(Terminal):
    """400, 405, 413, 415 or 422: the API server or a policy rejected the content.

    And the 500 for a server-side apply that it cannot merge, such as a list with a duplicate key, or cannot read, such
    as an invalid quantity.
    """


@dataclass(eq=False)
class Forbidden(Retry):
    """403: a missing permission or a quota; or an admission webhook that does not respond.

    Retried, because there is no event when a role, a quota or a webhook is fixed.
    """


# From Kubernetes' own messages: there is no reason code.
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
