"""A PersistentVolumeClaim that no pod can use is described by what it is."""

from __future__ import annotations

import pytest

from triton_vllm_operator.observed import volume_claims

META = {"name": "models", "namespace": "team"}


@pytest.mark.parametrize(
    ("metadata", "phase", "words"),
    [
        ({}, "Bound", ""),
        ({}, "Pending", "is not bound to a volume yet. kubectl describe pvc models -n team"),
        ({}, None, "is not bound to a volume yet."),
        ({}, "Lost", "has lost its volume, which does not exist any more."),
        ({"deletionTimestamp": "t"}, "Bound", "is being deleted"),
    ],
)
def test_each_state_has_its_words(metadata: dict[str, str], phase: str | None, words: str) -> None:
    problem = volume_claims.problem({"metadata": META | metadata, "status": {"phase": phase} if phase else {}})
    assert problem.startswith("PersistentVolumeClaim models ") == bool(words)
    assert words in problem
