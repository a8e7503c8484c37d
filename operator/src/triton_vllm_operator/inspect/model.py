"""A model's shape from files that are not trusted: all reads are bounded, and no code of the model is executed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity import (
    ShapeError,
    TensorInfo,
    header_length,
    parse_header,
    parse_json_object,
    shape_from_config,
)
from triton_vllm_operator.catalog.model_types import known_model_types
from triton_vllm_operator.plan.inspection_protocol import Failure, InspectedModel, InspectionResult

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
MAX_CONFIG_BYTES = 4 * 2**20
MAX_INDEX_BYTES = 16 * 2**20
MAX_HEADER_BYTES = 4 * 2**20  # `parse_json_object` accepts less: 200,000 values per object
MAX_SHARDS = 1000
MAX_TENSORS = 400_000
FIRST_BYTES = 256 * 2**10
"""Bytes of the first read of a shard: enough for the header of nearly every shard, so one request suffices."""
PARALLEL_READS = 8


@dataclass(eq=False)
class InspectionError(Exception):
    """The model cannot be read. `failure`: the reason, for the termination message."""

    failure: Failure


class ModelFiles(Protocol):
    """The files of a model.

    Attributes:
        commit: of the repository; "" where there are no commits.
        names: files at the root.
    """

    @property
    def commit(self) -> str: ...

    @property
    def names(self) -> frozenset[str]: ...

    def read(self, name: str, first: int, count: int) -> bytes:
        """Up to `count` bytes from offset `first`; fewer at the end of the file.

        Raises:
            InspectionError: the file cannot be read.
        """


def inspect(files: ModelFiles, display_name: str) -> InspectionResult:
    """Derive the shape of a model. `display_name`: the model in messages."""
    try:
        config = _config(files, display_name)
        _reject_remote_code(config, display_name)
        # Sorted by name, so that the distribution over shards does not make equal layers differ.
        tensors = sorted(_tensors(files), key=lambda tensor: tensor.name) if _shards_expected(files) else None
        return InspectedModel(files.commit, shape_from_config(config, tensors))
    except InspectionError as error:
        return error.failure
    except ShapeError as error:
        return Failure(error.reason, f"{display_name}: {error}")


def _config(files: ModelFiles, display_name: str) -> dict[str, Any]:
    if CONFIG in files.names:
        return parse_json_object(_read_file(files, CONFIG, MAX_CONFIG_BYTES), CONFIG)
    others = [name for name in sorted(files.names) if name == "params.json" or name.endswith(".gguf")]
    if others:
        text = f"{display_name} has {others[0]} but no {CONFIG}. The engine may load it, but it cannot be planned."
        raise InspectionError(Failure(Reason.CONFIG_FORMAT_UNKNOWN, text))
    there = ", ".join(sorted(files.names)[:5]) or "no files"
    advice = "Correct spec.model.uri: it must name the directory that has config.json."
    raise InspectionError(Failure(Reason.FILE_MISSING, f"{display_name} has no {CONFIG} (it has {there}). {advice}"))


def _reject_remote_code(config: Mapping[str, Any], display_name: str) -> None:
    """Reject a model type that neither vLLM nor Transformers supports: only code of its repository could load it."""
    code, kind = config.get("auto_map"), config.get("model_type")
    if not isinstance(code, Mapping) or "AutoConfig" not in code or kind in known_model_types():
        return
    what = f"{display_name} has the model type {str(kind)[:60]!r}, which needs Python code of its repository"
    text = f"{what}. The operator never enables trust_remote_code. Use a model whose type vLLM supports."
    raise InspectionError(Failure(Reason.NEEDS_TRUST_REMOTE_CODE, text))


def _shards_expected(files: ModelFiles) -> bool:
    """Whether the engine loads safetensors files; with only their index, unless there are weights of another format."""
    if any(name.endswith(".safetensors") for name in files.names):
        return True
    return INDEX in files.names and not any(name.endswith((".bin", ".pt")) for name in files.names)


def _tensors(files: ModelFiles) -> Iterator[TensorInfo]:
    """The tensors of all shards. Only a few headers are in memory at a time."""
    shards = iter(_shards(files))
    count = 0
    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        while batch := list(islice(shards, PARALLEL_READS)):
            for name, header in zip(batch, pool.map(lambda shard: _header(files, shard), batch), strict=True):
                found = parse_header(header, what=name)
                count += len(found)
                if count > MAX_TENSORS:
                    raise ShapeError(Reason.TOO_MANY_TENSORS, f"the model has more than {MAX_TENSORS} tensors")
                yield from found


def _shards(files: ModelFiles) -> list[str]:
    """The safetensors files that vLLM loads: those that the index names, else all but a consolidated copy."""
    if INDEX in files.names:
        listed = parse_json_object(_read_file(files, INDEX, MAX_INDEX_BYTES), INDEX).get("weight_map")
        if not isinstance(listed, Mapping) or not all(isinstance(name, str) for name in listed.values()):
            raise ShapeError(Reason.CONFIG_FIELD_WRONG_TYPE, f"{INDEX}: weight_map must map tensors to files")
        shards = sorted(set(listed.values()))
    else:
        names = [name for name in files.names if name.endswith(".safetensors")]
        shards = sorted(name for name in names if not name.startswith("consolidated")) or sorted(names)
    if len(shards) > MAX_SHARDS:
        raise ShapeError(
            Reason.TOO_MANY_SHARDS, f"the model has {len(shards)} safetensors files; the maximum is {MAX_SHARDS}"
        )
    if missing := [name for name in shards if name not in files.names]:
        text = f"{INDEX} names {missing[0][:200]!r}, which is missing ({len(missing)} of {len(shards)} files)"
        raise InspectionError(
            Failure(Reason.FILE_MISSING, f"{text}. Upload or copy the model again, with all of its files.")
        )
    return shards


def _header(files: ModelFiles, name: str) -> bytes:
    """The header of a shard, with the 8 bytes of its length."""
    first = files.read(name, 0, FIRST_BYTES)
    end = 8 + header_length(first)
    if end > 8 + MAX_HEADER_BYTES:
        text = f"{name}: the header's length is {end - 8} bytes; the maximum is {MAX_HEADER_BYTES}"
        raise ShapeError(Reason.SAFETENSORS_HEADER_INVALID, text)
    rest = files.read(name, len(first), end - len(first)) if len(first) < end and len(first) == FIRST_BYTES else b""
    return (first + rest)[:end]


def _read_file(files: ModelFiles, name: str, limit: int) -> bytes:
    content = files.read(name, 0, limit + 1)
    if len(content) > limit:
        raise ShapeError(Reason.CONFIG_TOO_LARGE, f"{name} is too large: the maximum is {limit} bytes")
    return content
