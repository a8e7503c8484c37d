"""A model in a repository of the Hugging Face Hub, read by range requests at one commit."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from huggingface_hub import HfApi, constants, get_session, get_token, hf_hub_url
from huggingface_hub import errors as hub_errors
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.inspect.model import InspectionError
from triton_vllm_operator.plan.inspection_protocol import Failure

READ_TIMEOUT_S = 8.0  # maximum time without any bytes
ATTEMPTS = 3
RETRY_PAUSE_S = 1.0  # in a pod's first second its network may not be ready
_LARGEST_CHUNK = 64 * 2**10
_TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")

T = TypeVar("T")


def endpoint() -> str:
    """URL of the hub."""
    return str(constants.ENDPOINT)


def own_token() -> str | None:
    """The access token as vLLM finds it: `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN`, the file of `HF_TOKEN_PATH`, else the
    token of `hf auth login`; None where there is none, or it cannot be read."""
    try:
        return get_token()
    except OSError:
        return None


@dataclass(frozen=True)
class HubRepository:
    """A repository at one commit. `token`: the access token, or None."""

    repository: str
    commit: str
    names: frozenset[str]
    token: str | None

    @classmethod
    def open(cls, repository: str, revision: str | None, token: str | None) -> HubRepository:
        """Resolve a revision to a commit; None is the default branch.

        Raises:
            InspectionError: the hub denies access, does not have the repository or revision, or is unreachable.
        """
        api = HfApi(token=token or False)
        with _hub_errors(repository, revision, token):
            about = _with_retries(lambda: api.model_info(repository, revision=revision, timeout=READ_TIMEOUT_S))
        names = frozenset(file.rfilename for file in about.siblings or () if "/" not in file.rfilename)
        return cls(repository, about.sha or "", names, token)

    def read(self, name: str, first: int, count: int) -> bytes:
        """See `ModelFiles.read`."""
        url = hf_hub_url(self.repository, name, revision=self.commit or None, endpoint=endpoint())
        headers = {**build_hf_headers(token=self.token or False), "Range": f"bytes={first}-{first + count - 1}"}
        headers["Accept-Encoding"] = "identity"  # a compressed response could unpack to any size
        with _hub_errors(self.repository, self.commit, self.token, name):
            return _with_retries(lambda: _read_range(url, headers, first, count))


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


def _read_range(url: str, headers: dict[str, str], first: int, count: int) -> bytes:
    with get_session().stream("GET", url, headers=headers, timeout=READ_TIMEOUT_S, follow_redirects=True) as response:
        if response.status_code == 416:  # the file ends before `first`
            return b""
        if response.status_code >= 400:
            response.read()
        hf_raise_for_status(response)
        skip = first if response.status_code == 200 else 0  # a server that ignores ranges sends the whole file
        content = bytearray()
        for chunk in response.iter_raw(_LARGEST_CHUNK):
            content += chunk
            if len(content) >= skip + count:
                break
        return bytes(content[skip : skip + count])


def _with_retries(request: Callable[[], T]) -> T:
    """Call `request`, and retry after errors that can pass within seconds."""
    for _ in range(ATTEMPTS - 1):
        try:
            return request()
        except (hub_errors.HfHubHTTPError, httpx2.TransportError) as error:
            if not _is_transient(error):
                raise
            time.sleep(RETRY_PAUSE_S)
    return request()


def _is_transient(error: Exception) -> bool:
    status = _status(error)
    return status is None or status == 429 or status >= 500


def _status(error: Exception) -> int | None:
    response: Any = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


@contextmanager
def _hub_errors(repository: str, revision: str | None, token: str | None, name: str = "") -> Iterator[None]:
    """Raise errors of the hub's client as InspectionError, with the failure to report."""
    try:
        yield
    except (hub_errors.HfHubHTTPError, httpx2.TransportError, OSError, ValueError) as error:
        raise InspectionError(_failure(error, repository, revision, token, name)) from error


def _failure(error: Exception, repository: str, revision: str | None, token: str | None, name: str) -> Failure:
    where, status = endpoint(), _status(error)
    if isinstance(error, hub_errors.GatedRepoError):
        return _gated(repository, token)
    if token and status in (401, 403):
        advice = f"Put a valid token into {_token_origin()}."
        return Failure(Reason.TOKEN_REFUSED, f"{where} rejected the token for {repository} (HTTP {status}). {advice}")
    if isinstance(error, hub_errors.RevisionNotFoundError):
        advice = "Correct spec.model.revision, or the part after @ in spec.model.uri."
        return Failure(Reason.REVISION_NOT_FOUND, f"{repository} has no branch, tag or commit {revision!r}. {advice}")
    if isinstance(error, hub_errors.EntryNotFoundError):
        return Failure(
            Reason.FILE_MISSING, f"{repository} lists {name}, but the file is missing. Upload the model again."
        )
    if isinstance(error, hub_errors.RepositoryNotFoundError) or status in (401, 404):
        if not token and (problem := _token_problem()):
            return _unreadable_token(f"{where} has no repository {repository}, or it is private", problem)
        advice = (
            "Correct spec.model.uri; for a private one, name a token that may read it in spec.model.tokenSecretRef."
        )
        return Failure(Reason.MODEL_NOT_FOUND, f"{where} has no repository {repository}, or it is private. {advice}")
    if isinstance(error, hub_errors.HFValidationError):
        return Failure(
            Reason.MODEL_NOT_FOUND, f"{repository} is not a valid repository name: {error}. Correct spec.model.uri."
        )
    why = f"HTTP {status}" if status else f"{type(error).__name__}: {error}"
    advice = "Check the hub, HF_ENDPOINT, proxies and network policies of the namespace."
    return Failure(Reason.HUB_UNREACHABLE, f"{where} did not answer for {repository}: {why[:300]}. {advice}")


def _gated(repository: str, token: str | None) -> Failure:
    page = f"{endpoint()}/{repository}"
    if token:
        advice = f"Accept its terms at {page} with the token's account, or use another token."
        return Failure(Reason.TOKEN_REFUSED, f"{repository} is gated, and the token has no access to it. {advice}")
    if problem := _token_problem():
        return _unreadable_token(f"{repository} is gated", problem)
    advice = f"Accept its terms at {page}, put a token of that account into a Secret and name that in "
    return Failure(
        Reason.MODEL_GATED, f"{repository} is gated, and no token is set. {advice}spec.model.tokenSecretRef."
    )


def _unreadable_token(what: str, problem: str) -> Failure:
    advice = "Correct it in spec.podTemplate, or use spec.model.tokenSecretRef."
    return Failure(Reason.TOKEN_UNREADABLE, f"{what}, and the token that was given cannot be read: {problem}. {advice}")


def _token_origin() -> str:
    """Where the token that `own_token` returns is set, in the words of the spec."""
    if os.environ.get("HF_TOKEN"):
        return "the Secret that spec.model.tokenSecretRef names, or into HF_TOKEN of spec.podTemplate"
    if os.environ.get("HUGGING_FACE_HUB_TOKEN"):
        return "HUGGING_FACE_HUB_TOKEN of spec.podTemplate"
    return f"the file {constants.HF_TOKEN_PATH}"


def _token_problem() -> str:
    """Why a token that the environment gives cannot be used; "" where it gives none."""
    if path := os.environ.get("HF_TOKEN_PATH"):
        try:
            return "" if Path(constants.HF_TOKEN_PATH).read_text().strip() else f"the file {path} is empty"
        except (OSError, ValueError) as error:
            return f"HF_TOKEN_PATH is {path}: {getattr(error, 'strerror', None) or error}"
    empty = [name for name in _TOKEN_VARIABLES if name in os.environ and not os.environ[name].strip()]
    return f"{empty[0]} is empty" if empty else ""
