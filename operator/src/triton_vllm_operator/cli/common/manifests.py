"""Objects as YAML documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Writes strings of several lines as blocks, so that config.pbtxt and model.json stay readable."""


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _string)


def to_yaml(objects: Sequence[dict[str, Any]]) -> str:
    """Write objects as YAML documents, ready for `kubectl apply`."""
    documents: str = yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    return documents
