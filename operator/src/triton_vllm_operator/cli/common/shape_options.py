"""Options that name a model, and its shape from a file, a directory or the Hub, read as the inspection pod does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triton_vllm_operator.api.model_source import HubSource, ModelSource
from triton_vllm_operator.capacity import ModelShape
from triton_vllm_operator.capacity.errors import UNPLANNED
from triton_vllm_operator.capacity.model.json_reader import MAX_TEXT_BYTES, parse_json_object
from triton_vllm_operator.cli.common.errors import InputError, NotPlannedError
from triton_vllm_operator.inspect import model
from triton_vllm_operator.inspect.folder import Folder
from triton_vllm_operator.plan.inspection_protocol import Failure


@dataclass(frozen=True, slots=True)
class ShapeOptions:
    """The options that name a model, of which exactly one may be set. `model`: ORG/REPO[@REVISION]."""

    shape: Path | None = None
    model_dir: Path | None = None
    model: str | None = None

    @property
    def any(self) -> bool:
        """Whether one is set."""
        return any(one is not None for one in (self.shape, self.model_dir, self.model))

    def read(self) -> ModelShape:
        """Read the model's shape.

        Raises:
            InputError: not exactly one option is set, or the model cannot be read.
            ShapeError: the files do not describe a model.
        """
        match (self.shape, self.model_dir, self.model):
            case (Path() as file, None, None):
                return shape_of_file(file)
            case (None, Path() as folder, None):
                return shape_of_directory(folder)
            case (None, None, str() as name):
                return shape_of_source(HubSource.parse(name))
        raise InputError("exactly one of --shape FILE, --model-dir DIR and --model ORG/REPO is required")


def shape_of_file(path: Path) -> ModelShape:
    """The shape that a file in the documented JSON form describes."""
    return ModelShape.from_json(_object(path))


def shape_of_directory(folder: Path) -> ModelShape:
    """The shape of a model directory: its `config.json`, and the headers of its safetensors files if it has any."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a directory. --model-dir takes the directory that has config.json")
    try:
        return _shape(Folder.open(folder, str(folder)), str(folder))
    except model.InspectionError as error:
        raise _problem(error.failure) from None


def shape_of_source(source: ModelSource) -> ModelShape:
    """The shape of a model that can be read from here, with the user's own token where there is one.

    Raises:
        InputError: the model is not found, or only a pod can read it.
    """
    from triton_vllm_operator.inspect import access  # importing the hub's client is slow

    found = access.of_source(source)
    if found is None:
        where = "is only readable in the cluster. Pass --model-dir DIR or --shape FILE"
        raise InputError(f"{source.uri} {where}")
    try:
        return _shape(found.open(), found.display_name)
    except model.InspectionError as error:
        raise _problem(error.failure) from None


def _shape(source: model.ModelFiles, display_name: str) -> ModelShape:
    outcome = model.inspect(source, display_name)
    if isinstance(outcome, Failure):
        raise _problem(outcome)
    return outcome.shape


def _problem(failure: Failure) -> InputError:
    kind = NotPlannedError if failure.reason in UNPLANNED else InputError
    return kind(f"{failure.reason}: {failure.message}")


def _object(path: Path) -> dict[str, Any]:
    """One JSON object, within the planner's limits of size and depth."""
    try:
        if not path.is_file():
            raise InputError(f"{path} is not a file")
        with path.open("rb") as file:
            text = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    return parse_json_object(text, str(path))
