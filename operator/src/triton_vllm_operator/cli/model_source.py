"""The model's shape from a file, a folder or the hub, as the inspection pod reads it: nothing is run, no weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triton_vllm_operator.capacity import ModelShape
from triton_vllm_operator.capacity.model.json_reader import MAX_TEXT_BYTES, parse_json_object
from triton_vllm_operator.cli.errors import InputProblem
from triton_vllm_operator.inspect import model
from triton_vllm_operator.inspect.folder import Folder
from triton_vllm_operator.plan.inspection_protocol import Failure


@dataclass(frozen=True, slots=True)
class Given:
    """The options that name a model, of which one may be given. `model`: ORG/REPO, with @REVISION."""

    shape: Path | None = None
    model_dir: Path | None = None
    model: str | None = None

    @property
    def any(self) -> bool:
        """Whether one is given."""
        return any(one is not None for one in (self.shape, self.model_dir, self.model))

    def read(self) -> ModelShape:
        """The model's shape. Errors: InputProblem, ShapeError."""
        match (self.shape, self.model_dir, self.model):
            case (Path() as file, None, None):
                return shape_of_file(file)
            case (None, Path() as folder, None):
                return shape_of_directory(folder)
            case (None, None, str() as name):
                repository, _, revision = name.removeprefix("hf://").partition("@")
                return shape_of_repository(repository, revision or None)
        raise InputProblem("give one of --shape FILE, --model-dir DIR and --model ORG/REPO")


def shape_of_file(path: Path) -> ModelShape:
    """The shape that a file in the documented JSON form describes."""
    return ModelShape.from_json(_object(path))


def shape_of_directory(folder: Path) -> ModelShape:
    """The shape of a model directory: its ``config.json``, and its safetensors headers where there are any."""
    if not folder.is_dir():
        raise InputProblem(f"{folder} is not a directory: --model-dir takes the one that holds config.json")
    try:
        return _shape(Folder.open(folder, str(folder)), str(folder))
    except model.Unreadable as error:
        raise _problem(error.failure) from None


def shape_of_repository(name: str, revision: str | None) -> ModelShape:
    """The shape of a model of the hub, read with the user's own token where there is one."""
    from triton_vllm_operator.inspect.hub import Hub, own_token  # the hub's client takes longer than all the rest

    try:
        return _shape(Hub.open(name, revision, own_token()), name)
    except model.Unreadable as error:
        raise _problem(error.failure) from None


def _shape(source: model.Source, told_as: str) -> ModelShape:
    outcome = model.inspect(source, told_as)
    if isinstance(outcome, Failure):
        raise _problem(outcome)
    return outcome.shape


def _problem(failure: Failure) -> InputProblem:
    return InputProblem(f"{failure.reason}: {failure.message}")


def _object(path: Path) -> dict[str, Any]:
    """One JSON object, within the planner's limits of size and depth."""
    try:
        if not path.is_file():
            raise InputProblem(f"{path} is not a file")
        with path.open("rb") as file:
            text = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise InputProblem(f"cannot read {path}: {error.strerror or error}") from None
    return parse_json_object(text, str(path))
