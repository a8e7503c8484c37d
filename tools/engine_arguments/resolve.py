"""Finds what a name in vLLM's sources means by reading syntax trees: an alias, a class, or something foreign."""

import ast
from dataclasses import dataclass, field

from .sources import Sources


@dataclass(slots=True)
class Resolver:
    """Follows assignments and imports between modules of one version. Parsed modules are kept."""

    sources: Sources
    _trees: dict[str, ast.Module | None] = field(default_factory=dict)

    def tree(self, module: str) -> ast.Module | None:
        if module not in self._trees:
            text = self.sources.read(module)
            self._trees[module] = ast.parse(text) if text is not None else None
        return self._trees[module]

    def find(self, module: str, name: str, depth: int = 0) -> tuple[str, ast.AST] | None:
        """(module, node) where the node is the aliased expression or the class; None for anything outside vLLM."""
        tree = self.tree(module)
        if tree is None or depth > 8:
            return None
        for node in _statements(tree):
            found = _definition(node, name)
            if found is not None:
                return module, found
        for node in _statements(tree):
            source = _import_of(node, name, module)
            if source is not None:
                return self.find(*source, depth + 1)
        return None

    def class_of(self, module: str, name: str) -> tuple[str, ast.ClassDef] | None:
        found = self.find(module, name)
        if found is None or not isinstance(found[1], ast.ClassDef):
            return None
        return found[0], found[1]

    def bases(self, module: str, node: ast.ClassDef) -> list[str]:
        """Names of the bases, and of their bases within vLLM, as written in the sources."""
        names: list[str] = []
        for base in node.bases:
            name = base.attr if isinstance(base, ast.Attribute) else base.id if isinstance(base, ast.Name) else ""
            names.append(name)
            parent = self.class_of(module, name) if name else None
            if parent is not None and parent[1] is not node:
                names += self.bases(*parent)
        return names


def _statements(tree: ast.Module) -> list[ast.stmt]:
    """Top level statements, and those under `if TYPE_CHECKING:` and `try:`, where vLLM keeps some aliases."""
    flat: list[ast.stmt] = []
    for node in tree.body:
        flat.append(node)
        if isinstance(node, ast.If | ast.Try):
            flat += node.body
    return flat


def _definition(node: ast.stmt, name: str) -> ast.AST | None:
    if isinstance(node, ast.ClassDef) and node.name == name:
        return node
    if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets):
        return node.value
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
        return node.value
    return None


def _import_of(node: ast.stmt, name: str, module: str) -> tuple[str, str] | None:
    if not isinstance(node, ast.ImportFrom):
        return None
    for alias in node.names:
        if (alias.asname or alias.name) == name:
            return _absolute(node, module), alias.name
    return None


def _absolute(node: ast.ImportFrom, module: str) -> str:
    if not node.level:
        return node.module or ""
    parent = module.split(".")[: -node.level] if node.level else []
    return ".".join([*parent, *([node.module] if node.module else [])])
