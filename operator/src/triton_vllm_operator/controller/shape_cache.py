"""Shapes of models that were read lately, so that another LLMDeployment of the same model is planned at once.

Per namespace: what one team's token can read is not shown to another. Never filled by an admission review, which
anyone who reaches the webhook's port may send.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.plan.inspection_protocol import InspectedModel, pack_shape, unpack_shape

MAXIMUM = 512

Place = tuple[str, str, str]  # (namespace, uri, revision)


@dataclass
class ShapeCache:
    """The newest `MAXIMUM` shapes, packed to about 1 KiB each."""

    _seen: OrderedDict[Place, tuple[str, str]] = field(default_factory=OrderedDict)

    def remember(self, llm: LLMDeployment, read: InspectedModel) -> None:
        place = _place(llm)
        if place not in self._seen or self._seen[place][0] != read.commit:
            self._seen[place] = (read.commit, pack_shape(read.shape))
        self._seen.move_to_end(place)
        while len(self._seen) > MAXIMUM:
            self._seen.popitem(last=False)

    def find(self, llm: LLMDeployment) -> InspectedModel | None:
        """The model that was read last at the place that the spec names."""
        found = self._seen.get(_place(llm))
        return InspectedModel(found[0], unpack_shape(found[1])) if found else None


def _place(llm: LLMDeployment) -> Place:
    source = llm.spec.model.source
    return llm.namespace, source.uri, source.revision or ""
