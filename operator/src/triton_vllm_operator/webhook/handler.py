"""AdmissionReview in, AdmissionReview out: `admission.k8s.io/v1` over HTTP, and how its answer is found.

Anybody who reaches the port can ask: nothing of a review is remembered, and what it may cost is bounded. Nothing here
writes: a dry run is answered as any other request. An answer that cannot be found in time, or not at all, lets the
object pass with a warning; the reconcile then says the same in the conditions.
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
from triton_vllm_operator.webhook.verdict import Verdict, not_checked, verdict_of

log = logging.getLogger(__name__)

API_VERSION = "admission.k8s.io/v1"
PATH = "/validate"
MAX_BYTES = 2**20  # an object and its former state, a hundred times of what people write
AT_ONCE = 16  # reviews that are read and judged at the same time; the next ones wait
ANSWER_S = 2.0  # the API server waits 3 s (timeoutSeconds in the chart)
_WARNING_LENGTH = 4000  # of all warnings together: above 4,096 the API server cuts each one to 256

Observe = Callable[[str, float], None]


class BadReview(ValueError):
    """The body is no review that this server can answer."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is about to be stored. Name, namespace and uid are in the objects even where only the review has them."""

    new: Object
    old: Object | None


@dataclass(frozen=True, slots=True)
class Review:
    """A question. `change` is None where there is nothing to judge: a subresource, another kind, a deletion."""

    uid: str
    change: Change | None = None


Decide = Callable[[Change], Awaitable[Verdict]]


def parse(body: bytes) -> Review:
    """Errors: BadReview."""
    request = _request(body)
    uid = request.get("uid")
    if not isinstance(uid, str) or not uid:
        raise BadReview("request.uid is missing")
    about = _object(request, "resource")
    ours = (about.get("group"), about.get("resource")) == (names.GROUP, names.PLURAL)
    if not ours or request.get("subResource") or request.get("operation") not in ("CREATE", "UPDATE"):
        return Review(uid)
    identity = {key: request[key] for key in ("name", "namespace") if isinstance(request.get(key), str)}
    new = _named(_object(request, "object"), {"name": "", "namespace": "", "uid": "", **identity})
    update = request["operation"] == "UPDATE"
    return Review(uid, Change(new, _named(_object(request, "oldObject"), new["metadata"]) if update else None))


def _request(body: bytes) -> Object:
    try:
        review = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadReview(f"the body is not JSON: {str(error)[:200]}") from None
    kind = (review.get("apiVersion"), review.get("kind")) if isinstance(review, dict) else None
    if kind != (API_VERSION, "AdmissionReview"):
        raise BadReview(f"the body is no AdmissionReview of {API_VERSION}")
    return _object(review, "request")


def _object(holder: Object, key: str) -> Object:
    found = holder.get(key)
    if not isinstance(found, dict):
        raise BadReview(f"{key} is missing or no object")
    return found


def _named(obj: Object, identity: Object) -> Object:
    return {**obj, "metadata": {**identity, **_object(obj, "metadata")}}


def answer(uid: str, verdict: Verdict) -> Object:
    """The review that goes back."""
    response: Object = {"uid": uid, "allowed": verdict.allowed}
    if verdict.refusal is not None:
        message = f"{verdict.refusal.reason}: {verdict.refusal.message}"
        response["status"] = {"code": 422, "reason": "Invalid", "message": message}
    if warnings := _fitting(verdict.warnings):
        response["warnings"] = warnings
    return {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}


def _fitting(warnings: tuple[str, ...]) -> list[str]:
    """They become HTTP headers: one line each, no control characters. What is too much is left to the status."""
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
class Admission:
    """Answers reviews. `observe` gets (result, seconds) of each; results: allowed, warned, refused, unchecked,
    malformed."""

    decide: Decide
    observe: Observe
    answer_s: float = ANSWER_S
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _defects: set[str] = field(default_factory=set)  # kinds of exceptions that the log has in full already

    def application(self) -> web.Application:
        """The web application with its one path."""
        app = web.Application(client_max_size=MAX_BYTES)
        app.router.add_post(PATH, self._handle)
        return app

    async def _handle(self, http: web.Request) -> web.Response:
        began = time.monotonic()
        result = "malformed"
        try:
            async with self._room:
                review = parse(await self._body(http))
                verdict, result = await self._judge(review.change)
            return web.json_response(answer(review.uid, verdict))
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

    async def _judge(self, change: Change | None) -> tuple[Verdict, str]:
        if change is None:
            return Verdict(), "allowed"
        try:
            async with asyncio.timeout(self.answer_s):
                verdict = await self.decide(change)
        except TimeoutError:
            return verdict_of([not_checked(f"there was no answer within {self.answer_s:g} s")]), "unchecked"
        except Exception as error:
            kind = type(error).__name__
            log.error("a defect in a review; please report it: %s: %s", kind, error, exc_info=kind not in self._defects)
            self._defects.add(kind)
            return verdict_of([not_checked("the operator has a defect, which is in its log")]), "unchecked"
        if verdict.refusal is not None:
            return verdict, "refused"
        return verdict, "warned" if verdict.warnings else "allowed"
