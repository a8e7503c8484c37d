"""No string of a custom resource can leave its place: 10,000 of them through the renderers.

What was rendered is parsed again and must give back the input, unless the custom resource was refused. The bulk is
drawn from a seed, which is ten times as fast as hypothesis; hypothesis searches for what the bulk misses.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.desired.build import DEFAULTS, llm
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.desired.children import children
from triton_vllm_operator.desired.inputs import ServingImage
from triton_vllm_operator.desired.model_config import config_pbtxt, messages

SEED = 1
SPECS = 1250  # each with 8 strings
SEARCHED = 100
Spec = dict[str, Any]

HOSTILE = (
    "..", "../..", "/", "//", "a/../b", "./a", "\\", '"', "'", '\\"', "`id`", "$(id)", "${HOME}", "$(HOME)", "{{.}}",
    "{{ .Values.x }}", "{% raw %}", "\n", "\r\n", "\t", "\0", "\x1b[31m", "\u2028", "\u202e", "\ufeff", "}", "]}", "#",
    "--", "-", " --http-port=1", "\n--http-port=1", "|", ";", "&&", "%00", "%2e%2e%2f", "<x>", "ü", "🦙", "a: b", "- a",
    'backend: "python"', '"}\nparameters {', "null", "true", "1e999", "NaN",
)  # fmt: skip
ORDINARY = ("hf://", "org/model", "pvc://claim", "@", "a", "Z9", "v1.0", "_", "models/7b")
pieces = st.sampled_from(HOSTILE + ORDINARY) | st.text(max_size=8)
strings = st.lists(pieces, max_size=5).map("".join)
uris = strings | strings.map(lambda s: f"hf://org/{s}") | strings.map(lambda s: f"pvc://claim/{s}")
flags = strings | strings.map(lambda s: f"--http-thread-count={s}")


def parts_of(uri: str, name: str, revision: str, image: str, dtype: str, key: str, value: str, flag: str) -> list[Spec]:
    """One part of a spec for each place that a string can have."""
    return [
        {"model": {"uri": uri}},
        {"model": {"name": name}},
        {"model": {"revision": revision}},
        {"server": {"image": image}},
        {"engine": {"quantization": dtype}},
        {"engine": {"extraArgs": {key: value}}},
        {"server": {"extraArgs": [flag]}},
        {"podTemplate": {"env": [{"name": "X", "value": value}], "annotations": {key: value}}},
    ]


def accepted(parts: list[Spec]) -> Spec:
    """A spec of all parts that are not refused."""
    spec: Spec = {"model": {"uri": "hf://org/model"}}
    for part in parts:
        more = {block: {**spec.get(block, {}), **fields} for block, fields in part.items()}
        if parsed({**spec, **more}) is not None:
            spec |= more
    return spec


def parsed(spec: Spec) -> LLMDeployment | None:
    """None when the spec is refused."""
    try:
        return llm(spec)
    except ValidationError:
        return None


def rendered(found: LLMDeployment, image: str) -> dict[str, Any]:
    """The children by kind, as the API server gets them."""
    made = children(found, ServingImage(image, "vllm-0.32.0", stock=False), DEFAULTS)
    return {obj["kind"]: obj for obj in json.loads(json.dumps(made))}


def check_repository(made: dict[str, Any], found: LLMDeployment) -> None:
    data = made["ConfigMap"]["data"]
    config = text_format.Parse(data["config.pbtxt"], messages().ModelConfig())
    assert config.backend == "vllm"
    assert {field.name for field, _ in config.ListFields()} == {"backend", "instance_group", "parameters"}
    engine = json.loads(data["model.json"])
    wanted = found.spec.engine.extra_args
    assert {key: engine[key] for key in wanted if key not in TYPED} == {
        k: v for k, v in wanted.items() if k not in TYPED
    }
    assert engine.keys() == wanted.keys() | {k for k in TYPED if k in engine}


TYPED = {
    "model", "revision", "served_model_name", "gpu_memory_utilization", "tensor_parallel_size",
    "pipeline_parallel_size", "quantization",
}  # fmt: skip


def check_paths(made: dict[str, Any], found: LLMDeployment) -> None:
    pod = made["Deployment"]["spec"]["template"]["spec"]
    mounts = pod["containers"][0]["volumeMounts"]
    for mount in (m for m in mounts if m["name"] == "repository"):
        top, first, *rest = mount["mountPath"].removeprefix("/").split("/")
        assert (top, first) == ("models", found.model_name)
        assert rest in (["config.pbtxt"], ["1", "model.json"])
    for mount in mounts:
        steps = mount.get("subPath", "a").split("/")
        assert not {"", ".."} & set(steps) or "subPath" not in mount
        assert all(char.isprintable() for char in mount.get("subPath", ""))


def check_container(made: dict[str, Any], found: LLMDeployment) -> None:
    [server] = made["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert "command" not in server, "no shell reads the arguments"
    ours = [arg for arg in server["args"] if arg not in found.spec.server.extra_args]
    assert all(arg.startswith("--") and "\n" not in arg for arg in server["args"])
    assert len(ours) == 6
    names = [entry["name"] for entry in server["env"]]
    assert len(names) == len(set(names))


CHECKS: tuple[Callable[[dict[str, Any], LLMDeployment], None], ...] = (check_repository, check_paths, check_container)


def drawn(rand: random.Random, head: str = "") -> str:
    """A string of some of the hostile pieces and of ordinary ones."""
    return head + "".join(rand.choice(HOSTILE if rand.random() < 0.5 else ORDINARY) for _ in range(rand.randint(0, 4)))


def drawn_parts(rand: random.Random) -> list[Spec]:
    uri = drawn(rand, rand.choice(("hf://org/", "pvc://claim/", "")))
    name, revision, image, dtype, key, value = (drawn(rand) for _ in range(6))
    flag = drawn(rand, rand.choice(("--http-thread-count=", "")))
    return parts_of(uri, name, revision, image, dtype, key, value, flag)


def test_ten_thousand_strings_keep_their_place() -> None:
    rand = random.Random(SEED)
    for _ in range(SPECS):
        check_all(drawn_parts(rand))


@settings(max_examples=SEARCHED, deadline=None)
@given(st.tuples(uris, strings, strings, strings, strings, strings, strings, flags))
def test_what_was_rendered_parses_to_the_input_or_was_refused(texts: tuple[str, ...]) -> None:
    check_all(parts_of(*texts))


def check_all(parts: list[Spec]) -> None:
    spec = accepted(parts)
    found = llm(spec)
    made = rendered(found, spec.get("server", {}).get("image", "registry.example/x"))
    for check in CHECKS:
        check(made, found)


@settings(max_examples=SEARCHED * 3, deadline=None)
@given(st.dictionaries(strings.filter(bool), strings, min_size=1, max_size=3))
def test_parameters_of_config_pbtxt_keep_their_place(parameters: dict[str, str]) -> None:
    config = text_format.Parse(config_pbtxt(parameters), messages().ModelConfig())
    assert {key: value.string_value for key, value in config.parameters.items()} == parameters


@settings(max_examples=SEARCHED * 3, deadline=None)
@given(uris)
def test_only_the_two_forms_of_a_uri_are_accepted(uri: str) -> None:
    found = parsed({"model": {"uri": uri}})
    if found is not None:
        assert uri.startswith(("hf://", "pvc://"))
        assert ".." not in uri
        assert uri.isascii()
        assert not any(char.isspace() for char in uri)
