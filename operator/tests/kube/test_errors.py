"""Which answers are tried again, and which are reported to the author of the spec."""

from __future__ import annotations

import pytest

from triton_vllm_operator.kube.errors import (
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    KubeError,
    NotFound,
    Retry,
    Unauthorized,
    from_status,
)


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (400, "bad", Invalid),
        (401, "who", Unauthorized),
        (403, "exceeded quota", Forbidden),
        (404, "none", NotFound),
        (409, "conflict", Conflict),
        (410, "too old", Expired),
        (422, "invalid", Invalid),
        (429, "later", Retry),
        (500, "etcd is down", Retry),
        (500, 'failed to create typed patch object: duplicate entries for key [name="first"]', Invalid),
        (500, "unable to convert unstructured object to apps/v1, Kind=Deployment: quantities must match", Invalid),
        (500, 'failed calling webhook "policy.example"', Forbidden),
        (503, "down", Retry),
    ],
)
def test_an_answer_becomes_the_error_that_the_loop_acts_on(code: int, message: str, kind: type[KubeError]) -> None:
    found = from_status(code, message, 3.0)
    assert type(found) is kind
    assert message in found.reason


def test_the_server_says_when_to_come_back() -> None:
    found = from_status(429, "later", 3.0)
    assert isinstance(found, Retry)
    assert found.after == 3.0
