"""Reader of a Triton model repository."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from contract.files import CONFIG
from triton_vllm_operator.cli.common.errors import InputError
from triton_vllm_operator.desired.model_config import messages

# Maximum size of a file.
MAX_BYTES = 2**20
# Maximum number of models in a repository.
MAX_MODELS = 1000


@dataclass(frozen=True, slots=True)
class TritonModel:
    """One model.

    Attributes:
        name: name of the directory, else `name` of config.pbtxt; "" without either.
        config: Triton's ModelConfig message.
        version: directory of the version that Triton serves; "" if there is none.
        files: content of the JSON files of that version, by file name.
        other_versions: directories of versions that are not served.
    """

    name: str
    config: Any
    version: str
    files: Mapping[str, Mapping[str, Any]]
    other_versions: tuple[str, ...] = ()


def read(path: Path) -> list[TritonModel]:
    """Read the models of a repository, of one model's directory or of a config.pbtxt alone.

    Raises:
        InputError: a file is missing, too large or invalid.
    """
    if path.is_file():
        return [_model(path, "")]
    if (path / CONFIG).is_file():
        return [_model(path / CONFIG, path.resolve().name)]
    try:
        folders = sorted(one for one in path.iterdir() if (one / CONFIG).is_file())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    if not folders:
        raise InputError(f"{path} is not a model repository: found no {CONFIG} in it or in its subdirectories")
    if len(folders) > MAX_MODELS:
        raise InputError(f"{path} has too many models: the maximum is {MAX_MODELS}")
    return [_model(folder / CONFIG, folder.name) for folder in folders]


def _model(path: Path, name: str) -> TritonModel:
    config = messages().ModelConfig()
    try:
        text_format.Parse(_text(path), config)
    except (text_format.ParseError, RecursionError) as error:
        raise InputError(f"{path} is not a Triton model configuration: {str(error)[:300]}") from None
    versions = sorted((one.name for one in path.parent.iterdir() if _is_version(one)), key=int) if name else []
    served = _served(config, versions)
    files = dict(_objects(path.parent / served)) if served else {}
    others = tuple(one for one in versions if one != served)
    return TritonModel(name or config.name, config, served, files, others)


def _is_version(path: Path) -> bool:
    """Whether Triton takes it for a version: a directory whose name is a number that does not start with 0."""
    return path.name.isascii() and path.name.isdecimal() and not path.name.startswith("0") and path.is_dir()


def _served(config: Any, versions: list[str]) -> str:
    """The newest version that the version policy allows; Triton's own policy is the newest one."""
    specific = {str(version) for version in config.version_policy.specific.versions}
    allowed = [version for version in versions if version in specific] if specific else versions
    return allowed[-1] if allowed else ""


def _objects(folder: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for path in sorted(folder.glob("*.json")):
        try:
            value = json.loads(_text(path))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path} is not JSON: {str(error)[:200]}") from None
        if not isinstance(value, dict):
            raise InputError(f"{path} is not a JSON object")
        yield path.name, value


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            found = file.read(MAX_BYTES + 1)
        if len(found) > MAX_BYTES:
            raise InputError(f"{path} is too large: the maximum is {MAX_BYTES} bytes")
        return found.decode()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text") from None
