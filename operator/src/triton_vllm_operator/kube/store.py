"""The objects of one kind as the watches have seen them, replaced as a whole on every list.

Objects are kept as JSON bytes and parsed when read: a tenth of the memory of live dicts, and a reader can never
change what another one sees. managedFields are dropped: they are a third of an object.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Key, Kind, Object
from triton_vllm_operator.api.names import INSTANCE_LABEL
from triton_vllm_operator.observed.pods import written_at

Place = tuple[str, str]  # (namespace, name)
Trim = Callable[[Object], Object]
Changed = Callable[[Key], None]


def owner_of(obj: Object, label: str = INSTANCE_LABEL) -> Key | None:
    """The LLMDeployment that an object belongs to, by our label; None without it."""
    meta = obj["metadata"]
    name = meta.get("labels", {}).get(label)
    return Key(meta.get("namespace", ""), name) if name else None


def trimmed(obj: Object) -> Object:
    """The object without managedFields; of a Deployment's the time of the last change is kept."""
    managers = obj["metadata"].pop("managedFields", None)
    if managers and obj.get("kind") == kinds.DEPLOYMENT.kind:
        obj["metadata"]["managedFields"] = [{"time": written_at(managers)}]
    return obj


@dataclass(frozen=True, slots=True)
class _Entry:
    version: int
    uid: str
    owner: Key | None
    body: bytes


class Store:
    """One kind's objects by (namespace, name), with an index by owner.

    Never goes backwards: an object only replaces an older one. resourceVersions are compared as integers, which the
    API promises for one resource since Kubernetes 1.35 and which holds for every server on etcd before.
    """

    def __init__(self, kind: Kind, *, trim: Trim = trimmed, label: str = INSTANCE_LABEL) -> None:
        self.kind = kind
        self.label = label  # has the owner's name as its value
        self._trim = trim
        self._entries: dict[Place, _Entry] = {}
        self._by_owner: dict[Key, set[Place]] = {}
        self._listeners: list[Changed] = []

    def __len__(self) -> int:
        return len(self._entries)

    def subscribe(self, changed: Changed) -> None:
        """`changed` gets the owner of each object that is added, changed or deleted."""
        self._listeners.append(changed)

    def get(self, namespace: str, name: str) -> Object | None:
        entry = self._entries.get((namespace, name))
        return json.loads(entry.body) if entry else None

    def owned_by(self, owner: Key) -> list[Object]:
        """The owner's objects, by name."""
        places = sorted(self._by_owner.get(owner, ()))
        return [json.loads(self._entries[place].body) for place in places]

    def all(self) -> Iterable[Object]:
        for entry in list(self._entries.values()):
            yield json.loads(entry.body)

    def put(self, obj: Object) -> Place:
        """Keep an object from a watch or from the response to our own write; an older one is ignored."""
        place = _place(obj)
        new, old = self._entry(obj), self._entries.get(place)
        if old is None or new.version > old.version:
            self._set(place, new)
            self._notify(old, new)
        return place

    def drop(self, obj: Object) -> None:
        """Forget an object after its DELETED event, unless a newer one of that name is known."""
        place = _place(obj)
        old = self._entries.get(place)
        if old is None or old.version > _version(obj):
            return
        self._unset(place)
        self._notify(old, None)

    def version_of(self, namespace: str, name: str) -> int:
        """resourceVersion of the object of that name; 0 where there is none."""
        entry = self._entries.get((namespace, name))
        return entry.version if entry else 0

    def forget(self, namespace: str, name: str, version: int) -> None:
        """Drop an object that the API server does not have any more, unless it was seen again after `version`."""
        entry = self._entries.get((namespace, name))
        if entry is not None and entry.version == version:
            self._unset((namespace, name))
            self._notify(entry, None)

    def keep(self, listed: set[Place], list_version: str, namespace: str | None = None) -> None:
        """End of a list (of one namespace, or of all) whose objects were put: objects that are not in it are dropped.

        Except those that were written after the list was taken: the watch has their events.
        """
        for place, entry in list(self._entries.items()):
            in_scope = namespace is None or place[0] == namespace
            if in_scope and place not in listed and entry.version <= int(list_version):
                self._unset(place)
                self._notify(entry, None)

    def _entry(self, obj: Object) -> _Entry:
        body = self._trim(obj)
        meta = body["metadata"]
        return _Entry(
            int(meta["resourceVersion"]), meta.get("uid", ""), owner_of(body, self.label), json.dumps(body).encode()
        )

    def _set(self, place: Place, entry: _Entry) -> None:
        self._unset(place)
        self._entries[place] = entry
        if entry.owner is not None:
            self._by_owner.setdefault(entry.owner, set()).add(place)

    def _unset(self, place: Place) -> None:
        entry = self._entries.pop(place, None)
        if entry is None or entry.owner is None:
            return
        places = self._by_owner[entry.owner]
        places.discard(place)
        if not places:
            del self._by_owner[entry.owner]

    def _notify(self, old: _Entry | None, new: _Entry | None) -> None:
        # A relabelled object concerns both its old and its new owner.
        owners = {entry.owner for entry in (old, new) if entry is not None and entry.owner is not None}
        for listener in self._listeners:
            for owner in owners:
                listener(owner)


def _place(obj: Object) -> Place:
    meta = obj["metadata"]
    return meta.get("namespace", ""), meta["name"]


def _version(obj: Object) -> int:
    return int(obj["metadata"]["resourceVersion"])
