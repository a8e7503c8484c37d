"""Reads the fields of vLLM's configuration classes that engine arguments take as objects."""

import ast
import re
from collections.abc import Iterator

from .arguments import ARG_UTILS, Spec, is_config, kind_of, kinds_of
from .resolve import Resolver

CONFIG = "vllm.config"
# Arguments that are annotated as a dictionary, and the class that the engine makes of it.
BY_NAME = {"speculative_config": "SpeculativeConfig"}
FORBIDS = re.compile(r"""extra=["']forbid["']""")
# Fields that the engine itself fills in, of classes that are not an argument.
FILLED_IN = {
    "target_model_config",
    "target_parallel_config",
    "draft_model_config",
    "draft_parallel_config",
    "draft_load_config",
}
# Validators that run before a value's type is checked, and may accept others.
FREE_MODES = ("before", "plain")


def read_nested(resolver: Resolver) -> dict[str, Spec]:
    """ "argument" -> {"config": class} for each argument with a class, and "class.field" -> its types and choices.

    The JSON kind of a field that a validator may convert is "any", and a field that is itself of a class has `config`.
    """
    specs: dict[str, Spec] = {}
    left: list[tuple[str, ast.ClassDef]] = []
    for name, found in _arguments(resolver):
        specs[name] = {"config": found[1].name}
        left.append(found)
    done: set[str] = set()
    while left:
        module, node = left.pop()
        if node.name in done:
            continue
        done.add(node.name)
        specs[node.name] = _class_spec(resolver, module, node)
        for name, spec, inner in _fields(resolver, module, node):
            specs[f"{node.name}.{name}"] = spec
            left += inner
    return specs


def _arguments(resolver: Resolver) -> Iterator[tuple[str, tuple[str, ast.ClassDef]]]:
    for owner in ("EngineArgs", "AsyncEngineArgs"):
        found = resolver.class_of(ARG_UTILS, owner)
        for field in found[1].body if found else ():
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            name = field.target.id
            configs = _configs(resolver, ARG_UTILS, field.annotation)
            named = resolver.class_of(CONFIG, BY_NAME[name]) if name in BY_NAME else None
            if named is not None:
                configs = [named]
            if len(configs) == 1:
                yield name, configs[0]


def _fields(
    resolver: Resolver, module: str, node: ast.ClassDef
) -> Iterator[tuple[str, Spec, list[tuple[str, ast.ClassDef]]]]:
    for base in node.bases:
        parent = resolver.class_of(module, ast.unparse(base))
        if parent is not None:
            yield from _fields(resolver, *parent)
    free, optional = _validated(node, FREE_MODES), _validated(node, ("wrap",))
    for field in node.body:
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        name = field.target.id
        if (
            name.startswith("_")
            or name in FILLED_IN
            or "ClassVar" in ast.unparse(field.annotation)
            or _is_internal(field.value)
        ):
            continue
        configs = _configs(resolver, module, field.annotation)
        spec = _spec(resolver, module, field)
        if name in free:
            spec = {"types": ["any"]}
        elif name in optional:
            spec["types"] = sorted({*spec["types"], "null"})
        if len(configs) == 1:
            spec["config"] = configs[0][1].name
        yield name, spec, configs if len(configs) == 1 else []


def _class_spec(resolver: Resolver, module: str, node: ast.ClassDef) -> Spec:
    """A plain dataclass checks the names of its fields; one of pydantic their types, and names where it says so."""
    decorators = [ast.unparse(one) for one in node.decorator_list]
    plain = any(one.startswith("dataclass") for one in decorators)
    pydantic = "from pydantic.dataclasses import dataclass" in (resolver.sources.read(module) or "")
    if plain and not pydantic:
        return {"extra": "forbid", "validated": False}
    said = "\n".join(decorators) if plain else resolver.sources.read(f"{CONFIG}.utils") or ""
    return {"extra": "forbid" if FORBIDS.search(said) else "ignore", "validated": True}


def _spec(resolver: Resolver, module: str, field: ast.AnnAssign) -> Spec:
    kinds, literals = kinds_of(resolver, module, field.annotation)
    if isinstance(field.value, ast.Constant) and field.value.value is None:
        kinds = kinds | {"null"}
    types = sorted(kinds | {kind_of(value) for value in literals})
    spec: Spec = {"types": types if set(types) - {"null"} else ["any"]}
    if literals:
        spec["choices"] = literals
        if "str" in kinds:
            spec["open"] = True
    return spec


def _is_internal(value: ast.expr | None) -> bool:
    """Whether a field is not an argument of its class: `field(init=False)`."""
    keywords = value.keywords if isinstance(value, ast.Call) else []
    return any(one.arg == "init" and ast.unparse(one.value) == "False" for one in keywords)


def _validated(node: ast.ClassDef, modes: tuple[str, ...]) -> set[str]:
    """Fields with a validator of one of these modes; all of them for a validator of the whole class."""
    names: set[str] = set()
    for function in (item for item in node.body if isinstance(item, ast.FunctionDef)):
        for call in (item for item in function.decorator_list if isinstance(item, ast.Call)):
            mode = next((ast.literal_eval(one.value) for one in call.keywords if one.arg == "mode"), "after")
            if ast.unparse(call.func) == "field_validator" and mode in modes:
                names |= {ast.literal_eval(one) for one in call.args}
    return names


def _configs(resolver: Resolver, module: str, annotation: ast.expr) -> list[tuple[str, ast.ClassDef]]:
    """The configuration classes that an annotation names, outside of lists and dictionaries."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if isinstance(annotation, ast.BinOp):
        return _configs(resolver, module, annotation.left) + _configs(resolver, module, annotation.right)
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) in (
        "Optional",
        "Union",
        "SkipValidation",
    ):
        inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        return [found for one in inner for found in _configs(resolver, module, one)]
    if not isinstance(annotation, ast.Name):
        return []
    found = resolver.class_of(module, annotation.id)
    return [found] if found is not None and is_config(resolver, *found) else []
