"""An API server in memory: objects with versions, a history to watch, server-side apply of one manager, preconditions.

Only what the operator uses. It keeps the promises of the real one that the operator relies on; how well the operator
does on the real one is what `tests/apiserver` is for.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Kind, Object

Place = tuple[Kind, str, str]  # kind, namespace, name
ATOMIC = ("selector",)  # maps that server-side apply replaces whole
NO_SPEC = ("metadata", "status", "apiVersion", "kind")


@dataclass(eq=False)
class Refused(Exception):
    """An answer above 399."""

    status: int
    message: str
    retry_after: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """One version of one object. `at`: when, in seconds of the loop's clock; `new` is None when it was deleted."""

    at: float
    version: int
    place: Place
    old: Object | None
    new: Object | None


@dataclass(frozen=True, slots=True)
class Write:
    """A write that was accepted and changed something: who, how, what, and the object before it."""

    by: str
    verb: str
    place: Place
    before: Object | None


@dataclass
class FakeAPI:
    """The state and its history. What it gives away never changes: a change is a new object."""

    objects: dict[Place, Object] = field(default_factory=dict)
    history: list[Change] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    version: int = 100
    _applied: dict[tuple[Place, str], Object] = field(default_factory=dict)
    _uids: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    # ------------------------------------------------------------------ reads

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return self.objects.get((kind, namespace, name))

    def all(self, kind: Kind) -> list[Object]:
        return [obj for (k, _, _), obj in sorted(self.objects.items(), key=_by_name) if k == kind]

    def view(self, kind: Kind, version: int) -> list[Object]:
        """The collection as it was at `version`."""
        found: dict[Place, Object] = {}
        for change in self.history:
            if change.version > version:
                break
            if change.place[0] == kind:
                found.pop(change.place, None)
                if change.new is not None:
                    found[change.place] = change.new
        return [obj for _, obj in sorted(found.items(), key=_by_name)]

    def since(self, kind: Kind, version: int) -> list[Change]:
        return [change for change in self.history if change.version > version and change.place[0] == kind]

    async def news(self) -> None:
        """Wait for the next change of anything."""
        await self._news.wait()

    # ----------------------------------------------------------------- writes

    def create(self, obj: Object, by: str) -> Object:
        place = _place(obj)
        if place in self.objects:
            raise Refused(409, f"{place[0].plural} {place[2]} already exists")
        return self._store(by, "create", place, {**obj, "metadata": dict(obj["metadata"])})

    def apply(self, obj: Object, by: str, subresource: str = "") -> Object:
        """Server-side apply, by force: fields that were applied before and are no longer sent disappear.

        A resourceVersion is compared with that of a live object only, as the real API server does.
        """
        place, meta = _place(obj), obj["metadata"]
        live = self.objects.get(place)
        if live is None and (subresource or "uid" in meta):
            raise Refused(404 if subresource else 409, "not found")
        for precondition in ("uid", "resourceVersion"):
            if live is not None and precondition in meta and meta[precondition] != live["metadata"].get(precondition):
                raise Refused(409, f"the {precondition} in the precondition is not that of the object")
        sent = {"status": obj["status"]} if subresource else {k: v for k, v in obj.items() if k != "status"}
        fresh = _without(live or {}, self._applied.get((place, subresource), {}))
        self._applied[place, subresource] = sent
        return self._store(by, f"apply-{subresource}" if subresource else "apply", place, _merge(fresh, sent))

    def change(self, place: Place, by: str, edit: Callable[[Object], None]) -> None:
        """Change an object in place, if it is still there."""
        if place in self.objects:
            obj = copy.deepcopy(self.objects[place])
            edit(obj)
            self._store(by, "update", place, obj)

    def merge(self, place: Place, patch: Object, by: str) -> Object:
        """JSON merge patch; its uid and resourceVersion are preconditions."""
        live = self.objects.get(place)
        if live is None:
            raise Refused(404, "not found")
        for precondition in {"uid", "resourceVersion"} & set(patch.get("metadata", {})):
            if patch["metadata"][precondition] != live["metadata"][precondition]:
                raise Refused(409, f"the {precondition} in the precondition is not that of the object")
        return self._store(by, "patch", place, _merge(copy.deepcopy(live), patch))

    def delete(self, place: Place, by: str, uid: str | None = None) -> None:
        old = self.objects.get(place)
        if old is None:
            raise Refused(404, "not found")
        if uid is not None and old["metadata"]["uid"] != uid:
            raise Refused(409, "the UID in the precondition is not that of the object")
        del self.objects[place]
        for key in [key for key in self._applied if key[0] == place]:
            del self._applied[key]
        self.writes.append(Write(by, "delete", place, old))
        self._note(place, old, None)

    def _store(self, by: str, verb: str, place: Place, obj: Object) -> Object:
        old = self.objects.get(place)
        meta = obj["metadata"]
        meta["uid"] = old["metadata"]["uid"] if old else f"uid-{next(self._uids)}"
        meta["generation"] = old["metadata"]["generation"] + _spec_changed(old, obj) if old else 1
        meta["resourceVersion"] = old["metadata"]["resourceVersion"] if old else ""
        if obj != old:
            meta["resourceVersion"] = str(self.version + 1)
            self.objects[place] = obj
            self.writes.append(Write(by, verb, place, old))
            self._note(place, old, obj)
        return obj

    def _note(self, place: Place, old: Object | None, new: Object | None) -> None:
        self.version += 1
        self.history.append(Change(asyncio.get_running_loop().time(), self.version, place, old, new))
        self._news.set()
        self._news = asyncio.Event()


def _place(obj: Object) -> Place:
    return kinds.kind_of(obj), obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _by_name(item: tuple[Place, Object]) -> tuple[str, str]:
    return item[0][1], item[0][2]


def _spec_changed(old: Object, new: Object) -> int:
    """1 when anything but metadata and status differs."""
    return int(any(old.get(key) != new.get(key) for key in {*old, *new} if key not in NO_SPEC))


def _merge(base: Any, over: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    merged = {key: value if key in ATOMIC else _merge(base.get(key), value) for key, value in over.items()}
    return {**base, **merged}


def _without(obj: Any, applied: Any) -> Any:
    """The object without the fields that were applied; what others put beside them stays."""
    if not (isinstance(obj, dict) and isinstance(applied, dict)):
        return obj
    kept = {}
    for key, value in obj.items():
        if key not in applied:
            kept[key] = value
        elif isinstance(applied[key], dict) and isinstance(value, dict):
            kept[key] = _without(value, applied[key])
    return kept


def labelled(objects: Iterable[Object], label: str) -> list[Object]:
    """Those that have the label, LABEL or LABEL=VALUE, or with !LABEL have it not; all when `label` is empty."""
    return [obj for obj in objects if has(obj, label)]


def has(obj: Object | None, label: str) -> bool:
    if label.startswith("!"):
        return obj is not None and not has(obj, label[1:])
    name, equals, value = label.partition("=")
    labels = obj["metadata"].get("labels", {}) if obj is not None else {}
    return obj is not None and (not label or (labels.get(name) == value if equals else name in labels))
