"""AdmissionReview in, AdmissionReview out: `admission.k8s.io/v1` over HTTP, and the limits of a request.

Anyone who reaches the port can send requests: nothing of them is kept, and their cost is bounded. Nothing is written: a
dry run gets the same response as any other request. Where there is no response in time, or an error, the object is
allowed with a warning; the reconcile then reports the same in the conditions.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from triton_vllm_operator.api import names
from triton_vllm_operator.api.kinds import Object
from triton_vllm_operator.webhook.response import AdmissionResponse, not_checked, response_of

log = logging.getLogger(__name__)

API_VERSION = "admission.k8s.io/v1"
PATH = "/validate"
MAX_BYTES = 2**20  # an object and its former state, a hundred times the usual size
MAX_CONCURRENT = 16  # requests that are reviewed at the same time; the next ones wait
ANSWER_S = 2.0  # the API server waits 3 s (timeoutSeconds in the chart)
_WARNING_LENGTH = 4000  # of all warnings together: above 4,096 the API server cuts each one to 256

Observe = Callable[[str, float], None]


class BadReview(ValueError):
    """The body is not an AdmissionReview that this server can answer."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is about to be stored. Name, namespace and uid are in the objects even where only the review has them."""

    new: Object
    old: Object | None


@dataclass(frozen=True, slots=True)
class AdmissionRequest:
    """A request. `change` is None where there is nothing to review: a subresource, another kind, a deletion."""

    uid: str
    change: Change | None = None


ReviewChange = Callable[[Change], Awaitable[AdmissionResponse]]


def parse(body: bytes) -> AdmissionRequest:
    """The request in the body of an AdmissionReview. Raises BadReview."""
    request = _request(body)
    uid = request.get("uid")
    if not isinstance(uid, str) or not uid:
        raise BadReview("request.uid is missing")
    about = _object(request, "resource")
    ours = (about.get("group"), about.get("resource")) == (names.GROUP, names.PLURAL)
    if not ours or request.get("subResource") or request.get("operation") not in ("CREATE", "UPDATE"):
        return AdmissionRequest(uid)
    identity = {key: request[key] for key in ("name", "namespace") if isinstance(request.get(key), str)}
    new = _named(_object(request, "object"), {"name": "", "namespace": "", "uid": "", **identity})
    update = request["operation"] == "UPDATE"
    return AdmissionRequest(
        uid, Change(new, _named(_object(request, "oldObject"), new["metadata"]) if update else None)
    )


def _request(body: bytes) -> Object:
    try:
        review = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadReview(f"the body is not JSON: {str(error)[:200]}") from None
    kind = (review.get("apiVersion"), review.get("kind")) if isinstance(review, dict) else None
    if kind != (API_VERSION, "AdmissionReview"):
        raise BadReview(f"the body is not an AdmissionReview of {API_VERSION}")
    return _object(review, "request")


def _object(holder: Object, key: str) -> Object:
    found = holder.get(key)
    if not isinstance(found, dict):
        raise BadReview(f"{key} is missing or not an object")
    return found


def _named(obj: Object, identity: Object) -> Object:
    return {**obj, "metadata": {**identity, **_object(obj, "metadata")}}


def answer(uid: str, response: AdmissionResponse) -> Object:
    """The AdmissionReview with the response."""
    body: Object = {"uid": uid, "allowed": response.allowed}
    if response.rejected is not None:
        message = f"{response.rejected.reason}: {response.rejected.message}"
        body["status"] = {"code": 422, "reason": "Invalid", "message": message}
    if warnings := _headers(response.warnings):
        body["warnings"] = warnings
    return {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": body}


def _headers(warnings: tuple[str, ...]) -> list[str]:
    """They become HTTP headers: one line each, no control characters. The status has what exceeds the limit."""
    lines: list[str] = []
    left = _WARNING_LENGTH
    for warning in warnings:
        line = " ".join("".join(c if c.isprintable() else " " for c in warning).split())
        left -= len(line.encode())
        if left < 0:
            break
        lines.append(line)
    return lines


@dataclass
class AdmissionHandler:
    """Responds to admission requests. `observe` gets (result, seconds) of each; results: allowed, warned, refused,
    unchecked, malformed."""

    review: ReviewChange
    observe: Observe
    answer_s: float = ANSWER_S
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_CONCURRENT))
    _logged: set[str] = field(default_factory=set)  # types of exceptions whose traceback the log has already

    def application(self) -> web.Application:
        """The web application with its one path."""
        app = web.Application(client_max_size=MAX_BYTES)
        app.router.add_post(PATH, self._handle)
        return app

    async def _handle(self, http: web.Request) -> web.Response:
        began = time.monotonic()
        result = "malformed"
        try:
            async with self._slots:
                request = parse(await self._body(http))
                response, result = await self._respond(request.change)
            return web.json_response(answer(request.uid, response))
        except BadReview as error:
            return web.Response(status=400, text=f"{error}\n")
        finally:
            self.observe(result, time.monotonic() - began)

    async def _body(self, http: web.Request) -> bytes:
        try:
            async with asyncio.timeout(self.answer_s):
                return await http.read()
        except TimeoutError:
            raise BadReview(f"the body did not arrive within {self.answer_s:g} s") from None

    async def _respond(self, change: Change | None) -> tuple[AdmissionResponse, str]:
        if change is None:
            return AdmissionResponse(), "allowed"
        try:
            async with asyncio.timeout(self.answer_s):
                response = await self.review(change)
        except TimeoutError:
            problem = not_checked(f"the review timed out after {self.answer_s:g} s")
            return response_of([problem]), "unchecked"
        except Exception as error:
            kind = type(error).__name__
            new = kind not in self._logged
            log.error("internal error in a review; please report it: %s: %s", kind, error, exc_info=new)
            self._logged.add(kind)
            return response_of([not_checked("internal error of the operator, see its log")]), "unchecked"
        if response.rejected is not None:
            return response, "refused"
        return response, "warned" if response.warnings else "allowed"
