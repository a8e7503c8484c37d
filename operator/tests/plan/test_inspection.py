"""What inspection pods say, and what their state means: decided by the live pods alone."""

from __future__ import annotations

import base64
import json
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.desired.samples import resource
from tests.inspect.files import shape
from triton_vllm_operator.api import names
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.capacity import ModelShape, ShapeError
from triton_vllm_operator.desired.inputs import Defaults
from triton_vllm_operator.desired.inspect_pod import inspect_pod
from triton_vllm_operator.plan import inspection
from triton_vllm_operator.plan.inspection import InspectionStep, next_step
from triton_vllm_operator.plan.inspection_protocol import (
    FORMAT,
    MESSAGE_BYTES,
    Failure,
    InspectedModel,
    decode_result,
    encode_result,
)
from triton_vllm_operator.plan.model_status import model_from_status, model_status

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
GATED = Failure(Reason.MODEL_GATED, "Give a token.")


def llm(**spec: Any) -> LLMDeployment:
    return LLMDeployment.parse(resource("llama", {"model": {"uri": "hf://org/model"}, **spec}))


def wanted(**spec: Any) -> dict[str, Any]:
    return inspect_pod(llm(**spec), "operator:1", "", Defaults())


def pod(number: int = 0, status: dict[str, Any] | None = None, **meta: Any) -> dict[str, Any]:
    """A live pod of an attempt, made a minute ago."""
    made = inspection.with_attempt(wanted(), number)
    times = {"creationTimestamp": _before(60), "uid": f"u{number}"}
    return made | {"metadata": made["metadata"] | times | meta, "status": status or {"phase": "Running"}}


def ended(message: str, seconds_ago: float = 1, **more: Any) -> dict[str, Any]:
    terminated = {"message": message, "finishedAt": _before(seconds_ago), "exitCode": 1, "reason": "Error", **more}
    state = {"name": names.INSPECTION_CONTAINER, "state": {"terminated": terminated}}
    return {"phase": "Failed", "containerStatuses": [state]}


def _before(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def looked(*pods: dict[str, Any]) -> InspectionStep:
    return next_step(wanted(), pods, "7f1f5ab5-34b2-4d0c-8d6f-8c3b3a3d2f10", NOW)


def names_of(pods: Any) -> list[str]:
    return [one["metadata"]["name"] for one in pods]


# ------------------------------------------------------------------------------------------------- messages


def deep_model(layers: int) -> ModelShape:
    """A model in which every other layer differs from its neighbour, and every tenth is of a kind of its own."""
    one = shape().to_json()["layers"][0]
    body = shape().to_json()
    body["layers"] = [
        {
            **one,
            "count": 1,
            "caches": [{**one["caches"][0], "window": (4096 if i % 2 else 0) + (i if i % 10 == 0 else 0)}],
        }
        for i in range(layers)
    ]
    return ModelShape.from_json(body)


@pytest.mark.parametrize("layers", [2, 62, 126, 200])
def test_a_deep_model_fits_a_termination_message_and_comes_back_whole(layers: int) -> None:
    result = InspectedModel("0" * 40, deep_model(layers))
    message = encode_result(result)
    assert len(message) <= MESSAGE_BYTES
    assert decode_result(message) == result


def test_a_shape_that_no_message_holds_is_said_to_be_too_large() -> None:
    body = shape().to_json()
    one = body["layers"][0]
    body["layers"] = [
        {**one, "count": 1, "weights": [{**one["weights"][0], "sizeBytes": (i * 7919**3) % 2**40}]}
        for i in range(1, 900)
    ]
    result = decode_result(encode_result(InspectedModel("", ModelShape.from_json(body))))
    assert isinstance(result, Failure)
    assert (result.reason, result.definite) == ("ShapeTooLarge", False)


@pytest.mark.parametrize("reason", ["FromTheFuture", "", 7, None, [], {}])
def test_a_reason_that_is_not_registered_is_not_an_answer(reason: Any) -> None:
    with pytest.raises(ShapeError) as error:
        decode_result(json.dumps({"format": FORMAT, "reason": reason, "message": "x"}))
    assert error.value.reason is Reason.INSPECTION_UNREADABLE


@given(st.text(max_size=5000), st.sampled_from(Reason))
def test_any_failure_fits_and_is_one_printable_line(message: str, reason: Reason) -> None:
    text = encode_result(Failure(reason, message))
    assert len(text) <= MESSAGE_BYTES
    result = decode_result(text)
    assert isinstance(result, Failure)
    assert result.message.isprintable()


def _bomb() -> str:
    packed = base64.b64encode(zlib.compress(b" " * 2**21, 9)).decode()
    return json.dumps({"format": FORMAT, "shape": packed})


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "[]",
        "Traceback ...",
        '{"format":"other"}',
        json.dumps({"format": FORMAT, "shape": "!"}),
        _bomb(),
    ],
)
def test_what_no_inspection_wrote_is_an_error(message: str) -> None:
    with pytest.raises(ShapeError):
        decode_result(message)


# ----------------------------------------------------------------------------------------------------- pods


def test_the_first_look_makes_the_pod() -> None:
    found = looked()
    assert found.create is not None
    assert found.create["metadata"]["name"] == f"{wanted()['metadata']['name']}-0"
    assert found.result is None


def test_a_running_pod_is_waited_for() -> None:
    assert looked(pod()) == InspectionStep(pod=pod(), age_s=60.0)


def test_a_resolved_model_is_read() -> None:
    result = InspectedModel("c" * 40, shape())
    assert looked(pod(status=ended(encode_result(result)))) == InspectionStep(result=result)


def test_a_sidecar_that_goes_on_does_not_hide_the_answer() -> None:
    status = ended(encode_result(GATED)) | {"phase": "Running"}
    assert looked(pod(status=status)).result == GATED


@pytest.mark.parametrize(("number", "pause"), [(0, 10), (1, 20), (4, 160), (5, 300), (40, 300)])
def test_a_failure_is_tried_again_after_growing_pauses(number: int, pause: float) -> None:
    early = looked(pod(number, ended(encode_result(GATED), pause - 4)))
    assert (early.result, early.create, early.retry_s) == (GATED, None, 4.0)
    due = looked(pod(number, ended(encode_result(GATED), pause)))
    assert due.create is not None
    assert inspection.attempt(due.create) == number + 1
    assert due.result == GATED, "the failure stands until it is proven wrong"


def test_what_only_a_new_commit_cures_is_looked_at_once_an_hour() -> None:
    result = encode_result(Failure(Reason.CONFIG_NOT_JSON, "no"))
    assert looked(pod(20, ended(result, 3000))).retry_s == 600.0


def test_the_newest_attempt_counts_and_the_older_ones_go() -> None:
    found = looked(pod(0, ended(encode_result(GATED), 99)), pod(1))
    assert found.pod == pod(1)
    assert names_of(found.delete) == [pod(0)["metadata"]["name"]]


def test_a_pod_that_reads_something_else_goes() -> None:
    other = inspection.with_attempt(wanted(model={"uri": "hf://org/other"}), 0)
    found = looked(other)
    assert names_of(found.delete) == [other["metadata"]["name"]]
    assert found.create is not None


def test_a_pod_of_a_former_namesake_says_nothing() -> None:
    foreign = pod(status=ended(encode_result(GATED)), ownerReferences=[{"uid": "other"}])
    found = looked(foreign)
    assert found.result is None
    assert names_of(found.delete) == [foreign["metadata"]["name"]]


def test_a_pod_that_somebody_deletes_is_followed_by_the_next() -> None:
    found = looked(pod(2, deletionTimestamp=_before(1)))
    assert found.create is not None
    assert inspection.attempt(found.create) == 3
    assert found.delete == ()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (ended("", reason="OOMKilled"), "OOMKilled"),
        (ended("ModuleNotFoundError: No module named x"), "No module named x"),
        ({"phase": "Failed", "reason": "Evicted", "message": "low on memory", "conditions": []}, "low on memory"),
        ({"phase": "Failed", "reason": "DeadlineExceeded"}, "DeadlineExceeded"),
    ],
)
def test_a_pod_that_ends_without_an_answer_holds_nothing_back(status: dict[str, Any], words: str) -> None:
    outcome = looked(pod(status=status)).result
    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.definite) == ("InspectionFailed", False)
    assert words in outcome.message


# ------------------------------------------------------------------------------------------------- the cache


def test_what_was_read_is_found_again_for_the_same_model_only() -> None:
    read = InspectedModel("c" * 40, shape())
    asked = llm(model={"uri": "hf://org/model@v1"})
    model = model_status(asked, read).to_json()
    assert model_from_status(asked, model) == read
    assert model_from_status(llm(model={"uri": "hf://org/model", "revision": "v1"}), model) == read
    assert model_from_status(llm(model={"uri": "hf://org/model@v2"}), model) is None
    assert model_from_status(llm(model={"uri": "hf://org/model"}), model) is None
    assert model_from_status(llm(model={"uri": "pvc://models/llama"}), model) is None
    assert model_from_status(asked, {**model, "shape": "older form"}) is None
    assert model_from_status(asked, {}) is None
