"""Values for every field of the CRD's schema, from a seed: what a person could write, valid or nearly so."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

CRD = Path(__file__).parents[3] / "crds" / "llmdeployments.yaml"
Schema = Mapping[str, Any]
Step = str | int  # the name of a field, "{}" for a key of a map, "[]" for an item of a list
ITEM, KEY = "[]", "{}"

_QUANTITIES = ("1Gi", "2Gi", "512Mi", "3G", "1500M", "2048Ki")
_NAME = ("fp8", "awq", "auto", "safetensors")
# What a pattern or a path admits. A pattern that is new in the schema and not here fails the test that draws it.
_BY_PATTERN: Mapping[str, Sequence[Any]] = {
    r"^([0-9]{2}\.(0[1-9]|1[0-2])|vllm-[0-9]+\.[0-9]+\.[0-9]+)$": ("26.07", "26.06", "vllm-0.32.0", "25.13", "31.01"),
    r"^--[a-z][a-z0-9-]*(=.*)?$": (
        "--http-thread-count=16",
        "--http-thread-count=8",
        "--pinned-memory-pool-byte-size=0",
    ),
    r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$": _QUANTITIES,
    r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$": ("NVIDIA-H100-80GB-HBM3", "NVIDIA-L4"),
    r"^[A-Za-z0-9][A-Za-z0-9._/-]*$": ("main", "refs/pr/1", "0123456789abcdef0123456789abcdef01234567"),
    r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$": ("org/model", "other:latest"),
    r"^[A-Za-z0-9][A-Za-z0-9_-]*$": _NAME,
    r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$": ("nvidia.com/gpu", "amd.com/gpu"),
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$": ("data", "extra-1"),
    r"^(\*\.)?[A-Za-z0-9_:][A-Za-z0-9_.:-]*(/[0-9]{1,3})?$": ("images.example.com", "*.cdn.example.com", "10.0.0.7"),
    r"^\S+$": ("registry.example/triton-vllm:vllm-0.32.0", "mirror.example/triton-vllm:vllm-0.32.0"),
}
_BY_PATH: Mapping[tuple[Step, ...], Sequence[Any]] = {
    ("model", "uri"): ("hf://org/model", "hf://org/other", "hf://org/model@v1", "pvc://claim/a/b", "pvc://claim"),
    ("model", "name"): ("llama", "Llama.3-8B", "m_1"),
    ("engine", "extraArgs"): ({"enable_log_requests": True}, {"enable_log_requests": False}, {}),
    ("engine", "blockSize"): (16, 32),
    ("server", "openAI", "extraArgs"): ({"enable_force_include_usage": True}, {"response_role": "bot"}, {}),
    ("replicas",): (1, 2, 0),
    ("podTemplate", "volumes", ITEM, "emptyDir", "medium"): ("", "Memory"),
}


def spec_schema() -> Schema:
    """The schema of `spec` as the API server gets it."""
    crd = yaml.safe_load(CRD.read_text())
    found: Schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def leaves(schema: Schema, path: tuple[Step, ...] = ()) -> Iterator[tuple[Step, ...]]:
    """Paths of all fields that hold no other fields."""
    below = _below(schema)
    if not below:
        yield path
    for step, inner in below.items():
        yield from leaves(inner, (*path, step))


def _below(schema: Schema) -> dict[Step, Schema]:
    if "properties" in schema:
        return dict(schema["properties"])
    if "items" in schema:
        return {ITEM: schema["items"]}
    more = schema.get("additionalProperties")
    return {KEY: more} if isinstance(more, Mapping) else {}


def choices(schema: Schema, path: tuple[Step, ...]) -> Sequence[Any]:
    """At least two different good values of a leaf."""
    if path in _BY_PATH:
        return _BY_PATH[path]
    if "enum" in schema:
        return tuple(schema["enum"])
    if "pattern" in schema:
        return _BY_PATTERN[schema["pattern"]]
    if schema.get("x-kubernetes-int-or-string"):
        return _QUANTITIES
    return _by_type(schema)


def _by_type(schema: Schema) -> Sequence[Any]:
    kind = schema["type"]
    if kind == "boolean":
        return (True, False)
    if kind == "integer":
        low = int(schema.get("minimum", 1))
        return (low, min(low + 1, int(schema.get("maximum", low + 1))), min(low + 63, int(schema.get("maximum", 64))))
    if kind == "number":
        return (0.5, 0.8, 1)
    return ("first", "second") if kind == "string" else ({}, {"first": "1"})


def put(schema: Schema, path: tuple[Step, ...], value: Any, at: tuple[Step, ...] = ()) -> Any:
    """The smallest object that has `value` at `path` and all fields that are required beside it."""
    if not path:
        return value
    step, rest = path[0], path[1:]
    inner = put(_below(schema)[step], rest, value, (*at, step))
    if step == ITEM:
        return [inner]
    if step == KEY:
        return {"example.com/key": inner}
    beside = {name: least(schema["properties"][name], (*at, name)) for name in schema.get("required", ())}
    return {**beside, step: inner}


def least(schema: Schema, path: tuple[Step, ...]) -> Any:
    """The smallest good value."""
    below = _below(schema)
    if not below:
        return choices(schema, path)[0]
    if "properties" in schema:
        return {name: least(below[name], (*path, name)) for name in schema.get("required", ())}
    return [least(below[ITEM], (*path, ITEM))] if ITEM in below else {}


def at(schema: Schema, path: tuple[Step, ...]) -> Schema:
    """The schema of the field at `path`."""
    for step in path:
        schema = _below(schema)[step]
    return schema


def draw(schema: Schema, rand: random.Random, path: tuple[Step, ...] = (), *, odd: float = 0.0) -> Any:
    """A value drawn at random. `odd`: how often a leaf gets one that its schema or sense forbids."""
    below = _below(schema)
    if not below:
        return rand.choice(ODD) if rand.random() < odd else rand.choice(choices(schema, path))
    if ITEM in below:
        return [draw(below[ITEM], rand, (*path, ITEM), odd=odd) for _ in range(rand.randint(0, 2))]
    if KEY in below:
        keys = rand.sample(("a", "example.com/b", "team"), rand.randint(0, 2))
        return {key: draw(below[KEY], rand, (*path, KEY), odd=odd) for key in keys}
    wanted = [name for name in below if name in schema.get("required", ()) or rand.random() < 1.5 / len(below)]
    return {name: draw(below[name], rand, (*path, name), odd=odd) for name in wanted}


ODD: Sequence[Any] = (
    "", " ", "..", "../../etc/passwd", "a/b", "/", "-", "--", "\n", 'x"y', "'", "{{ .Values }}", "${HOME}", "$(id)",
    "\u0000", "\u202e", "ü" * 40, "x" * 300, "a\nb: c", -1, 0, 10**9, 2**31, 1.5, True, None, [], {}, ["x"], {"x": "y"},
)  # fmt: skip
