"""What a patch relies on in another package, and the check that the installed package still has it.

The check reads source files and imports nothing, so it also covers modules that need a GPU.
"""

from __future__ import annotations

import ast
import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# vLLM's versions that the image is built with, and with which every patch was checked.
VLLM = ("0.31.*", "0.32.*")


@dataclass(frozen=True, slots=True)
class Target:
    """A function, class or method that a patch replaces, wraps or reads.

    `module`: dotted name; `name`: within the module, "" for the module itself; `parameters`: names that it must accept;
    `source`: code that it must contain, compared without regard to white space.
    """

    module: str
    name: str = ""
    parameters: tuple[str, ...] = ()
    source: tuple[str, ...] = ()

    def problems(self, packages: Path) -> Iterator[str]:
        """What the package in the folder `packages` lacks, one line each."""
        file = _source_file(packages, self.module)
        if file is None:
            yield f"module {self.module} not found"
            return
        text = file.read_text(encoding="utf-8")
        node = _find(ast.parse(text), self.name)
        if node is None:
            yield f"{self.module} does not define {self.name}"
            return
        where = ".".join(filter(None, (self.module, self.name)))
        accepted = _parameters(node)
        yield from (f"{where} has no parameter {name!r}" for name in self.parameters if name not in accepted)
        code = _squeezed(ast.unparse(node))
        expected = {part: _squeezed(ast.unparse(ast.parse(part))) for part in self.source}
        yield from (f"{where} no longer contains: {part}" for part, found in expected.items() if found not in code)


@dataclass(frozen=True, slots=True)
class Upstream:
    """What one patch relies on. `versions`: patterns of the versions of vLLM that it was checked with."""

    targets: tuple[Target, ...]
    versions: tuple[str, ...] = VLLM

    def problems(self, packages: Path, version: str) -> list[str]:
        """What does not fit the installed packages, one line each; [] when the patch can be applied."""
        known = any(fnmatch.fnmatch(version, pattern) for pattern in self.versions)
        unknown = [] if known else [f"not checked with vLLM {version}, only with {', '.join(self.versions)}"]
        return unknown + [problem for target in self.targets for problem in target.problems(packages)]


def _source_file(packages: Path, module: str) -> Path | None:
    base = packages.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _find(node: ast.AST, name: str) -> ast.AST | None:
    """The definition of a dotted name; an assignment and an import count as one."""
    for part in filter(None, name.split(".")):
        found = next((each for each in ast.walk(node) if part in _defined(each)), None)
        if found is None:
            return None
        node = found
    return node


def _defined(node: ast.AST) -> list[str]:
    if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        return [node.name]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    if isinstance(node, ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def _parameters(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ClassDef):
        inits = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
        return _parameters(inits[0]) if inits else []
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return []
    return [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]


def _squeezed(code: str) -> str:
    return "".join(code.split())
