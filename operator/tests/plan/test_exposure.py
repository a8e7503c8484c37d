"""A Service that others reach without a key is warned about, with changes that are accepted and end the warning."""

from __future__ import annotations

from copy import deepcopy
from datetime import date
from itertools import product
from typing import Any

import pytest

from tests.desired.samples import resource
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.plan import exposure
from triton_vllm_operator.plan.validation import validate

Object = dict[str, Any]
OWN_IMAGE = "registry.example/triton-vllm:vllm-0.32.0"
KEY = {"enabled": True, "apiKeySecretRef": {"name": "key"}}
NO_KEY = {"enabled": True}
CLOSED = {"http": False, "grpc": False}


def service(kind: str, **more: Any) -> Object:
    return {"service": {"type": kind, **more}}


def balanced(*ranges: str, **more: Any) -> Object:
    return service("LoadBalancer", loadBalancerSourceRanges=list(ranges), **more)


def told(spec: Object, *, own_image: bool = True) -> str:
    parsed = LLMDeployment.parse(resource("a", {"model": {"uri": "hf://org/model"}, **spec})).spec
    return " ".join(one.message for one in exposure.check(parsed, own_image=own_image))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (service("LoadBalancer"), "port 8000 (http) and 8001 (grpc) without a key."),
        (service("NodePort"), "A Service of type NodePort"),
        (balanced("0.0.0.0/0"), "8000 (http)"),
        (balanced("10.0.0.0/8", "::/0"), "8000 (http)"),
        ({**service("NodePort", ports=CLOSED), "server": {"openAI": NO_KEY}}, "use port 9000 (openai) without a key."),
        ({**service("NodePort"), "server": {"openAI": NO_KEY}}, "8000 (http), 8001 (grpc) and 9000 (openai)"),
        ({**service("NodePort"), "server": {"openAI": KEY}}, "8000 (http) and 8001 (grpc) without"),
        ({**service("LoadBalancer", ports={"http": False}), "server": {"openAI": KEY}}, "use port 8001 (grpc) without"),
    ],
)
def test_open_ports_without_a_key_are_named(spec: Object, words: str) -> None:
    assert words in told(spec)


@pytest.mark.parametrize(
    "spec",
    [
        {},
        service("ClusterIP"),
        balanced("10.0.0.0/8"),
        {**service("LoadBalancer", ports=CLOSED), "server": {"openAI": KEY}},
        {**service("NodePort", ports=CLOSED), "server": {"openAI": NO_KEY},
         "podTemplate": {"env": [{"name": "VLLM_API_KEY", "value": "k"}]}},
        {**service("NodePort", ports=CLOSED), "server": {"openAI": NO_KEY},
         "podTemplate": {"envFrom": [{"secretRef": {"name": "may-have-it"}}]}},
    ],
)  # fmt: skip
def test_what_is_closed_or_has_a_key_is_not_warned_about(spec: Object) -> None:
    assert told(spec) == ""


STEPS: dict[str, Object] = {
    "spec.server.openAI.enabled: true": {"server": {"openAI": {"enabled": True}}},
    "spec.server.openAI.apiKeySecretRef": {"server": {"openAI": {"apiKeySecretRef": {"name": "key"}}}},
    "spec.service.ports.http: false": {"service": {"ports": {"http": False}}},
    "spec.service.ports.grpc: false": {"service": {"ports": {"grpc": False}}},
    "spec.service.loadBalancerSourceRanges": {"service": {"loadBalancerSourceRanges": ["10.0.0.0/8"]}},
    "spec.service.type: ClusterIP": {"service": {"type": "ClusterIP"}},
}


def merged(spec: Object, change: Object) -> Object:
    found = deepcopy(spec)
    for key, value in change.items():
        found[key] = merged(found.get(key, {}), value) if isinstance(value, dict) else value
    return found


@pytest.mark.parametrize(
    ("kind", "open_ai", "ports", "image"),
    list(
        product(
            ["LoadBalancer", "NodePort"],
            [{}, NO_KEY, KEY],
            [{}, {"http": False}, {"grpc": False}],
            [OWN_IMAGE, "nvcr.io/nvidia/tritonserver:26.08-vllm-python-py3"],
        )
    ),
)
def test_each_option_of_the_advice_is_accepted_and_ends_the_warning(
    kind: str, open_ai: Object, ports: Object, image: str
) -> None:
    server = {"image": image, **({"openAI": open_ai} if open_ai and image == OWN_IMAGE else {})}
    spec = {"model": {"uri": "hf://org/model"}, "server": server, **service(kind, ports=ports)}
    (message,) = [one.message for one in warnings(spec)]
    options = message.split("without a key. ")[1].lower().split(", or ")
    assert len(options) == (2 if image == OWN_IMAGE else 1)
    for option in options:
        changed = spec
        for words, change in STEPS.items():
            changed = merged(changed, change) if words.lower() in option else changed
        assert changed != spec
        assert warnings(changed) == [], option


def warnings(spec: Object) -> list[Any]:
    found = validate(resource("a", spec), None, date(2026, 11, 26)).problems(opted_out=False)
    assert not any(one.rejects for one in found)
    return [one for one in found if one.reason == Reason.EXPOSED_WITHOUT_KEY]
