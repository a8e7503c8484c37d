"""The model's shape from a file or a directory on this machine. Nothing of it is run, and no weights are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from triton_vllm_operator.capacity import ModelShape, ShapeError, TensorInfo, header_length, parse_header
from triton_vllm_operator.capacity.reading import MAX_TEXT_BYTES, parse_json_object
from triton_vllm_operator.cli.problems import InputProblem

#: Most shard files of one model that are read.
MAX_SHARDS = 4096
INDEX = "model.safetensors.index.json"


def shape_of_file(path: Path) -> ModelShape:
    """The shape that a file in the documented JSON form describes."""
    return ModelShape.from_json(read_object(path))


def shape_of_directory(folder: Path) -> ModelShape:
    """The shape of a model directory: its ``config.json``, and its safetensors headers where there are any."""
    if not folder.is_dir():
        raise InputProblem(f"{folder} is not a directory: --model-dir takes the one that holds config.json")
    if not (folder / "config.json").exists():
        raise InputProblem(f"{folder} has no config.json: --model-dir takes the directory of a Hugging Face model")
    config = read_object(folder / "config.json")
    shards = shard_files(folder)
    return ModelShape.from_config(config, tensors_of(shards) if shards else None)


def shard_files(folder: Path) -> list[Path]:
    """The model's safetensors files; every shard that an index names must be there."""
    if (folder / INDEX).exists():
        names = _names_of_index(read_object(folder / INDEX))
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise InputProblem(
                f"{folder}: {INDEX} names {len(names)} files and {len(missing)} are missing, such as {missing[0]}; "
                "finish the download"
            )
        return [folder / name for name in names]
    found = sorted(path for path in folder.glob("*.safetensors") if path.is_file())
    found = [path for path in found if not path.name.startswith("consolidated")] or found  # the same weights again
    if len(found) > MAX_SHARDS:
        raise InputProblem(f"{folder} has {len(found)} safetensors files; at most {MAX_SHARDS} are read")
    return found


def _names_of_index(index: dict[str, Any]) -> list[str]:
    weights = index.get("weight_map")
    names = sorted(set(weights.values())) if isinstance(weights, dict) and _texts(weights) else []
    if not names or len(names) > MAX_SHARDS or any(Path(name).name != name for name in names):
        raise InputProblem(f"{INDEX}: weight_map must give a file name of this directory for each tensor")
    return names


def _texts(weights: dict[str, Any]) -> bool:
    return all(isinstance(name, str) for name in weights.values())


def tensors_of(shards: list[Path]) -> Iterator[TensorInfo]:
    """Names, dtypes and shapes of all tensors, from the beginning of each file."""
    for shard in shards:
        try:
            with shard.open("rb") as file:
                prefix = file.read(8)
                tensors = parse_header(prefix + file.read(header_length(prefix)), what=shard.name)
        except ShapeError as error:
            raise ShapeError(error.reason, f"{shard}: {error}") from None
        yield from tensors


def read_object(path: Path) -> dict[str, Any]:
    """One JSON object, within the planner's limits of size and depth."""
    try:
        if not path.is_file():
            raise InputProblem(f"{path} is not a file")
        with path.open("rb") as file:
            text = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise InputProblem(f"cannot read {path}: {error.strerror or error}") from None
    return parse_json_object(text, str(path))
