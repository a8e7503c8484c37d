"""The history of an LLMDeployment: numbers, what changed, what is restored and what is deleted."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import replace
from typing import Any

from tests.desired.build import DEFAULTS, IMAGE
from tests.desired.build import llm as parsed
from triton_vllm_operator.desired import revisions
from triton_vllm_operator.desired.revisions import Failure, Revision
from triton_vllm_operator.plan.revisions import History, Proceed, history


def data(length: int, **more: Any) -> dict[str, Any]:
    spec = {"model": {"uri": "hf://org/model"}, "engine": {"maxModelLen": 1000 * length}, **more}
    return revisions.content(spec, parsed(spec), IMAGE, DEFAULTS)


def told(
    length: int,
    *live: Revision,
    deployed: str | None = "",
    unchanged: bool = False,
    proceed: Proceed | None = None,
    **more: Any,
) -> History:
    proceed, found = proceed or Proceed(), data(length, **more)
    return history("llama", found, live, deployed, unchanged=unchanged, proceed=proceed, limit=2)


def first() -> Revision:
    return replace(told(1, deployed=None).target, served=True)


def second() -> Revision:
    return told(2, first()).target


def test_the_first_revision_leaves_the_deployment_without_a_mark() -> None:
    made = told(1, deployed=None)
    assert made.write == (made.target,)
    assert (made.target.number, made.target.mark, made.previous) == (1, "", None)
    assert told(1, deployed="", unchanged=True).target.mark == ""


def test_what_an_older_operator_has_left_is_revision_one_unless_it_has_changed_meanwhile() -> None:
    changed = told(2, deployed="", unchanged=False)
    assert (changed.target.number, changed.previous) == (2, None)
    assert changed.target.mark == changed.target.name


def test_a_recorded_revision_is_not_written_again() -> None:
    assert told(1, first()).write == ()
    assert told(1, first(), replicas=5, rollout={"strategy": "Surge"}).write == ()


def test_a_change_is_a_new_revision_with_what_changed() -> None:
    made = told(2, first())
    assert (made.target.number, made.target.changes) == (2, "engine.maxModelLen: 1000 -> 2000")
    assert made.previous == first()


def test_a_former_revision_becomes_the_newest() -> None:
    again = told(1, first(), second())
    assert (again.target.name, again.target.number) == (first().name, 3)
    assert again.target.mark == ""
    assert not again.target.served, "it has to serve again"


def test_a_failed_revision_is_tried_again_after_another_spec_or_by_proceed_only() -> None:
    failed = replace(second(), failure=Failure("2026-01-01T00:00:10Z", "It ended."))
    assert told(2, first(), failed).target.failure is not None
    assert told(3, first(), failed).write[0] == replace(failed, failure=None)
    early = Proceed(failed.name, failed.number, "2026-01-01T00:00:09Z")
    late = Proceed(failed.name, failed.number, "2026-01-01T00:00:11Z")
    assert told(2, first(), failed, proceed=early).target.failure is not None
    assert told(2, first(), failed, proceed=late).target.failure is None
    assert Proceed.of({"serving.triton-vllm.dev/proceed": str(late)}) == late


def test_proceed_is_for_one_number_and_not_for_the_same_spec_later() -> None:
    given = Proceed(first().name, first().number, "2026-01-01T00:00:00Z")
    assert given.accepts(first())
    again = told(1, first(), second()).target
    assert again.name == first().name
    assert not given.accepts(again)
    for odd in ("", "a", "a b", "a b c", "a 1", "a 1 t more"):
        assert Proceed.of({"serving.triton-vllm.dev/proceed": odd}) == Proceed(), odd


def test_the_oldest_go_but_never_what_serves_or_is_deployed() -> None:
    many = [first(), *(replace(told(n, first()).target, number=n) for n in (2, 3, 4))]
    made = told(5, *many, deployed=many[1].name)
    assert made.target.number == 5
    assert made.surplus == (), "one has served, the other is deployed"
    assert told(5, *many, deployed=many[3].name).surplus == (many[1],)


def test_a_revision_is_read_as_it_was_written() -> None:
    for one in (
        first(),
        replace(second(), failure=Failure("t", "why"), served=True, start_s=40),
    ):
        assert revisions.read(revisions.to_object(parsed({"model": {"uri": "hf://a/b"}}), one)) == one
    assert revisions.read({"metadata": {"name": "x"}, "data": {"spec": {}}}) is None


def test_a_long_revision_is_compressed_and_its_stored_data_are_never_written_anew() -> None:
    found = data(1, podTemplate={"env": [{"name": "A", "value": "x" * 600_000}]})
    made = told(1, deployed=None, podTemplate=found["spec"]["podTemplate"]).target
    written = revisions.to_object(parsed({"model": {"uri": "hf://a/b"}}), made)
    assert len(json.dumps(written)) < 20_000
    again = revisions.read({**written, "data": {"compressed": written["data"]["compressed"]}})
    assert again == made
    assert again is not None
    stored = {"compressed": base64.b64encode(zlib.compress(json.dumps(made.data).encode(), 1)).decode()}
    other = revisions.read({**written, "data": stored})
    assert other == made, "written by another version of zlib"
    served = replace(other, served=True)
    assert revisions.to_object(parsed({"model": {"uri": "hf://a/b"}}), served)["data"] == stored
    for bad in ("", "!", base64.b64encode(b"no").decode(), base64.b64encode(zlib.compress(b"[]")).decode()):
        assert revisions.read({**written, "data": {"compressed": bad}}) is None


def test_changes_of_the_operator_and_of_long_values_are_words_too() -> None:
    before = data(1)
    assert revisions.changes(before, {**before, "template": {}}) == "the operator's version or settings"
    long = revisions.changes(before, data(1, podTemplate={"env": [{"name": "A", "value": "x" * 500}]}))
    assert len(long) < 200
    assert long.startswith('podTemplate: not set -> {"env": [{"name": "A"')
