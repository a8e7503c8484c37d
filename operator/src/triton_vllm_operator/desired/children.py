"""The registry of child objects: every kind that the operator applies for an LLMDeployment.

The kinds that the manager watches, those that a reconcile compares, the fake API server's and the chart's rules come
from `CHILDREN`. To add a child: its kind in `api/kinds.py`, its builder in a module here, a row below, `make gen`.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.kinds import Kind
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.desired.deployment import deployment
from triton_vllm_operator.desired.disruption_budget import disruption_budget
from triton_vllm_operator.desired.inputs import Defaults, ServingImage
from triton_vllm_operator.desired.repository import config_map
from triton_vllm_operator.desired.rollout_settings import DeployedRevision
from triton_vllm_operator.desired.services import headless_service, service

Object = dict[str, Any]


def _always(_: LLMDeployment) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Child:
    """One child object.

    Attributes:
        kind: its kind; `build` returns an object of it.
        build: the complete object, without the hash that `children` adds.
        when: whether a spec has this child. A child that a spec no longer has is deleted.
    """

    kind: Kind
    build: Callable[[LLMDeployment, ServingImage, Defaults], Object]
    when: Callable[[LLMDeployment], bool] = _always


def _of_spec(build: Callable[[LLMDeployment], Object]) -> Callable[[LLMDeployment, ServingImage, Defaults], Object]:
    """A builder that needs the LLMDeployment only."""
    return lambda llm, _image, _defaults: build(llm)


CHILDREN: tuple[Child, ...] = (
    Child(kinds.CONFIG_MAP, _of_spec(config_map)),
    Child(kinds.SERVICE, _of_spec(service)),
    Child(kinds.SERVICE, _of_spec(headless_service)),
    Child(kinds.PDB, _of_spec(disruption_budget), when=lambda llm: llm.spec.service.disruption_budget.enabled),
    Child(kinds.DEPLOYMENT, deployment),
)
"""Every child, in the order in which they are applied: what pods mount comes before the pods."""

CHILD_KINDS: tuple[Kind, ...] = tuple(dict.fromkeys(child.kind for child in CHILDREN))
"""The kinds of the children, each once."""

OWNED_KINDS: tuple[Kind, ...] = (*CHILD_KINDS, kinds.REVISION)
"""The kinds of all objects that an LLMDeployment owns: the children, and its history."""

WATCHED_KINDS: tuple[Kind, ...] = (*OWNED_KINDS, kinds.POD)
"""The kinds that the manager watches by `names.INSTANCE_LABEL`: what it owns, and the Deployment's pods."""

_AT_REST = DeployedRevision()


def children(
    llm: LLMDeployment, image: ServingImage, defaults: Defaults, revision: DeployedRevision = _AT_REST
) -> list[Object]:
    """The complete child objects of `llm`. Each has an annotation with its own hash, by which a later reconcile knows
    whether it has applied the same object already.

    Args:
        revision: what a rollout sets in them.
    """
    built = (child.build(llm, image, defaults) for child in CHILDREN if child.when(llm))
    return [_with_hash(revision.set_in(obj)) for obj in built]


def _with_hash(obj: Object) -> Object:
    digest = hashlib.sha256(json.dumps(obj, sort_keys=True).encode()).hexdigest()[:16]
    annotations = {**obj["metadata"].get("annotations", {}), names.APPLIED_HASH_ANNOTATION: digest}
    return obj | {"metadata": obj["metadata"] | {"annotations": annotations}}
