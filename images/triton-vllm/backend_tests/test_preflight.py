"""What is read of the model repositories before the server starts, without the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.launcher.preflight import Command, engine_arguments_of, serves_others
from testing.server import write_model


def command(*flags: str) -> Command:
    return Command.parse(flags)


def test_engine_arguments_are_those_of_the_newest_version_of_each_model_of_ours(tmp_path: Path) -> None:
    write_model(tmp_path / "one", "a", {"model": "org/old"})
    (tmp_path / "one/a/10").mkdir()
    (tmp_path / "one/a/10/model.json").write_text('{"model": "org/new"}')
    write_model(tmp_path / "one", "broken", {})
    (tmp_path / "one/broken/1/model.json").write_text("{")
    write_model(tmp_path / "one", "other", {"model": "org/other"}, config='backend: "onnxruntime"\n')
    write_model(tmp_path / "two", "b", {"model": "org/b"})
    found = engine_arguments_of(command(f"--model-repository={tmp_path / 'one'}", f"--model-store={tmp_path / 'two'}"))
    assert [arguments["model"] for arguments in found] == ["org/new", "org/b"]


@pytest.mark.parametrize(
    ("backends", "flags", "others"),
    [
        (["vllm"], [], False),
        (["vllm", "vllm"], [], False),
        (["vllm", "python"], [], True),
        (["vllm"], ["--model-control-mode=explicit"], True),
        (["vllm"], ["--model-repository=s3://bucket/models"], True),
    ],
)
def test_whether_a_model_of_another_backend_may_be_loaded(
    tmp_path: Path, backends: list[str], flags: list[str], others: bool
) -> None:
    for number, backend in enumerate(backends):
        write_model(tmp_path, f"model-{number}", {}, config=f'backend: "{backend}"\n')
    assert serves_others(command(f"--model-repository={tmp_path}", *flags)) is others
