"""Revisions: ControllerRevisions with a pod template, its model repository and the spec that they were made from."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.desired import repository
from triton_vllm_operator.desired.deployment import pod_template
from triton_vllm_operator.desired.inputs import Defaults, ServingImage
from triton_vllm_operator.desired.objects import child

Object = dict[str, Any]

NOT_RECORDED = ("replicas", "autoscaling", "rollout")
"""Blocks of the spec that an undo leaves as they are."""
MAX_BYTES = 1_048_576
"""Limit of a revision's data: the API server rejects objects of more than 1.5 MiB, with 500 instead of a reason."""
_MAX_PLAIN = 262_144
"""Characters of JSON above which the data are compressed: spec and repository may repeat a long value."""
_COMPRESSED = "compressed"
_HASH_LENGTH = 8
_MAX_CHANGES = 1500
_MAX_VALUE = 80


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a revision failed. `at`: RFC 3339 time."""

    at: str
    why: str


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision.

    Attributes:
        name: of its ControllerRevision; it has a hash of the pod template.
        number: 1 for the first one; a revision that is deployed again becomes the newest.
        data: `template`, `repository`, `spec`, `chosen`, and `first` for the first one.
        changes: of the spec against the revision before, in words.
        served: whether all of its pods have served at one time.
        start_s: measured seconds from a pod's creation to its readiness; None where not known.
        stored: the data as the API server has them, which cannot be changed; None for a revision that is not written.
    """

    name: str
    number: int
    data: Mapping[str, Any]
    changes: str = ""
    served: bool = False
    start_s: int | None = None
    failure: Failure | None = None
    stored: Mapping[str, Any] | None = field(default=None, compare=False)

    @property
    def mark(self) -> str:
        """Value of the Deployment's annotation; "" for the first revision."""
        return "" if self.data.get("first") else self.name

    @property
    def template(self) -> Object:
        """The pod template."""
        found: Object = self.data["template"]
        return found

    @property
    def config_hash(self) -> str:
        """Hash of the model repository that its pods mount."""
        return str(self.template["metadata"]["annotations"][names.CONFIG_HASH_ANNOTATION])


def content(spec: Mapping[str, Any], llm: LLMDeployment, image: ServingImage, defaults: Defaults) -> Object:
    """The data of the revision that a spec comes to.

    Args:
        spec: as the API server stores it.
        llm: the same with its automatic configuration.
    """
    return {
        "spec": {key: value for key, value in spec.items() if key not in NOT_RECORDED},
        **({"chosen": llm.chosen.to_json()} if llm.chosen else {}),
        "template": pod_template(llm, image, defaults),
        "repository": {
            "name": names.repository(llm.name, repository.content_hash(llm)),
            "data": repository.files(llm),
        },
    }


def revision_name(name: str, data: Mapping[str, Any]) -> str:
    """Name of the ControllerRevision with this data. `name`: of the LLMDeployment."""
    digest = hashlib.sha256(json.dumps(data["template"], sort_keys=True).encode()).hexdigest()
    return names.revision(name, digest[:_HASH_LENGTH])


def to_object(llm: LLMDeployment, revision: Revision) -> Object:
    """The ControllerRevision."""
    annotations = {
        names.APPLIED_HASH_ANNOTATION: revision.name.rpartition("-")[2],
        **({names.CHANGES_ANNOTATION: revision.changes} if revision.changes else {}),
    }
    if revision.served:
        seconds = {} if revision.start_s is None else {"startSeconds": revision.start_s}
        annotations[names.SERVED_ANNOTATION] = json.dumps(seconds)
    if revision.failure is not None:
        failure = {"at": revision.failure.at, "why": revision.failure.why}
        annotations[names.FAILED_ANNOTATION] = json.dumps(failure)
    made = child(llm, kinds.REVISION, revision.name, annotations=annotations)
    return made | {"data": dict(revision.stored or _encoded(revision.data)), "revision": revision.number}


def read(obj: Mapping[str, Any]) -> Revision | None:
    """Read a ControllerRevision; None for one that the operator did not write."""
    annotations = obj["metadata"].get("annotations", {})
    data = _decoded(obj.get("data"))
    if data is None or not {"spec", "template", "repository"} <= data.keys():
        return None
    served, failed = _json(annotations.get(names.SERVED_ANNOTATION)), _json(annotations.get(names.FAILED_ANNOTATION))
    start_s = (served or {}).get("startSeconds")
    return Revision(
        name=obj["metadata"]["name"],
        number=int(obj.get("revision", 0)),
        data=data,
        changes=annotations.get(names.CHANGES_ANNOTATION, ""),
        served=served is not None,
        start_s=start_s if isinstance(start_s, int) else None,
        failure=Failure(str(failed.get("at", "")), str(failed.get("why", ""))) if failed is not None else None,
        stored=obj["data"],
    )


def _encoded(data: Mapping[str, Any]) -> Mapping[str, Any]:
    text = json.dumps(data, sort_keys=True)
    if len(text) <= _MAX_PLAIN:
        return data
    return {_COMPRESSED: base64.b64encode(zlib.compress(text.encode())).decode()}


def _decoded(data: Any) -> Mapping[str, Any] | None:
    if not isinstance(data, Mapping):
        return None
    if _COMPRESSED not in data:
        return data
    try:
        found = json.loads(zlib.decompress(base64.b64decode(str(data[_COMPRESSED]))))
    except (ValueError, zlib.error):
        return None
    return found if isinstance(found, dict) else None


def _json(text: object) -> dict[str, Any] | None:
    try:
        found = json.loads(str(text)) if text is not None else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def changes(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> str:
    """What changed from the data of one revision to that of another, in words, as `path: old -> new`."""
    if before is None:
        return ""
    found = list(_differences(before["spec"], after["spec"]))
    if not found:
        found = [f"chosen.{line}" for line in _differences(before.get("chosen", {}), after.get("chosen", {}))]
    text = "; ".join(found) or "the operator's version or settings"
    return text if len(text) <= _MAX_CHANGES else f"{text[:_MAX_CHANGES]}..."


def _differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}):
            yield from _differences(before.get(key), after.get(key), f"{path}.{key}" if path else key)
    elif before != after:
        yield f"{path}: {_value(before)} -> {_value(after)}"


def _value(value: Any) -> str:
    if value is None:
        return "not set"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}..."
