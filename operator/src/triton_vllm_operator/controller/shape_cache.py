"""Shapes of models that the reconcile has met lately, so that another LLMDeployment of the same one is planned at once.

For one namespace each: what one team's token could read is not told to another. Never learnt from a review, which
anybody may send.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.plan.inspection_protocol import InspectedModel, pack_shape, unpack_shape

REMEMBERED = 512

Place = tuple[str, str, str]  # (namespace, uri, revision)


@dataclass
class Models:
    """The newest `REMEMBERED`, packed: a shape takes about 1 KiB so."""

    _seen: OrderedDict[Place, tuple[str, str]] = field(default_factory=OrderedDict)

    def remember(self, llm: LLMDeployment, read: InspectedModel) -> None:
        place = _place(llm)
        if place not in self._seen or self._seen[place][0] != read.commit:
            self._seen[place] = (read.commit, pack_shape(read.shape))
        self._seen.move_to_end(place)
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)

    def find(self, llm: LLMDeployment) -> InspectedModel | None:
        """What was read last where the spec says this one's model is."""
        found = self._seen.get(_place(llm))
        return InspectedModel(found[0], unpack_shape(found[1])) if found else None


def _place(llm: LLMDeployment) -> Place:
    source = llm.spec.model.source
    return llm.namespace, source.uri, source.revision or ""
