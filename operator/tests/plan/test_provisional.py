"""What the existing Deployment says of its configuration: by plain objects, without a cluster."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.builders.deployments import H100, LLAMA_8B, decided, llm, node
from triton_vllm_operator.api import names
from triton_vllm_operator.api.autoconfig import AutoConfig
from triton_vllm_operator.desired import repository
from triton_vllm_operator.desired.pod import CONTAINER
from triton_vllm_operator.plan.autoconfig import empty_autoconfig
from triton_vllm_operator.plan.provisional import Running, autoconfig_in_use, is_deployed, is_provisional

LLM = llm()
CONFIG = decided(LLAMA_8B, node(H100)).chosen
EMPTY = empty_autoconfig(LLM)
COMPLETE = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}


def deployment(
    config: AutoConfig, *conditions: dict[str, Any], record: str | None = None, owner: str = LLM.uid
) -> dict[str, Any]:
    """A Deployment that was made with a configuration. `record`: its annotation."""
    annotations = {} if record is None else {names.CHOSEN_ANNOTATION: record}
    template = {"annotations": {names.CONFIG_HASH_ANNOTATION: repository.content_hash(LLM.with_chosen(config))}}
    return {
        "metadata": {"ownerReferences": [{"uid": owner}], "annotations": annotations},
        "spec": {"template": {"metadata": template}},
        "status": {"conditions": list(conditions)},
    }


def pod(config: AutoConfig, **container: Any) -> dict[str, Any]:
    annotations = {names.CONFIG_HASH_ANNOTATION: repository.content_hash(LLM.with_chosen(config))}
    status = {"name": CONTAINER, "restartCount": 0, "state": {"running": {}}, **container}
    ready = {"type": "Ready", "status": "True" if container.get("ready") else "False"}
    meta = {"name": "p", "uid": "p", "annotations": annotations, "labels": {}, "creationTimestamp": ""}
    return {"metadata": meta, "spec": {}, "status": {"containerStatuses": [status], "conditions": [ready]}}


def running(live: dict[str, Any] | None, *pods: dict[str, Any]) -> Running:
    return Running.of(LLM, live, pods)


def test_a_deployment_of_another_owner_does_not_count() -> None:
    assert running(deployment(CONFIG, owner="another")).deployment is None
    assert running(deployment(CONFIG)).deployment is not None


@pytest.mark.parametrize(
    ("live", "status", "expected"),
    [
        (None, {}, None),
        (None, {"chosen": CONFIG.to_json()}, CONFIG),
        (deployment(CONFIG, record=json.dumps(CONFIG.to_json())), {}, CONFIG),
        (deployment(CONFIG, record=json.dumps(CONFIG.to_json())), {"chosen": EMPTY.to_json()}, CONFIG),
        (deployment(EMPTY), {}, EMPTY),
        (deployment(EMPTY), {"chosen": CONFIG.to_json()}, EMPTY),
        (deployment(CONFIG), {"chosen": CONFIG.to_json()}, None),
        (deployment(CONFIG, record="{"), {"chosen": CONFIG.to_json()}, None),
    ],
    ids=["new", "in the status", "on the Deployment", "the Deployment wins", "of an operator without records",
         "the status of another Deployment", "of another spec", "damaged"],
)  # fmt: skip
def test_the_configuration_in_use(live: Any, status: dict[str, Any], expected: AutoConfig | None) -> None:
    assert autoconfig_in_use(LLM, running(live), status) == expected


def test_a_configuration_is_deployed_where_the_template_has_its_hash() -> None:
    assert is_deployed(LLM.with_chosen(CONFIG), running(deployment(CONFIG)))
    assert not is_deployed(LLM.with_chosen(CONFIG), running(deployment(EMPTY)))
    assert not is_deployed(LLM.with_chosen(CONFIG), running(None))


@pytest.mark.parametrize(
    ("config", "live", "pods", "provisional"),
    [
        (None, deployment(EMPTY), [], False),
        (EMPTY, None, [], False),
        (CONFIG, deployment(CONFIG), [], False),
        (EMPTY, deployment(EMPTY), [], True),
        (EMPTY, deployment(EMPTY, {**COMPLETE, "reason": "ReplicaSetUpdated"}), [], True),
        (EMPTY, deployment(EMPTY, COMPLETE), [], False),
        (EMPTY, deployment(EMPTY), [pod(EMPTY)], True),
        (EMPTY, deployment(EMPTY), [pod(EMPTY, started=True)], False),
        (EMPTY, deployment(EMPTY), [pod(EMPTY, ready=True)], False),
        (EMPTY, deployment(EMPTY), [pod(CONFIG, started=True, ready=True)], True),
    ],
    ids=["nothing recorded", "no Deployment", "configured", "no pods yet", "rolling", "was complete once",
         "a pod that starts", "a started pod", "a ready pod", "a ready pod of another configuration"],
)  # fmt: skip
def test_what_was_made_with_nothing_configured_is_provisional_until_it_serves(
    config: AutoConfig | None, live: Any, pods: list[Any], provisional: bool
) -> None:
    assert is_provisional(LLM, config, running(live, *pods)) is provisional
