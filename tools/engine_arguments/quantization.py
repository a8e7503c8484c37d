"""Reads the least compute capability of each quantization method: what its class says in get_min_capability."""

import ast

from .arguments import Spec
from .resolve import Resolver

PACKAGE = "vllm.model_executor.layers.quantization"


def read_methods(resolver: Resolver) -> dict[str, Spec]:
    """method -> {"minCapability": 75} for compute capability 7.5. Methods whose class says nothing plain are left out.

    A class that gives one number out of several counts with the lowest: a refusal must be certain.
    """
    tree = resolver.tree(PACKAGE)
    if tree is None:
        return {}
    imports = _imports(tree)
    methods: dict[str, Spec] = {}
    for name, class_name in _classes(tree).items():
        module, original = imports.get(class_name, (PACKAGE, class_name))
        least = _least(resolver, module, original)
        if least is not None and least > 0:
            methods[name] = {"minCapability": least}
    return methods


def _classes(tree: ast.Module) -> dict[str, str]:
    """Every `"method": ConfigClass` pair of the package, wherever its dictionary is written."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str) and isinstance(value, ast.Name):
                    found[key.value] = value.id
    return found


def _imports(tree: ast.Module) -> dict[str, tuple[str, str]]:
    """Imported name -> (module, name there), also for imports inside functions."""
    found: dict[str, tuple[str, str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = f"{PACKAGE}.{node.module}" if node.level else node.module or ""
            for alias in node.names:
                found[alias.asname or alias.name] = (module, alias.name)
    return found


def _least(resolver: Resolver, module: str, name: str) -> int | None:
    found = resolver.class_of(module, name)
    if found is None:
        return None
    where, node = found
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "get_min_capability":
            return _lowest_return(statement)
    inherited = (_least(resolver, where, ast.unparse(base)) for base in node.bases)
    return next((least for least in inherited if least is not None), None)


def _lowest_return(function: ast.FunctionDef) -> int | None:
    values = []
    for node in ast.walk(function):
        if isinstance(node, ast.Return):
            if not isinstance(node.value, ast.Constant) or not isinstance(node.value.value, int):
                return None
            values.append(node.value.value)
    return min(values, default=None)
