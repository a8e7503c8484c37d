"""What goes in and out of the webhook's port: reviews, and everything that is none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.desired.samples import resource
from triton_vllm_operator import http_server
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.plan.validation import Rejected
from triton_vllm_operator.webhook.handler import (
    MAX_BYTES,
    MAX_CONCURRENT,
    PATH,
    AdmissionHandler,
    AdmissionRequest,
    BadReview,
    Change,
    ReviewChange,
    answer,
    parse,
)
from triton_vllm_operator.webhook.response import AdmissionResponse

Object = dict[str, Any]
WHAT = {"group": "serving.triton-vllm.dev", "version": "v1alpha1", "resource": "llmdeployments"}


def review(operation: str = "CREATE", **more: Any) -> Object:
    obj = resource("a", {"model": {"uri": "hf://org/model"}})
    request = {"uid": "1", "resource": WHAT, "operation": operation, "object": obj, "namespace": "team", "name": "a"}
    if operation == "UPDATE":
        request["oldObject"] = obj
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {**request, **more}}


def body(obj: Any) -> bytes:
    return json.dumps(obj).encode()


def change_of(obj: Object) -> Change:
    found = parse(body(obj)).change
    assert found is not None
    return found


def test_a_review_carries_the_object_and_the_one_before() -> None:
    created, updated = change_of(review()), change_of(review("UPDATE"))
    assert created.new["metadata"]["name"] == "a"
    assert created.old is None
    assert updated.old == updated.new


def test_an_object_without_identity_gets_that_of_the_review() -> None:
    bare = {"apiVersion": "x/v1", "kind": "X", "metadata": {}, "spec": {}}
    assert change_of(review(object=bare)).new["metadata"] == {"name": "a", "namespace": "team", "uid": ""}


@pytest.mark.parametrize(
    "more",
    [{"subResource": "status"}, {"operation": "DELETE"}, {"operation": "CONNECT"}, {"resource": {"resource": "pods"}}],
)
def test_what_is_not_about_a_spec_is_not_judged(more: Object) -> None:
    asked = review()
    asked["request"].update(more)
    assert parse(body(asked)) == AdmissionRequest("1")


NO_REVIEWS: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "a number": b"7",
    "another version": body({**review(), "apiVersion": "admission.k8s.io/v1beta1"}),
    "another kind": body({**review(), "kind": "Pod"}),
    "no request": body({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}),
    "a request that is a text": body({**review(), "request": "x"}),
    "no uid": body(review(uid="")),
    "a uid that is a number": body(review(uid=1)),
    "no resource": body(review(resource=None)),
    "no object": body(review(object=None)),
    "an object that is a list": body(review(object=[])),
    "no metadata": body(review(object={"spec": {}})),
    "no former object": body(review("UPDATE", oldObject=None)),
    "not UTF-8": b'{"a": "\xff"}',
    "too deep": b"[" * 100_000,
    "a number without end": b'{"a": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("what", NO_REVIEWS)
def test_what_is_no_review_is_told_so(what: str) -> None:
    with pytest.raises(BadReview):
        parse(NO_REVIEWS[what])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["uid", "object", "a"]), inner),
)


@given(request=st.dictionaries(st.sampled_from(sorted(review("UPDATE")["request"])), JSON))
def test_no_request_breaks_the_reader(request: Object) -> None:
    with suppress(BadReview):
        parse(body({**review(), "request": {**review("UPDATE")["request"], **request}}))


# ------------------------------------------------------------------------------------------------- the answer


def test_a_refusal_is_told_with_its_reason_as_an_invalid_object() -> None:
    response = answer("1", AdmissionResponse(Rejected(Reason.FLAG_OWNED, "Leave it out."), ("Tight: x",)))["response"]
    assert response["allowed"] is False
    assert response["status"] == {"code": 422, "reason": "Invalid", "message": "FlagOwned: Leave it out."}
    assert response["warnings"] == ["Tight: x"]


def test_a_good_object_gets_the_shortest_answer() -> None:
    assert answer("1", AdmissionResponse())["response"] == {"uid": "1", "allowed": True}


def test_warnings_become_headers_so_they_are_one_line_each_and_not_too_many() -> None:
    lines = answer("1", AdmissionResponse(warnings=("a\nb\x07\r\n\ud800c", *(f"{n} {'x' * 900}" for n in range(9)))))
    warnings = lines["response"]["warnings"]
    assert warnings[0] == "a b c"
    assert len(warnings) == 5
    assert sum(len(one) for one in warnings) < 4096


# --------------------------------------------------------------------------------------------------- the port

Ask = Callable[..., Any]


@asynccontextmanager
async def asked(decide: ReviewChange, answer_s: float = 2.0) -> AsyncIterator[tuple[Ask, list[str]]]:
    """A server, how to ask it, and the results that it has counted."""
    results: list[str] = []
    admission = AdmissionHandler(decide, lambda result, _: results.append(result), answer_s)
    runner, port = await http_server.listen(admission.application(), "127.0.0.1", 0)
    async with aiohttp.ClientSession() as session:

        async def ask(data: Any, path: str = PATH) -> tuple[int, str]:
            async with session.post(f"http://127.0.0.1:{port}{path}", data=data) as got:
                return got.status, await got.text()

        yield ask, results
    await runner.cleanup()


async def yes(_: Change) -> AdmissionResponse:
    return AdmissionResponse()


async def test_every_body_gets_an_answer_that_is_no_500() -> None:
    async with asked(yes) as (ask, results):
        for data in NO_REVIEWS.values():
            status, text = await ask(data)
            assert (status, text.strip() != "") == (400, True)
        assert (await ask(body(review())))[0] == 200
        assert (await ask(b"x" * (MAX_BYTES + 1)))[0] == 413
        assert (await ask(b"", "/other"))[0] == 404
    assert results == ["malformed"] * len(NO_REVIEWS) + ["allowed", "malformed"]


async def test_a_body_that_never_ends_does_not_keep_others_out() -> None:
    async def dripping() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    async with asked(yes, answer_s=0.2) as (ask, results):
        held = [asyncio.ensure_future(ask(dripping())) for _ in range(MAX_CONCURRENT)]
        await asyncio.sleep(0.1)
        assert (await ask(body(review())))[0] == 200
        assert results.count("malformed") >= 1
        for task in held:
            task.cancel()


async def test_a_defect_lets_the_object_pass_and_says_so() -> None:
    async def broken(_: Change) -> AdmissionResponse:
        raise KeyError("defect")

    async with asked(broken) as (ask, results):
        status, text = await ask(body(review()))
    response = json.loads(text)["response"]
    assert (status, response["allowed"], results) == (200, True, ["unchecked"])
    assert "stored without a check" in response["warnings"][0]


async def test_an_answer_that_takes_too_long_is_not_waited_for() -> None:
    async def slow(_: Change) -> AdmissionResponse:
        await asyncio.sleep(60)
        return AdmissionResponse()

    async with asked(slow, answer_s=0.05) as (ask, results):
        response = json.loads((await ask(body(review())))[1])["response"]
    assert (response["allowed"], results) == (True, ["unchecked"])
    assert "timed out after 0.05 s" in response["warnings"][0]
