"""One registry holds every reason: no module writes one of its own, and none is registered that nothing gives."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import triton_vllm_operator
from triton_vllm_operator.api.reasons import Kind, Reason
from triton_vllm_operator.catalog.messages import MESSAGES, WARNINGS
from triton_vllm_operator.plan.inspection_protocol import DEFINITE

SOURCE = Path(triton_vllm_operator.__file__).parent
REGISTRY = SOURCE / "api" / "reasons.py"
MESSAGES_FILE = SOURCE / "catalog" / "messages.py"  # the texts of reasons that other modules of the catalog give
OTHER_MEANINGS = {
    "Fits": "verdict of a plan, and condition",
    "Tight": "verdict of a plan",
    "DoesNotFit": "verdict of a plan",
    "Resolved": "a class",
    "Unschedulable": "Kubernetes' own reason",
    "NodeLost": "Kubernetes' own reason",
    "SchedulingGated": "Kubernetes' own reason",
}
"""Words of the registry that are also something else."""
OUTCOMES = {"Result", "worked"}
"""What takes a `reason` that is the outcome of one reconcile, for the log and the metrics, and reaches no condition."""


@cache
def modules() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py")) if path != REGISTRY}


def place(path: Path, node: ast.expr) -> str:
    return f"{path.relative_to(SOURCE)}:{node.lineno}"


def scope(path: Path, name: str) -> tuple[Path | None, str]:
    return (path if name.startswith("_") else None), name


def takers_of_reasons() -> dict[tuple[Path | None, str], int]:
    """Class or function with a parameter `reason`, and its module where it is private -> the parameter's position."""
    found: dict[tuple[Path | None, str], int] = {}
    for path, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                fields = [ast.unparse(field.target) for field in node.body if isinstance(field, ast.AnnAssign)]
                if "reason" in fields and node.name not in OUTCOMES:
                    found[scope(path, node.name)] = fields.index("reason")
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names = [a.arg for a in node.args.args if a.arg != "self"]
                if "reason" in names and node.name not in OUTCOMES:
                    found[scope(path, node.name)] = names.index("reason")
    return found


def literal_reasons() -> Iterator[str]:
    takers = takers_of_reasons()
    for path, tree in modules().items():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            given = [keyword.value for keyword in call.keywords if keyword.arg == "reason"]
            given += call.args[takers[scope(path, name)] :][:1] if scope(path, name) in takers else []
            yield from (
                f"{place(path, value)} {ast.unparse(value)}"
                for value in given
                if isinstance(value, ast.JoinedStr) or (isinstance(value, ast.Constant) and value.value)
            )


def test_no_module_gives_a_reason_as_a_literal() -> None:
    assert len(takers_of_reasons()) > 5
    assert list(literal_reasons()) == []


def test_no_module_writes_a_registered_reason_as_text() -> None:
    words = set(Reason) - set(OTHER_MEANINGS)
    written = [
        f"{place(path, node)} {node.value}"
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in words
    ]
    assert written == []


def test_something_gives_each_registered_reason() -> None:
    used = {
        node.attr
        for path, tree in modules().items()
        if path != MESSAGES_FILE
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Reason"
    }
    assert {reason.name for reason in Reason} - used == set()


def test_each_reason_has_a_sentence_and_the_user_knows_what_to_do() -> None:
    for reason in Reason:
        assert reason.meaning.endswith("."), reason
        assert reason.fix or reason.kind is Kind.INFORMATIVE, reason
        assert "|" not in reason.meaning + reason.fix, f"{reason}: the table of the page would break"


def test_what_keeps_pods_from_being_created_is_stalled() -> None:
    assert {reason.kind for reason in DEFINITE} == {Kind.STALLED}
    refusing = {reason for reason in MESSAGES if reason not in WARNINGS}
    assert {reason.kind for reason in refusing} == {Kind.STALLED}
    assert {reason.kind for reason in WARNINGS} == {Kind.INFORMATIVE}


def test_a_reason_is_found_by_its_text() -> None:
    assert Reason.parse("NoToken") is Reason.NO_TOKEN
    assert Reason.parse("NoSuchReason") is None
    assert Reason.parse({}) is None
