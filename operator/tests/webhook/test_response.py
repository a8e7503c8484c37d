"""What refuses before an object is stored, what only warns, and what an update may keep."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from tests.builders.deployments import H100, LLAMA_8B, LLAMA_70B, decided, node
from tests.desired.samples import resource
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity import shape_from_config
from triton_vllm_operator.catalog.violations import Violation
from triton_vllm_operator.plan import verdict
from triton_vllm_operator.plan.not_planned import NotPlanned
from triton_vllm_operator.plan.validation import Rejected, validate
from triton_vllm_operator.plan.verdict import PredictedPlan
from triton_vllm_operator.webhook import response as admission
from triton_vllm_operator.webhook.response import AdmissionResponse

Object = dict[str, Any]
TODAY = date(2026, 11, 26)
UNKNOWN = {"enable_lroa": True}


def llm(**spec: Any) -> Object:
    return resource("llama", {"model": {"uri": "hf://org/model"}, **spec})


def args(**extra: Any) -> Object:
    return {"engine": {"extraArgs": extra}}


def problems(obj: Object) -> list[Violation]:
    try:
        return validate(obj, None, TODAY).problems(opted_out=False)
    except Rejected as refusal:
        return [admission.problem_of_rejected(refusal)]


def judged(new: Object, old: Object | None = None) -> AdmissionResponse:
    found = problems(new)
    return admission.response_of(found if old is None else admission.ratcheted(found, new, problems(old), old))


def test_a_good_spec_says_nothing() -> None:
    assert judged(llm()) == AdmissionResponse()


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (args(**UNKNOWN), "ArgumentMisspelt"),
        (args(disable_log_requests=True) | {"server": {"release": "25.09"}}, "ReleaseNeedsOptOut"),
        (args(max_loras=0), "ArgumentBound"),
        (args(enable_lora="true"), "ArgumentType"),
        ({"engine": {"maxNumBatchedTokens": 64, "maxModelLen": 128, "enableChunkedPrefill": False}}, "ArgumentsContra"),
        ({"server": {"release": "25.07"}}, "ReleaseUnsafe"),
        ({"server": {"release": "26.12"}}, "ReleaseUnknown"),
        ({"server": {"extraArgs": ["--http-port=9000"]}}, "FlagOwned"),
        ({"nonsense": 1}, "InvalidSpec"),
    ],
)
def test_what_can_never_work_is_refused(spec: Object, reason: str) -> None:
    refusal = judged(llm(**spec)).rejected
    assert refusal is not None
    assert any(one.reason.startswith(reason) for one in problems(llm(**spec)))
    assert refusal.message == " ".join(one.message for one in problems(llm(**spec)) if one.rejects)


def test_what_can_work_but_should_be_known_only_warns() -> None:
    told = judged(llm(server={"release": "26.07"}))
    assert told.allowed
    assert [warning.split(":")[0] for warning in told.warnings] == ["ReleaseOutdated"]


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": 3},
        {"server": {"release": "26.07"}},
        {"engine": {"extraArgs": {**UNKNOWN, "max_loras": 2}}},
        {"engine": {"maxModelLen": 512, "extraArgs": UNKNOWN}},
    ],
)
def test_an_update_that_leaves_what_was_wrong_is_warned(change: Object) -> None:
    old = llm(**args(**UNKNOWN))
    new = llm(**{**old["spec"], **change})
    told = judged(new, old)
    assert told.allowed
    assert any(warning.startswith("ArgumentMisspelt: ") for warning in told.warnings)


def test_an_update_that_mends_what_was_wrong_says_nothing_of_it() -> None:
    assert judged(llm(), llm(**args(**UNKNOWN))) == AdmissionResponse()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (args(**UNKNOWN), args(enable_lroa=False)),
        (args(**UNKNOWN), args(**UNKNOWN, xyzzy=1)),
        ({}, args(**UNKNOWN)),
        ({"server": {"release": "25.07"}}, {"server": {"release": "25.06"}}),
        ({"server": {"extraArgs": ["--http-port=1"]}}, {"server": {"extraArgs": ["--http-port=2"]}}),
        (args(monokernel=True) | {"server": {"release": "26.07"}}, args(**UNKNOWN)),
    ],
)
def test_an_update_that_makes_something_wrong_is_refused(old: Object, new: Object) -> None:
    assert not judged(llm(**new), llm(**old)).allowed


DEEP = {"model": {"layers": [{"auto_map": {"AutoConfig": "evil.Config"}}]}}


def test_a_wrong_key_inside_lists_is_compared_with_the_list_around_it() -> None:
    old = llm(**args(hf_overrides=DEEP))
    assert not judged(old).allowed
    assert judged(llm(**args(hf_overrides=DEEP), replicas=2), old).allowed
    other = {"model": {"layers": [{"auto_map": {"AutoConfig": "worse.Config"}}]}}
    assert not judged(llm(**args(hf_overrides=other)), old).allowed


def test_an_argument_with_dots_in_its_name_is_judged_too() -> None:
    old = llm(engine={"extraArgs": {"a.b": 1}})
    assert not judged(old).allowed
    assert judged(llm(**old["spec"] | {"replicas": 2}), old).allowed


def test_an_image_that_was_unsafe_may_stay_while_another_field_changes() -> None:
    old = llm(server={"release": "25.07"})
    told = judged(llm(server={"release": "25.07", "logLevel": "Error"}), old)
    assert told.allowed
    assert any(warning.startswith("ReleaseUnsafe: ") for warning in told.warnings)


def test_nothing_is_new_where_the_old_object_was_not_understood() -> None:
    told = judged(llm(**args(**UNKNOWN)), llm(nonsense=1))
    assert told.allowed
    assert told.warnings


@pytest.mark.parametrize(
    ("new", "old", "judge"),
    [
        (llm(), None, True),
        (llm(), llm(), False),
        (llm(replicas=2), llm(), True),
        ({**llm(), "metadata": {"name": "a", "finalizers": ["x"]}}, llm(), False),
        ({**llm(replicas=2), "metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}}, llm(), False),
    ],
)
def test_only_a_changed_spec_of_what_stays_is_judged(new: Object, old: Object | None, judge: bool) -> None:
    assert admission.changes_spec(new, old) is judge


# -------------------------------------------------------------------------------------------------- the plan

TOO_LARGE = decided(LLAMA_70B, node(H100), engine={"tensorParallelSize": 1})


def planned(
    found: verdict.Decision | NotPlanned, status: Object | None = None, *, binding: bool = True
) -> list[Violation]:
    return admission.problems_of_plan(PredictedPlan(found, binding), status or {})


def test_a_model_that_does_not_fit_is_refused_in_the_words_of_the_condition() -> None:
    [found] = planned(TOO_LARGE)
    assert (found.rejects, found.reason, found.message) == (True, "DoesNotFit", verdict.condition(TOO_LARGE).message)


def test_a_plan_that_would_not_keep_pods_back_only_warns() -> None:
    assert [one.rejects for one in planned(TOO_LARGE, binding=False)] == [False]


def test_a_model_that_did_not_fit_before_may_be_changed() -> None:
    assert [one.rejects for one in planned(TOO_LARGE, {"plan": {"verdict": "DoesNotFit"}})] == [False]
    assert [one.rejects for one in planned(TOO_LARGE, {"plan": {"verdict": "Fits"}})] == [True]


def test_a_tight_plan_warns_and_one_that_fits_or_is_unknown_says_nothing() -> None:
    tight = verdict.Decision(TOO_LARGE.plan.model_copy(update={"verdict": "Tight"}), TOO_LARGE.chosen)
    assert [(one.reason, one.rejects) for one in planned(tight)] == [("Tight", False)]
    assert planned(decided(LLAMA_8B, node(H100))) == []
    assert planned(NotPlanned(Reason.GPU_MEMORY_UNKNOWN, "No node.")) == []
    assert admission.problems_of_plan(None, {}) == []


def test_without_nodes_nothing_is_refused() -> None:
    shape = shape_from_config(LLAMA_70B)
    found = verdict.decide(validate(llm(), None, TODAY).llm, shape, "0.27.1", [])
    assert planned(found) == []
