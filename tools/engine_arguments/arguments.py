"""Reads the fields of AsyncEngineArgs: JSON kinds, choices, bounds and default of each."""

import ast
from typing import Any

from .resolve import Resolver

ARG_UTILS = "vllm.engine.arg_utils"
KINDS = {"bool": "bool", "int": "int", "float": "float", "str": "str", "Any": "any", "None": "null"}
LISTS = {"list", "List", "set", "Set", "tuple", "Tuple", "Sequence", "frozenset"}
OBJECTS = {"dict", "Dict", "Mapping", "MutableMapping"}
WRAPPERS = {"SkipValidation", "Annotated", "InitVar", "Final"}
ENUM_BASES = {"Enum", "StrEnum", "IntEnum"}
BOUNDS = ("ge", "gt", "le", "lt")

Spec = dict[str, Any]


class UnreadableArgumentError(Exception):
    """The sources say something about an argument that this reader does not know."""


def read_arguments(resolver: Resolver) -> dict[str, Spec]:
    """name -> {"types": [...], "choices"?, "open"?, "default"?, "ge"|"gt"|"le"|"lt"?} in the order of the sources.

    `types` are JSON kinds (bool, int, float, str, list, object, null, any). `open` says that other strings than the
    choices are accepted too. No `default` means that the engine computes one. Raises UnreadableArgumentError.
    """
    specs: dict[str, Spec] = {}
    for name in ("EngineArgs", "AsyncEngineArgs"):
        found = resolver.class_of(ARG_UTILS, name)
        if found is None:
            raise UnreadableArgumentError(f"{resolver.sources.version} has no {name}")
        choices = _flag_choices(found[1])
        for field in found[1].body:
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                specs[field.target.id] = _spec(resolver, field, choices.get(field.target.id))
    return {name: spec for name, spec in specs.items() if not name.startswith("_")}


def _spec(resolver: Resolver, field: ast.AnnAssign, choices: list[Any] | None) -> Spec:
    kinds, literals = kinds_of(resolver, ARG_UTILS, field.annotation)
    facts = _default(resolver, ARG_UTILS, field.value)
    if facts.get("default", 0) is None:
        kinds.add("null")
    if not kinds - {"null"} and not literals:
        raise UnreadableArgumentError(f"{resolver.sources.version}: {ast.unparse(field)}")
    spec: Spec = {"types": sorted(kinds | {kind_of(value) for value in literals})}
    if literals or choices:
        spec["choices"] = literals or choices
    if literals and "str" in kinds:
        spec["open"] = True
    return spec | facts


def kinds_of(resolver: Resolver, module: str, node: ast.AST) -> tuple[set[str], list[Any]]:
    """JSON kinds and literal values of an annotation. A type that JSON cannot hold gives neither."""
    if isinstance(node, ast.Constant):
        return _constant_kind(resolver, module, node)
    if isinstance(node, ast.BinOp):
        return _union(resolver, module, [node.left, node.right])
    if isinstance(node, ast.Subscript):
        return _subscript_kinds(resolver, module, node)
    if isinstance(node, ast.Name):
        return _name_kinds(resolver, module, node.id)
    return set(), []


def _constant_kind(resolver: Resolver, module: str, node: ast.Constant) -> tuple[set[str], list[Any]]:
    if node.value is None:
        return {"null"}, []
    return kinds_of(resolver, module, ast.parse(str(node.value), mode="eval").body)


def _union(resolver: Resolver, module: str, nodes: list[ast.expr]) -> tuple[set[str], list[Any]]:
    kinds: set[str] = set()
    literals: list[Any] = []
    for node in nodes:
        more, values = kinds_of(resolver, module, node)
        kinds |= more
        literals += [value for value in values if value not in literals]
    return kinds, literals


def _subscript_kinds(resolver: Resolver, module: str, node: ast.Subscript) -> tuple[set[str], list[Any]]:
    head = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
    inner = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
    if head == "Literal":
        return set(), [value for item in inner for value in _literals(resolver, module, item)]
    if head == "Union":
        return _union(resolver, module, inner)
    if head == "Optional":
        kinds, literals = _union(resolver, module, inner)
        return kinds | {"null"}, literals
    if head in WRAPPERS:
        return kinds_of(resolver, module, inner[0])
    if head in LISTS:
        return {"list"}, []
    return ({"object"} if head in OBJECTS else set()), []


def _literals(resolver: Resolver, module: str, node: ast.expr) -> list[Any]:
    """Values inside Literal[...], which may name other aliases of Literal."""
    if isinstance(node, ast.Name | ast.Subscript):
        return kinds_of(resolver, module, node)[1]
    return [ast.literal_eval(node)]


def _name_kinds(resolver: Resolver, module: str, name: str) -> tuple[set[str], list[Any]]:
    if name in KINDS:
        return {KINDS[name]}, []
    if name in LISTS:
        return {"list"}, []
    if name in OBJECTS:
        return {"object"}, []
    found = resolver.find(module, name)
    if found is None:
        return set(), []
    where, node = found
    if not isinstance(node, ast.ClassDef):
        return kinds_of(resolver, where, node)
    if ENUM_BASES & set(resolver.bases(where, node)):
        return set(), _enum_values(node)
    return ({"object"}, []) if is_config(resolver, where, node) else (set(), [])


def _enum_values(node: ast.ClassDef) -> list[Any]:
    """Values of the members, or their names where the values are class paths (attention backends go by name)."""
    members: dict[str, Any] = {}
    for statement in node.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            members[ast.unparse(statement.targets[0])] = statement.value.value
    by_name = any(str(value).startswith("vllm.") for value in members.values())
    return list(members) if by_name else list(members.values())


def is_config(resolver: Resolver, module: str, node: ast.ClassDef) -> bool:
    """vLLM's configuration classes, dataclasses under several decorators or pydantic models, take a JSON object."""
    if "BaseModel" in resolver.bases(module, node):
        return True
    return any("config" in ast.unparse(item) or "dataclass" in ast.unparse(item) for item in node.decorator_list)


def kind_of(value: object) -> str:
    return {bool: "bool", int: "int", float: "float", str: "str", type(None): "null"}[type(value)]


def _default(resolver: Resolver, module: str, node: ast.expr | None) -> Spec:
    """{"default": value} and the bounds of the configuration field that the argument takes its default from."""
    if node is None:
        return {}
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return _config_default(resolver, module, node.value.id, node.attr)
    if isinstance(node, ast.Call):
        return _call_default(resolver, module, node)
    if isinstance(node, ast.Name):
        found = resolver.find(module, node.id)
        return _default(resolver, found[0], found[1]) if found and isinstance(found[1], ast.expr) else {}
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return {}
    return {"default": value} if _is_json(value) else {}


def _call_default(resolver: Resolver, module: str, node: ast.Call) -> Spec:
    called = ast.unparse(node.func)
    if called == "get_field" and isinstance(node.args[1], ast.Constant):
        return _config_default(resolver, module, ast.unparse(node.args[0]), str(node.args[1].value))
    if called not in ("Field", "field"):
        return {}
    facts: Spec = {}
    for keyword in node.keywords:
        if keyword.arg == "default":
            facts |= _default(resolver, module, keyword.value)
        elif keyword.arg in BOUNDS:
            facts |= _bound(resolver, module, keyword.arg, keyword.value)
    return facts


def _bound(resolver: Resolver, module: str, name: str, node: ast.expr) -> Spec:
    found = resolver.find(module, node.id) if isinstance(node, ast.Name) else (module, node)
    if found is None or not isinstance(found[1], ast.expr):
        raise UnreadableArgumentError(f"{resolver.sources.version}: {name}={ast.unparse(node)}")
    return {name: ast.literal_eval(found[1])}


def _config_default(resolver: Resolver, module: str, name: str, attribute: str) -> Spec:
    found = resolver.class_of(module, name)
    if found is None:
        return {}
    where, node = found
    if ENUM_BASES & set(resolver.bases(where, node)):
        return _enum_default(node, attribute)
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and getattr(statement.target, "id", None) == attribute:
            return _default(resolver, where, statement.value)
    for base in node.bases:
        facts = _config_default(resolver, where, ast.unparse(base), attribute)
        if facts:
            return facts
    return {}


def _enum_default(node: ast.ClassDef, attribute: str) -> Spec:
    for statement in node.body:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", None) == attribute:
            return {"default": ast.literal_eval(statement.value)}
    return {}


def _is_json(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str | list | dict)


def _flag_choices(node: ast.ClassDef) -> dict[str, list[Any]]:
    """Choices that older versions wrote only beside the command line flag: argument name -> literal values."""
    found: dict[str, list[Any]] = {}
    for call in (item for item in ast.walk(node) if isinstance(item, ast.Call)):
        flag = call.args[0] if call.args else None
        choices = next((keyword.value for keyword in call.keywords if keyword.arg == "choices"), None)
        if isinstance(flag, ast.Constant) and str(flag.value).startswith("--") and isinstance(choices, ast.List):
            try:
                found[str(flag.value)[2:].replace("-", "_")] = ast.literal_eval(choices)
            except ValueError:
                continue  # computed choices are not a fact of the sources
    return found
