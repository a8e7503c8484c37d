"""A model's shape from its files, whoever wrote them: bounded reads, and nothing is executed."""

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
MAX_HEADER_BYTES = 4 * 2**20  # more than `parse_json_object` takes in one object: 200,000 values
MAX_SHARDS = 1000
MAX_TENSORS = 400_000
# A first read that holds the whole header of nearly every shard, so that one request is enough.
FIRST_BYTES = 256 * 2**10
AT_ONCE = 8


@dataclass(eq=False)
class Unreadable(Exception):
    """The model cannot be read: the failure to tell."""

    failure: Failure


class Source(Protocol):
    """Where the files are. `commit`: "" where there is none. `names`: files beside each other, at the root."""

    @property
    def commit(self) -> str: ...

    @property
    def names(self) -> frozenset[str]: ...

    def read(self, name: str, first: int, count: int) -> bytes:
        """At most `count` bytes from offset `first`; fewer at the end of the file. Errors: Unreadable."""


def inspect(source: Source, told_as: str) -> InspectionResult:
    """What the files say. `told_as`: the model in messages."""
    try:
        config = _config(source, told_as)
        _refuse_remote_code(config, told_as)
        # By name, so that equal layers look equal however their tensors are spread over shards.
        tensors = sorted(_tensors(source), key=lambda tensor: tensor.name) if _shards_expected(source) else None
        return InspectedModel(source.commit, shape_from_config(config, tensors))
    except Unreadable as error:
        return error.failure
    except ShapeError as error:
        return Failure(error.reason, f"{told_as}: {error}")


def _config(source: Source, told_as: str) -> dict[str, Any]:
    if CONFIG in source.names:
        return parse_json_object(_whole(source, CONFIG, MAX_CONFIG_BYTES), CONFIG)
    others = [name for name in sorted(source.names) if name == "params.json" or name.endswith(".gguf")]
    if others:
        text = f"{told_as} has {others[0]} but no {CONFIG}: the engine may load it, but its size cannot be planned."
        raise Unreadable(Failure(Reason.CONFIG_FORMAT_UNKNOWN, text))
    there = ", ".join(sorted(source.names)[:5]) or "no files"
    advice = "Correct spec.model.uri: it must name the folder that holds config.json."
    raise Unreadable(Failure(Reason.FILE_MISSING, f"{told_as} has no {CONFIG} (it has {there}). {advice}"))


def _refuse_remote_code(config: Mapping[str, Any], told_as: str) -> None:
    """A model type that neither vLLM nor Transformers knows is loaded by the repository's own Python, or not at all."""
    code, kind = config.get("auto_map"), config.get("model_type")
    if not isinstance(code, Mapping) or "AutoConfig" not in code or kind in known_model_types():
        return
    what = f"{told_as} has the model type {str(kind)[:60]!r}, for which it brings Python code of its own"
    text = f"{what}. The operator lets no engine run such code: use a repository whose model type vLLM knows."
    raise Unreadable(Failure(Reason.NEEDS_TRUST_REMOTE_CODE, text))


def _shards_expected(source: Source) -> bool:
    """Also where only the index has arrived; the engine then takes weights of another format, where there are any."""
    if any(name.endswith(".safetensors") for name in source.names):
        return True
    return INDEX in source.names and not any(name.endswith((".bin", ".pt")) for name in source.names)


def _tensors(source: Source) -> Iterator[TensorInfo]:
    """Tensors of all shards, a few headers in memory at a time."""
    shards = iter(_shards(source))
    count = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while batch := list(islice(shards, AT_ONCE)):
            for name, header in zip(batch, pool.map(lambda shard: _header(source, shard), batch), strict=True):
                found = parse_header(header, what=name)
                count += len(found)
                if count > MAX_TENSORS:
                    raise ShapeError(Reason.TOO_MANY_TENSORS, f"the model has more than {MAX_TENSORS} tensors")
                yield from found


def _shards(source: Source) -> list[str]:
    """The files that the engine loads: what the index names, else all but a consolidated copy (vLLM's rule)."""
    if INDEX in source.names:
        listed = parse_json_object(_whole(source, INDEX, MAX_INDEX_BYTES), INDEX).get("weight_map")
        if not isinstance(listed, Mapping) or not all(isinstance(name, str) for name in listed.values()):
            raise ShapeError(Reason.CONFIG_FIELD_WRONG_TYPE, f"{INDEX}: weight_map must map tensors to files")
        shards = sorted(set(listed.values()))
    else:
        names = [name for name in source.names if name.endswith(".safetensors")]
        shards = sorted(name for name in names if not name.startswith("consolidated")) or sorted(names)
    if len(shards) > MAX_SHARDS:
        raise ShapeError(
            Reason.TOO_MANY_SHARDS, f"the model has {len(shards)} safetensors files; {MAX_SHARDS} are read"
        )
    if missing := [name for name in shards if name not in source.names]:
        told = f"{INDEX} names {missing[0][:200]!r}, which is not there ({len(missing)} of {len(shards)} files missing)"
        raise Unreadable(
            Failure(Reason.FILE_MISSING, f"{told}. Upload or copy the model again, with all of its files.")
        )
    return shards


def _header(source: Source, name: str) -> bytes:
    """The beginning of a shard, up to the end of its header."""
    first = source.read(name, 0, FIRST_BYTES)
    end = 8 + header_length(first)
    if end > 8 + MAX_HEADER_BYTES:
        told = f"{name}: the header claims {end - 8} bytes; {MAX_HEADER_BYTES} are read"
        raise ShapeError(Reason.SAFETENSORS_HEADER_INVALID, told)
    rest = source.read(name, len(first), end - len(first)) if len(first) < end and len(first) == FIRST_BYTES else b""
    return (first + rest)[:end]


def _whole(source: Source, name: str, limit: int) -> bytes:
    content = source.read(name, 0, limit + 1)
    if len(content) > limit:
        raise ShapeError(Reason.CONFIG_TOO_LARGE, f"{name} has more than {limit} bytes, which no real model needs")
    return content
