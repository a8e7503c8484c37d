"""Folds the arguments of many versions into one table: a span of versions for each form that an argument has had."""

import json
from collections.abc import Mapping
from typing import Any

from .arguments import Spec

HEADER = "Generated from the sources of each vLLM version by `python -m tools.contract`. Do not edit."


def fold(by_version: Mapping[str, Mapping[str, Spec]]) -> dict[str, Any]:
    """{"versions": [oldest first], "arguments": {name: [{"span": [first, last], ...spec}]}}; spans are indices."""
    versions = list(by_version)
    names = sorted({name for specs in by_version.values() for name in specs})
    forms = {name: _spans([by_version[version].get(name) for version in versions]) for name in names}
    return {"about": HEADER, "versions": versions, "arguments": forms}


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
    head = {key: value for key, value in table.items() if key != "arguments"}
    lines = [json.dumps(head, indent=1)[:-2] + ',\n "arguments": {']
    blocks = []
    for name, spans in table["arguments"].items():
        forms = ",\n   ".join(json.dumps(span) for span in spans)
        blocks.append(f"  {json.dumps(name)}: [\n   {forms}\n  ]")
    return "\n".join([*lines, ",\n".join(blocks), " }\n}\n"])
