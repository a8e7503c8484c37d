"""A model in a repository of the Hugging Face hub: the commit is resolved once, then only parts of files are read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2
from huggingface_hub import HfApi, constants, get_session, get_token, hf_hub_url
from huggingface_hub import errors as hub_errors
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.inspect.model import Unreadable
from triton_vllm_operator.plan.inspection_protocol import Failure

SILENCE_S = 8.0  # longest wait for the next bytes
TRIES = 3
PAUSE_S = 1.0  # a pod's network may not be ready in its first second
_LARGEST_CHUNK = 64 * 2**10

T = TypeVar("T")


def endpoint() -> str:
    """Address of the hub."""
    return str(constants.ENDPOINT)


def own_token() -> str | None:
    """The token of whoever runs this: HF_TOKEN, else that of `hf auth login`."""
    return get_token()


@dataclass(frozen=True)
class Hub:
    """One repository at one commit. `token`: the user's, or None."""

    repository: str
    commit: str
    names: frozenset[str]
    token: str | None

    @classmethod
    def open(cls, repository: str, revision: str | None, token: str | None) -> Hub:
        """Resolve the revision (None: the default branch) to a commit. Errors: Unreadable."""
        api = HfApi(token=token or False)
        with _told(repository, revision, token):
            about = _patiently(lambda: api.model_info(repository, revision=revision, timeout=SILENCE_S))
        names = frozenset(file.rfilename for file in about.siblings or () if "/" not in file.rfilename)
        return cls(repository, about.sha or "", names, token)

    def read(self, name: str, first: int, count: int) -> bytes:
        """See `model.Source`."""
        url = hf_hub_url(self.repository, name, revision=self.commit or None, endpoint=endpoint())
        headers = {**build_hf_headers(token=self.token or False), "Range": f"bytes={first}-{first + count - 1}"}
        headers["Accept-Encoding"] = "identity"  # a compressed answer could unpack to any size
        with _told(self.repository, self.commit, self.token, name):
            return _patiently(lambda: _part(url, headers, first, count))


def no_answer(repository: str, seconds: float) -> Failure:
    """The failure to report when the hub has not resolved the revision in time."""
    advice = "Check the hub, HF_ENDPOINT, proxies, DNS and network policies of the namespace."
    return Failure(
        Reason.HUB_UNREACHABLE, f"{endpoint()} has not answered for {repository} within {seconds:.0f} s. {advice}"
    )


def too_slow(repository: str, seconds: float) -> Failure:
    """The failure to report when the hub has not sent all headers in time."""
    text = f"The hub did not send the headers of {repository} within {seconds:.0f} s."
    advice = "The operator tries again; check the hub and the network if this persists."
    return Failure(Reason.HUB_UNREACHABLE, f"{text} {advice}")


def _part(url: str, headers: dict[str, str], first: int, count: int) -> bytes:
    with get_session().stream("GET", url, headers=headers, timeout=SILENCE_S, follow_redirects=True) as response:
        if response.status_code == 416:  # the file ends before `first`
            return b""
        if response.status_code >= 400:
            response.read()
        hf_raise_for_status(response)
        skip = first if response.status_code == 200 else 0  # a server that ignores ranges sends the file from its start
        content = bytearray()
        for chunk in response.iter_raw(_LARGEST_CHUNK):
            content += chunk
            if len(content) >= skip + count:
                break
        return bytes(content[skip : skip + count])


def _patiently(ask: Callable[[], T]) -> T:
    """Ask again after what may pass within seconds."""
    for _ in range(TRIES - 1):
        try:
            return ask()
        except (hub_errors.HfHubHTTPError, httpx2.TransportError) as error:
            if not _passing(error):
                raise
            time.sleep(PAUSE_S)
    return ask()


def _passing(error: Exception) -> bool:
    status = _status(error)
    return status is None or status == 429 or status >= 500


def _status(error: Exception) -> int | None:
    response: Any = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


@contextmanager
def _told(repository: str, revision: str | None, token: str | None, name: str = "") -> Iterator[None]:
    """Turns what the hub answers into the failure to tell."""
    try:
        yield
    except (hub_errors.HfHubHTTPError, httpx2.TransportError, OSError, ValueError) as error:
        raise Unreadable(_failure(error, repository, revision, token, name)) from error


def _failure(error: Exception, repository: str, revision: str | None, token: str | None, name: str) -> Failure:
    where, status = endpoint(), _status(error)
    if isinstance(error, hub_errors.GatedRepoError):
        return _gated(repository, token)
    if token and status in (401, 403):
        advice = "Put a valid token into the Secret that spec.model.tokenSecretRef names."
        return Failure(Reason.TOKEN_REFUSED, f"{where} refuses the token for {repository} (HTTP {status}). {advice}")
    if isinstance(error, hub_errors.RevisionNotFoundError):
        advice = "Correct spec.model.revision, or the part after @ in spec.model.uri."
        return Failure(Reason.REVISION_NOT_FOUND, f"{repository} has no branch, tag or commit {revision!r}. {advice}")
    if isinstance(error, hub_errors.EntryNotFoundError):
        return Failure(Reason.FILE_MISSING, f"{repository} lists {name} but does not have it. Upload the model again.")
    if isinstance(error, hub_errors.RepositoryNotFoundError) or status in (401, 404):
        advice = (
            "Correct spec.model.uri; for a private one, name a token that may read it in spec.model.tokenSecretRef."
        )
        return Failure(Reason.MODEL_NOT_FOUND, f"{where} has no model {repository}, or it is private. {advice}")
    if isinstance(error, hub_errors.HFValidationError):
        return Failure(
            Reason.MODEL_NOT_FOUND, f"{repository} is no name of a repository: {error}. Correct spec.model.uri."
        )
    why = f"HTTP {status}" if status else f"{type(error).__name__}: {error}"
    advice = "Check the hub, HF_ENDPOINT, proxies and network policies of the namespace."
    return Failure(Reason.HUB_UNREACHABLE, f"{where} does not answer for {repository}: {why[:300]}. {advice}")


def _gated(repository: str, token: str | None) -> Failure:
    page = f"{endpoint()}/{repository}"
    if token:
        advice = f"Accept its terms at {page} with the account of the token, or use another token."
        return Failure(Reason.TOKEN_REFUSED, f"{repository} is gated and the given token does not open it. {advice}")
    advice = f"Accept its terms at {page}, put a token of that account into a Secret and name that in "
    return Failure(
        Reason.MODEL_GATED, f"{repository} is gated and no token was given. {advice}spec.model.tokenSecretRef."
    )
