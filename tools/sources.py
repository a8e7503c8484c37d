"""Rules about the repository's own files that no existing tool checks. Each returns one line per breach."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

MAX_FUNCTION_LINES = 60
"""Maximum number of lines of a function, from `def` to its last line."""

PUBLIC_HOSTS = frozenset(
    {"pypi.org", "files.pythonhosted.org", "download.pytorch.org", "deb.debian.org", "github.com", "proxy.golang.org"}
)
"""Public package registries."""

_HOME = re.compile(r"(?<![\w.$}~-])/(?:root|home/[a-z][\w-]*|Users/[A-Za-z][\w-]*)/")
_REGISTRY = re.compile(
    r"(?:registry|index|find-links|proxy)\b[^\n]{0,20}?https?://(?:[^@/\s\"]+@)?([\w.-]+)", re.IGNORECASE
)


def tracked(root: Path) -> list[Path]:
    """Files that are in git or would be after `git add`, without ignored and removed ones."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return [path for name in sorted(filter(None, listed.split("\0"))) if (path := root / name).is_file()]


def stale(generated: Mapping[Path, str]) -> Iterator[str]:
    """Generated files that differ from the text that their source gives now."""
    for path, text in generated.items():
        if not path.exists() or path.read_text() != text:
            yield f"{path} is stale: run `make gen`"


def long_functions(path: Path, limit: int = MAX_FUNCTION_LINES) -> Iterator[str]:
    """Functions of one Python file with more lines than `limit`."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > limit:
                yield f"{path}:{node.lineno}: {node.name} has {lines} lines, the maximum is {limit}: split it"


def private_names(path: Path) -> Iterator[str]:
    """Names in one file that exist on one machine only: home folders, registries that are not public."""
    data = path.read_bytes()
    if b"\0" in data:
        return
    for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
        for found in _HOME.finditer(line):
            yield f"{path}:{number}: {found[0]} is a folder of one machine"
        for found in _REGISTRY.finditer(line):
            if found[1] not in PUBLIC_HOSTS and not found[1].startswith(("127.0.0.1", "localhost")):
                yield f"{path}:{number}: {found[1]} is not a public package registry"
