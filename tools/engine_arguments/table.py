"""Folds the arguments of many versions into one table: a span of versions for each form that an argument has had."""

import json
from collections.abc import Mapping
from typing import Any

from .arguments import Spec

HEADER = "Generated from the sources of each vLLM version by `python -m tools.engine_arguments`. Do not edit."


def fold(arguments: Mapping[str, Mapping[str, Spec]], methods: Mapping[str, Mapping[str, Spec]]) -> dict[str, Any]:
    """{"versions": [oldest first], "arguments": {name: [{"span": [first, last], ...spec}]}, "quantization": same}.

    Both maps hold version -> name -> spec, oldest version first; a span holds the first and the last index.
    """
    return {
        "about": HEADER,
        "versions": list(arguments),
        "arguments": _fold(list(arguments.values())),
        "quantization": _fold(list(methods.values())),
    }


def fold_names(by_version: Mapping[str, Mapping[str, Spec]], key: str) -> dict[str, Any]:
    """The same for one map of version -> name -> spec, under `key`."""
    return {"about": HEADER, "versions": list(by_version), key: _fold(list(by_version.values()))}


def _fold(by_version: list[Mapping[str, Spec]]) -> dict[str, list[Spec]]:
    names = sorted({name for specs in by_version for name in specs})
    return {name: _spans([specs.get(name) for specs in by_version]) for name in names}


def _spans(specs: list[Spec | None]) -> list[Spec]:
    spans: list[Spec] = []
    for index, spec in enumerate(specs):
        if spec is None:
            continue
        last = spans[-1] if spans else None
        if last and last["span"][1] == index - 1 and {**last, "span": None} == {"span": None, **spec}:
            last["span"][1] = index
        else:
            spans.append({"span": [index, index], **spec})
    return spans


def to_text(table: Mapping[str, Any]) -> str:
    """JSON with one line for each form, so that a diff of two tables reads as a list of changes."""
    lines = ("about", "versions")
    parts = [f" {json.dumps(key)}: {json.dumps(table[key])}" for key in lines]
    parts += [f" {json.dumps(key)}: {{\n{_forms(table[key])}\n }}" for key in table if key not in lines]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _forms(forms: Mapping[str, list[Spec]]) -> str:
    lines = []
    for name, spans in forms.items():
        listed = ",\n   ".join(json.dumps(span) for span in spans)
        lines.append(f"  {json.dumps(name)}: [\n   {listed}\n  ]")
    return ",\n".join(lines)
