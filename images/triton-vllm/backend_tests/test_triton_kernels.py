"""The kernels that the image compiles in advance: what is recorded of them, and how they are found in vLLM."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import env as engine_env

PROGRAM = Path(__file__).parents[1] / "compile-triton-kernels.py"
RECORDED = PROGRAM.with_name("triton-kernels.jsonl")
ROWS: list[dict[str, Any]] = [json.loads(line) for line in RECORDED.read_text().splitlines()]
PLACES = sorted({(row["module"], row["name"]) for row in ROWS})


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program as a module; it sees no GPU, and no stand-in for one."""
    monkeypatch.setitem(sys.modules, "without_gpu", SimpleNamespace(pretend=lambda: None))
    spec = importlib.util.spec_from_file_location("compile_triton_kernels", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # where processes of its pool find its functions
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("architecture", "capability"), [("8.0", 80), ("8.6", 86), ("9.0a", 90), ("10.0f", 100), ("12.0f", 120)]
)
def test_compute_capability_of_an_architecture(program: Any, architecture: str, capability: int) -> None:
    assert program.compute_capability(architecture) == capability


def stand_in(monkeypatch: pytest.MonkeyPatch, **contents: Any) -> None:
    module = ModuleType("kernels_of_a_stand_in")
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_a_kernel_is_found_below_what_is_wrapped_around_it(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = SimpleNamespace(cache_key="key", fn="its Python function")
    wrapped = SimpleNamespace(fn=SimpleNamespace(fn=kernel))
    stand_in(monkeypatch, plain=kernel, wrapped=wrapped, Holder=SimpleNamespace(inner=kernel))
    for name in ("plain", "wrapped", "Holder.inner"):
        assert program.find({"module": "kernels_of_a_stand_in", "name": name}) is kernel


def test_a_kernel_that_this_version_has_not_is_not_found(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    with pytest.raises(AttributeError):
        program.find({"module": "kernels_of_a_stand_in", "name": "gone"})
    with pytest.raises(ImportError):
        program.find({"module": "no_such_module_at_all", "name": "gone"})


@pytest.mark.parametrize("number", range(len(ROWS)))
def test_a_row_says_how_each_parameter_is_compiled(number: int) -> None:
    row = ROWS[number]
    assert set(row) == {"module", "name", "signature", "constants", "attributes", "options"}
    kinds = list(row["signature"].values())
    constants = {path[0]: value for path, value in row["constants"]}
    # Every constant has a value, and nothing else has one; None is a constant that was not given.
    assert {index for index, kind in enumerate(kinds) if kind == "constexpr"} == set(constants)
    for path, values in row["attributes"]:
        assert kinds[path[0]] != "constexpr"
        assert values == [["tt.divisibility", 16]]
    assert {"num_warps", "num_ctas", "num_stages"} <= set(row["options"])
    assert not {"arch", "backend_name", "target"} & set(row["options"]), "compiled for every architecture"


def test_no_specialization_is_compiled_twice() -> None:
    assert len({json.dumps(row, sort_keys=True) for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize(("failing", "code"), [([], 0), (["one"], 0), (["one", "two"], 1)])
def test_what_cannot_be_compiled_is_reported_and_fails_only_when_nothing_can(
    program: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    failing: list[str],
    code: int,
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", "")
    monkeypatch.setenv("TRITON_STORE_BINARY_ONLY", "")

    def compile_kernel(row: dict[str, Any], capability: int) -> None:
        if row["name"] in failing:
            raise AttributeError("gone")
        with (Path(os.environ["TRITON_CACHE_DIR"]) / str(capability)).open("a") as file:
            file.write(f"{row['name']} ")

    monkeypatch.setattr(program, "compile_kernel", compile_kernel)
    monkeypatch.setattr(program, "RECORDED", tmp_path / "rows")
    (tmp_path / "rows").write_text('{"name": "one", "signature": {}}\n{"name": "two", "signature": {}}\n')
    folder = tmp_path / "cache"
    folder.mkdir()
    assert program.main([str(folder), "9.0a", "8.0", "9.0f"]) == code
    left = "".join(f"{name} " for name in ("one", "two") if name not in failing)
    assert {file.name: file.read_text() for file in folder.iterdir()} == ({"80": left, "90": left} if left else {})
    output = capsys.readouterr().out
    for name in failing:
        assert f"not compiled: {name} for 90: AttributeError: gone" in output
    assert f"{2 * len(left.split())} Triton kernels compiled" in output


def test_kernels_of_the_sampler_are_compiled_for_each_vocabulary(program: Any) -> None:
    for row in ROWS:
        sizes = [
            value
            for each in program.of_vocabularies(row, (32000, 128256))
            for path, value in each["constants"]
            if list(row["signature"])[path[0]] == "VOCAB_SIZE"
        ]
        assert sizes == ([128256, 32000] if "VOCAB_SIZE" in row["signature"] else [])


def test_vocabularies_have_the_divisibility_that_was_recorded(program: Any) -> None:
    assert all(size % 16 == 0 for size in program.VOCABULARIES)
    assert len(set(program.VOCABULARIES)) == len(program.VOCABULARIES)


@pytest.mark.engine
@pytest.mark.parametrize(("module", "name"), PLACES, ids=[name for _, name in PLACES])
def test_vllm_has_a_kernel_of_that_name_with_those_parameters(module: str, name: str) -> None:
    """Read from its source: on a CPU there is no Triton."""
    packages = next((engine_env.ensure().parent.parent / "lib").glob("python3*/site-packages"))
    source = (packages / f"{module.replace('.', '/')}.py").read_text()
    (kernel,) = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef) and node.name == name
    ]
    parameters = [each.arg for each in kernel.args.args]
    for row in ROWS:
        if (row["module"], row["name"]) == (module, name):
            assert list(row["signature"]) == parameters


COMPILE = """
import importlib.util, json, os, sys
import without_gpu
without_gpu.pretend()
spec = importlib.util.spec_from_file_location("program", sys.argv[1])
program = importlib.util.module_from_spec(spec)
spec.loader.exec_module(program)
rows = [json.loads(line) for line in program.RECORDED.read_text().splitlines()]
differing = [row["name"] for row in rows if program.find(row).arg_names != list(row["signature"])]
for capability in (80, 120):
    program.compile_kernel(rows[-1], capability)
for row in rows:
    for each in program.of_vocabularies(row, (32000,)):
        if row["name"] == "_topp_sb_mask_kernel":
            program.compile_kernel(each, 90)
print(json.dumps(differing))
"""


@pytest.mark.cuda
@pytest.mark.timeout(1800)
def test_every_kernel_is_found_and_one_compiles_for_any_architecture_without_a_gpu(tmp_path: Path) -> None:
    python = engine_env.ensure("cuda")
    variables = {**engine_env.cuda_variables(), "PYTHONPATH": str(PROGRAM.parent), "TRITON_CACHE_DIR": str(tmp_path)}
    command = [str(python), "-c", COMPILE, str(PROGRAM)]
    done = subprocess.run(command, env=variables, check=True, stdout=subprocess.PIPE, text=True, timeout=900)
    assert json.loads(done.stdout.splitlines()[-1]) == []
    masks = [row for row in ROWS if row["name"] == "_topp_sb_mask_kernel"]
    assert len(list(tmp_path.rglob("*.cubin"))) == 2 + 2 * len(masks)
