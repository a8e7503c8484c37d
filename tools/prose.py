"""Style of text and names: the rules of "Style" in CONTRIBUTING.md that a pattern can find.

`python -m tools.prose [PATH ...]` prints every breach below the given paths (default: everywhere).
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools import sources

ROOT = Path(__file__).resolve().parent.parent
EXEMPT = frozenset({"tools/prose.py", "tools/tests/test_verify.py", "operator/docs/api.md"})
"""The rules and their tests, which contain the words to avoid; a page that is generated from checked code."""

_COUNTED = (
    r"bytes|bits|[KMGT]i?B|ms|GPUs?|tokens?|requests?|pods?|probes?|times|blocks?|cores?|lines?|entries|rows?|"
    r"functions?|files?|seconds|minutes|layers?|heads?|copies|values?|engines?|"
    r"one (?!is|of|was|has|needs|gets|in|with|as|by|to|for|from|and|or|that|takes|gives|makes|at|on)[a-z]+"
)
_UNIT = (
    r"second|minute|hour|day|token|GPU|replica|pod|node|block|layer|request|step|sequence|key|worker|rank|card|"
    r"model|image|core|process|file|call|run|reconcile|object|LLMDeployment|message|name|test|cause|line|kind|case|child"
)
_IS_NO = r"(?<!there )(?<!here )(?<!this )\b(?:is|are|was|were)\b no (?!longer\b|more\b|less\b|other\b|one\b|matter\b)"


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern of text to avoid, and what to write instead."""

    name: str
    pattern: re.Pattern[str]
    advice: str


TEXT_RULES = (
    Rule("rate", re.compile(rf"\b(?:{_COUNTED}) an? (?:{_UNIT})\b(?! (?:that|which|of|is|to)\b)"), 'write "per"'),
    Rule("is no", re.compile(_IS_NO, re.IGNORECASE), 'write "is not a"'),
    Rule("most", re.compile(r"(?:^|[.:;] )(?:Most|Least|Fewest) (?!of\b|other\b)[a-z]"), 'write "maximum/minimum"'),
    Rule("word", re.compile(r"\b(?:anew|besides|nobody|somebody)\b", re.IGNORECASE), "say it in plain words"),
    Rule("told", re.compile(r"\b(?:tells?|told|said)\b(?! apart\b)", re.IGNORECASE), "name it: report, message, state"),
)
"""Rules for strings, docstrings, comments and documents."""

NAME_RULE = Rule(
    "name",
    re.compile(
        r"(?:^|_)(?:told|tell|tells|said|says|look|wanted|holders|gate|pace|inbox|texts|anew|besides)(?:_|$)", re.I
    ),
    "use the field's word for it",
)
"""Words that a public name does not contain."""

NAMES_OF_WEIGHTS = frozenset({"query_gate", "shared_expert_gate"})
"""Public names that have such a word because published models call their weights so."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A place that breaks a rule."""

    path: Path
    line: int
    rule: Rule
    found: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.found!r}: {self.rule.advice}"


def in_text(path: Path, line: int, text: str) -> Iterator[Breach]:
    """Breaches in a piece of text that starts at `line` of a file."""
    flat = re.sub(r"\s", " ", text)
    for rule in TEXT_RULES:
        for found in rule.pattern.finditer(flat):
            yield Breach(path, line + text.count("\n", 0, found.start()), rule, found[0].strip())


def in_names(path: Path, tree: ast.Module) -> Iterator[Breach]:
    """Breaches in the public names that a Python module defines: classes, functions, parameters, fields, constants."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                names = [node.name]
            case ast.arg():
                names = [node.arg]
            case ast.AnnAssign(target=ast.Name(id=name)):
                names = [name]
            case _:
                continue
        for name in names:
            words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
            if not name.startswith("_") and name not in NAMES_OF_WEIGHTS and NAME_RULE.pattern.search(words):
                yield Breach(path, node.lineno, NAME_RULE, name)


def in_python(path: Path) -> Iterator[Breach]:
    """Breaches in the strings, docstrings, comments and names of a Python file."""
    source = path.read_text()
    tree = ast.parse(source, str(path))
    if not any(part == "tests" or part == "backend_tests" for part in path.parts):
        yield from in_names(path, tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from in_text(path, node.lineno, node.value)
    comments = [t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type == tokenize.COMMENT]
    for token in comments:
        yield from in_text(path, token.start[0], token.string.lstrip("#: "))


def in_document(path: Path) -> Iterator[Breach]:
    """Breaches in the prose of a Markdown file: without blocks of code and code in a line."""
    blank = lambda found: re.sub(r"[^\n]", " ", found[0])  # noqa: E731
    text = re.sub(r"^```.*?^```|`[^`\n]*`|<!--.*?-->", blank, path.read_text(), flags=re.MULTILINE | re.DOTALL)
    yield from in_text(path, 1, text)


def in_comments(path: Path) -> Iterator[Breach]:
    """Breaches in the comments (`# ...`) of any other text file."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        _, hash_sign, comment = line.partition("#")
        if hash_sign:
            yield from in_text(path, number, comment)


def breaches(root: Path) -> Iterator[Breach]:
    """Breaches in every tracked file of the repository that people write."""
    for path in sources.tracked(root):
        relative = path.relative_to(root).as_posix()
        if relative in EXEMPT:
            continue
        if path.suffix == ".py":
            yield from in_python(path)
        elif path.suffix == ".md":
            yield from in_document(path)
        elif path.name in ("Dockerfile", "Makefile", "values.yaml", "pyproject.toml") or path.suffix in (".sh", ".tpl"):
            yield from in_comments(path)
        elif relative.startswith("charts/") and path.suffix == ".txt":
            yield from in_text(path, 1, path.read_text())


def main(paths: list[str]) -> int:
    """Print the breaches below the paths."""
    below = [Path(name).resolve() for name in paths] or [ROOT]
    found = [one for one in breaches(ROOT) if any(one.path.is_relative_to(path) for path in below)]
    sys.stdout.writelines(f"{one}\n" for one in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
