"""Code that nothing uses, found by vulture. Use by a unit test alone does not count as use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vulture import Vulture  # type: ignore[import-untyped]

PRODUCTION = ("contract", "operator/src", "images/triton-vllm/backend", "e2e", "tools")
"""Folders of code that must be used."""
USERS = ("images", "operator/tests/faults", "operator/tests/bench", "operator/tests/gpu")
"""Folders of programs that use it too."""
API = "operator/src/triton_vllm_operator/api/"
"""Folder of the custom resource: its fields are read by name, through pydantic."""
ALLOWED = {
    "initialize execute finalize auto_complete_config": "called by Triton's Python backend",
    "do_GET do_HEAD log_message protocol_version": "called by http.server",
    "load_from_url": "called by vLLM",
    "triton_vllm_spent": "called through vLLM's collective_rpc",
    "pytest_collection_modifyitems pytest_runtest_makereport pytest_runtest_logreport pytest_runtestloop pytestmark": (
        "called by pytest"
    ),
    "prepare_metadata_for_build_wheel config_settings": "called by pip",
    "ignore_aliases": "called by PyYAML",
    "wrap_in_trampoline": "called by the code that mutmut writes",
    "LONGEST_BLIND_S": "the bound that the tests of bad streams check",
}
"""Names that something uses which vulture cannot see: names to the reason."""
_ALLOWED_NAMES = frozenset(name for names in ALLOWED for name in names.split())


def unused(root: Path) -> Iterator[str]:
    """Functions, classes, variables and attributes of `PRODUCTION` that nothing uses."""
    vulture = Vulture(ignore_decorators=["@app.command", "@pytest.fixture"])
    vulture.scavenge(
        [str(root / folder) for folder in (*PRODUCTION, *USERS) if (root / folder).exists()],
        exclude=["*/tools/tests/*", "*/backend_tests/*"],
    )
    for item in vulture.get_unused_code():
        name = Path(item.filename).relative_to(root).as_posix()
        if name.startswith(PRODUCTION) and item.name not in _ALLOWED_NAMES and not _is_for_others(name, item):
            yield f"{name}:{item.first_lineno}: nothing uses the {item.typ} {item.name}: remove it"


def _is_for_others(name: str, item: Any) -> bool:
    """Whether a definition is read by other programs: a field of the API, a setting of another library's object."""
    line = Path(item.filename).read_text().splitlines()[item.first_lineno - 1]
    is_field = name.startswith(API) and item.typ == "variable" and line.startswith(" ")
    return is_field or (item.typ == "attribute" and f"self.{item.name}" not in line)
