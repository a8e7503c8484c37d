"""What an inspection pod says: written by `triton_vllm_operator.inspect`, read by the operator.

The kubelet keeps 4096 bytes of a termination message. A shape's JSON form is a few kB to 100 kB, and repeats itself:
compressed, the shape of every model known to us takes less than a quarter of that.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from triton_vllm_operator.api import names
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.capacity import ModelShape, ShapeError, parse_json_object

FORMAT = "triton-vllm-operator/inspection/v1"
MESSAGE_BYTES = 4096
_LONGEST_SHAPE = 2**20  # bytes of the JSON form: a message of 4096 bytes could unpack to a thousand times its size
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _LONGEST_PAUSE_OF_A_DEFECT_S = 10.0, 300.0, 3600.0

NO_ANSWER = Reason.INSPECTION_FAILED
#: Failures with which the engine could not load the model either, so that a serving pod would hold GPUs for nothing.
DEFINITE = frozenset(
    {
        Reason.MODEL_NOT_FOUND,
        Reason.MODEL_GATED,
        Reason.TOKEN_REFUSED,
        Reason.REVISION_NOT_FOUND,
        Reason.FILE_MISSING,
        Reason.NOT_A_CAUSAL_MODEL,
        Reason.NEEDS_TRUST_REMOTE_CODE,
        # What the pod itself lacks is what a serving pod would lack too.
        Reason.SECRET_NOT_FOUND,
        Reason.SECRET_KEY_NOT_FOUND,
        Reason.CONFIG_MAP_NOT_FOUND,
        Reason.CONFIG_MAP_KEY_NOT_FOUND,
    }
)

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Resolved:
    """The model was read. `commit`: of the repository, "" for a claim."""

    commit: str
    shape: ModelShape


@dataclass(frozen=True, slots=True)
class Failure:
    """The model was not read: why, in one CamelCase word and in a sentence with the fix."""

    reason: Reason
    message: str

    @property
    def definite(self) -> bool:
        """The engine could not load the model either."""
        return self.reason in DEFINITE


Outcome = Resolved | Failure


def pack(shape: ModelShape) -> str:
    """The shape's JSON form, compressed: text for a message and for status.model.shape."""
    text = json.dumps(shape.to_json(), separators=(",", ":"), sort_keys=True)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def unpack(packed: str) -> ModelShape:
    """The shape that `pack` wrote. Errors: ShapeError for anything else."""
    try:
        inflate = zlib.decompressobj()
        text = inflate.decompress(base64.b64decode(packed, validate=True), _LONGEST_SHAPE)
    except (binascii.Error, zlib.error) as error:
        raise ShapeError(Reason.SHAPE_UNREADABLE, f"the packed model shape is damaged: {error}") from error
    if not inflate.eof:
        raise ShapeError(
            Reason.SHAPE_UNREADABLE, f"the packed model shape is cut off or exceeds {_LONGEST_SHAPE} bytes"
        )
    return ModelShape.from_json(parse_json_object(text, "packed model shape"))


def write(outcome: Outcome) -> str:
    """The termination message, at most `MESSAGE_BYTES` bytes."""
    if isinstance(outcome, Failure):
        return _message(reason=str(outcome.reason), message=_cut(outcome.message))
    text = _message(commit=outcome.commit, shape=pack(outcome.shape))
    if len(text) <= MESSAGE_BYTES:
        return text
    told = f"{outcome.shape.architecture[:80]}: the layers differ so much that their description exceeds "
    return write(Failure(Reason.SHAPE_TOO_LARGE, f"{told}{MESSAGE_BYTES} bytes; the plan is left out."))


def read(message: str) -> Outcome:
    """What a termination message says. Errors: ShapeError for a text that no inspection wrote."""
    body = parse_json_object(message, "termination message")
    if body.get("format") != FORMAT:
        raise ShapeError(Reason.INSPECTION_UNREADABLE, f"the termination message is not {FORMAT}")
    if "reason" in body:
        if body["reason"] not in set(Reason):
            raise ShapeError(Reason.INSPECTION_UNREADABLE, "the termination message has a reason that is not known")
        return Failure(Reason(body["reason"]), str(body.get("message", "")))
    return Resolved(str(body.get("commit", "")), unpack(str(body.get("shape", ""))))


def _message(**fields: str) -> str:
    return json.dumps({"format": FORMAT, **fields}, separators=(",", ":"), ensure_ascii=True)


def _cut(message: str) -> str:
    """Text of a repository may be hostile: one line, short enough for a message even when all of it is escaped."""
    return " ".join("".join(c if c.isprintable() else " " for c in message).split())[:600]


# ------------------------------------------------------------------------------------------------- the pods


@dataclass(frozen=True, slots=True)
class Look:
    """What the inspection pods of one LLMDeployment mean now.

    Attributes:
        delete: pods that have said what they had to, or read something that is not wanted any more.
        create: the pod to make, or None.
        outcome: what the newest pod has said, or None while it has not ended.
        pod: the newest pod, while it has not ended.
        age_s: seconds since that pod was made.
        again_s: seconds until the next attempt, after a failure.
    """

    delete: tuple[Object, ...] = ()
    create: dict[str, Any] | None = None
    outcome: Outcome | None = None
    pod: Object | None = None
    age_s: float = 0.0
    again_s: float | None = None


def leftovers(pods: Sequence[Object]) -> tuple[Object, ...]:
    """Pods of which nothing more is needed and that are not being deleted yet."""
    return tuple(pod for pod in pods if "deletionTimestamp" not in pod["metadata"])


def look(wanted: dict[str, Any], pods: Sequence[Object], owner_uid: str, now: datetime) -> Look:
    """Decide by the live pods alone: a restarted operator goes on where another one stopped.

    Args:
        wanted: the pod of the first attempt; further attempts differ in their number only.
        pods: live inspection pods of the LLMDeployment.
    """
    content = wanted["metadata"]["labels"][names.INSPECTION_LABEL]
    same = sorted((p for p in pods if _reads(p, content, owner_uid)), key=attempt)
    newest = same[-1] if same else None
    old = leftovers([pod for pod in pods if pod is not newest])
    if newest is None:
        return Look(delete=old, create=with_attempt(wanted, 0))
    ended = _ended(newest)
    if ended is None and "deletionTimestamp" in newest["metadata"]:  # somebody deleted it before it could speak
        return Look(delete=old, create=with_attempt(wanted, attempt(newest) + 1))
    if ended is None:
        return Look(delete=old, pod=newest, age_s=_since(newest["metadata"].get("creationTimestamp", ""), now))
    outcome = _outcome(ended)
    if isinstance(outcome, Resolved):
        return Look(delete=old, outcome=outcome)
    left = _pause_s(outcome, attempt(newest)) - _since(ended.get("finishedAt") or "", now)
    if left > 0:
        return Look(delete=old, outcome=outcome, again_s=left)
    return Look(delete=old, outcome=outcome, create=with_attempt(wanted, attempt(newest) + 1))


def attempt(pod: Object) -> int:
    """Which attempt a pod is, from 0."""
    text = pod["metadata"].get("annotations", {}).get(names.ATTEMPT_ANNOTATION, "0")
    return int(text) if text.isdigit() and len(text) < 9 else 0


def with_attempt(wanted: dict[str, Any], number: int) -> dict[str, Any]:
    """The pod of another attempt: its own name, so that it need not wait until the last one is gone."""
    meta = wanted["metadata"]
    annotations = {**meta.get("annotations", {}), names.ATTEMPT_ANNOTATION: str(number)}
    return wanted | {"metadata": meta | {"name": f"{meta['name']}-{number}", "annotations": annotations}}


def _reads(pod: Object, content: str, owner_uid: str) -> bool:
    meta = pod["metadata"]
    owned = any(ref.get("uid") == owner_uid for ref in meta.get("ownerReferences", []))
    return owned and meta.get("labels", {}).get(names.INSPECTION_LABEL) == content


def _ended(pod: Object) -> Mapping[str, Any] | None:
    """How the container ended, or the pod without it; None while neither has. A sidecar may still run."""
    status = pod.get("status", {})
    for state in status.get("containerStatuses", []):
        if state["name"] == names.INSPECTION_CONTAINER and (ended := state.get("state", {}).get("terminated")):
            return dict(ended)
    if status.get("phase") not in {"Succeeded", "Failed"}:
        return None
    return {"reason": status.get("reason", ""), "message": status.get("message", ""), "finishedAt": _gone_since(pod)}


def _gone_since(pod: Object) -> str:
    conditions = pod.get("status", {}).get("conditions", [])
    times = [str(c.get("lastTransitionTime") or "") for c in conditions]
    return max([str(pod["metadata"].get("creationTimestamp", "")), *times])


def _outcome(ended: Mapping[str, Any]) -> Outcome:
    said = str(ended.get("message") or "")
    try:
        return read(said)
    except ShapeError:
        how = str(ended.get("reason") or f"exit code {ended.get('exitCode')}")
        last = f" Its last words: {_cut(said[-500:])}" if said else ""
        return Failure(NO_ANSWER, f"The inspection pod ended without an answer: {how}.{last}")


def _pause_s(failure: Failure, number: int) -> float:
    """Seconds from the end of an attempt to the next. What a new commit alone can cure is looked at once an hour."""
    outside = failure.definite or failure.reason in {Reason.HUB_UNREACHABLE, NO_ANSWER, Reason.INSPECTION_TIMEOUT}
    return min(_FIRST_PAUSE_S * 2.0 ** min(number, 20), _LONGEST_PAUSE_S if outside else _LONGEST_PAUSE_OF_A_DEFECT_S)


def _since(time: str, now: datetime) -> float:
    """Seconds since an RFC 3339 time; 0 for one that is absent or still to come."""
    if not time:
        return 0.0
    return max((now - datetime.fromisoformat(time)).total_seconds(), 0.0)


# --------------------------------------------------------------------------------------------- status.model


def asked(llm: LLMDeployment) -> dict[str, str]:
    """What identifies the model that was read: the first fields of status.model."""
    uri, _, inside = llm.spec.model.uri.partition("@")
    revision = inside or llm.spec.model.revision
    return {"uri": uri} | ({"revision": revision} if revision else {})


def pinned(llm: LLMDeployment) -> bool:
    """Whether the spec names a commit, so that what was read of it once is what it will always be."""
    uri, revision = asked(llm)["uri"], asked(llm).get("revision", "")
    return uri.startswith("hf://") and re.fullmatch(r"[0-9a-f]{40}", revision) is not None


def model_status(llm: LLMDeployment, read: Resolved) -> dict[str, Any]:
    """status.model: what people want to know of the model, and its whole shape."""
    shape = read.shape
    found: dict[str, Any] = {
        **asked(llm),
        "commit": read.commit or None,
        "architecture": shape.architecture,
        "modelType": shape.model_type or None,
        "dtype": shape.dtype,
        "quantization": shape.quantization.method if shape.quantization else None,
        "layers": len(shape.layers),
        "attentionHeads": shape.attention_heads,
        "kvHeads": shape.kv_heads,
        "vocabSize": shape.vocab_size,
        "maxModelLen": shape.default_max_len or shape.max_position,
        "weightsBytes": sum(size for _, size in shape.bytes_by_dtype) or None,
        "bytesByDtype": dict(shape.bytes_by_dtype) or None,
        "shape": pack(shape),
    }
    return {key: value for key, value in found.items() if value is not None}


def cached(llm: LLMDeployment, model: Mapping[str, Any]) -> Resolved | None:
    """What status.model holds of the model that is wanted now; None when it is another one, or of an older form."""
    if {key: model[key] for key in ("uri", "revision") if key in model} != asked(llm):
        return None
    try:
        return Resolved(str(model.get("commit", "")), unpack(str(model.get("shape", ""))))
    except ShapeError:
        return None
