"""The inspection of a folder, as a claim is mounted: real files, and files that want to harm."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.inspect.files import LLAMA, header, llama, shape, tensors
from triton_vllm_operator.catalog.model_types import known_model_types
from triton_vllm_operator.inspect.__main__ import main
from triton_vllm_operator.plan.inspection_protocol import (
    MESSAGE_BYTES,
    Failure,
    InspectedModel,
    InspectionResult,
    decode_result,
)

MEBIBYTE = 2**20


def inspected(folder: Path, *more: str) -> InspectionResult:
    """What the command leaves in its termination message."""
    message = folder.parent / "termination-log"
    options = [f"--folder={folder}", "--display-name=pvc://models/llama", f"--message-file={message}", *more]
    status = main(options)
    text = message.read_text()
    assert len(text.encode()) <= MESSAGE_BYTES
    outcome = decode_result(text)
    assert (status == 0) == isinstance(outcome, InspectedModel)
    return outcome


def failure(folder: Path, *more: str) -> Failure:
    outcome = inspected(folder, *more)
    assert isinstance(outcome, Failure), outcome
    return outcome


def test_a_model_in_a_folder_gives_its_shape(tmp_path: Path) -> None:
    outcome = inspected(llama(tmp_path / "llama"))
    assert isinstance(outcome, InspectedModel)
    assert outcome.shape == shape()
    assert outcome.shape.weights_source == "safetensors"
    assert outcome.commit == ""


@pytest.mark.parametrize("shards", [2, 7, 21])
def test_shards_make_the_same_shape_as_one_file(tmp_path: Path, shards: int) -> None:
    assert inspected(llama(tmp_path / "many", shards=shards)) == inspected(llama(tmp_path / "one"))


def test_a_consolidated_copy_is_not_counted_twice(tmp_path: Path) -> None:
    folder = llama(tmp_path / "llama")
    (folder / "consolidated.safetensors").write_bytes(header(tensors()))
    assert inspected(folder) == inspected(llama(tmp_path / "one"))


def test_a_header_longer_than_the_first_read_is_read_to_its_end(tmp_path: Path) -> None:
    folder = llama(tmp_path / "llama")
    (folder / "model.safetensors").write_bytes(header(tensors(), padding=MEBIBYTE))
    assert inspected(folder) == inspected(llama(tmp_path / "one"))


def test_a_model_without_safetensors_is_sized_by_its_config(tmp_path: Path) -> None:
    folder = llama(tmp_path / "llama")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    outcome = inspected(folder)
    assert isinstance(outcome, InspectedModel)
    assert outcome.shape.weights_source == "config"


def test_links_within_the_claim_are_followed(tmp_path: Path) -> None:
    blobs = llama(tmp_path / "blobs")
    folder = tmp_path / "snapshot"
    folder.mkdir()
    for file in blobs.iterdir():
        (folder / file.name).symlink_to(file)
    assert isinstance(inspected(folder), InspectedModel)


@pytest.mark.parametrize("inside", [{}, {"tokenizer.json": "{}"}])
def test_a_folder_without_config_is_told_with_what_it_has(tmp_path: Path, inside: dict[str, str]) -> None:
    folder = tmp_path / "llama"
    folder.mkdir()
    for name, text in inside.items():
        (folder / name).write_text(text)
    told = failure(folder)
    assert told.reason == "FileMissing"
    assert told.message.startswith("pvc://models/llama has no config.json")
    assert "spec.model.uri" in told.message
    assert all(name in told.message for name in inside)


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    told = failure(tmp_path / "nothing")
    assert told.reason == "FileMissing"
    assert "pvc://models/llama: No such file or directory" in told.message


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = llama(tmp_path / "llama", shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    told = failure(folder)
    assert told.reason == "FileMissing"
    assert "model-00002-of-00003.safetensors" in told.message


def test_an_index_without_any_shard_is_a_copy_that_did_not_end(tmp_path: Path) -> None:
    folder = llama(tmp_path / "llama", shards=2)
    for shard in folder.glob("*.safetensors"):
        shard.unlink()
    assert failure(folder).reason == "FileMissing"
    (folder / "pytorch_model.bin").write_bytes(b"")
    assert isinstance(inspected(folder), InspectedModel), "the engine takes these weights instead"


def test_formats_that_only_the_engine_reads_are_no_error_of_the_user(tmp_path: Path) -> None:
    folder = tmp_path / "mistral"
    folder.mkdir()
    (folder / "params.json").write_text("{}")
    told = failure(folder)
    assert told.reason == "ConfigFormatUnknown"
    assert not told.definite


@pytest.mark.parametrize(
    ("kind", "reason", "definite"),
    [
        ("LlamaForMaskedLM", "NotACausalModel", True),
        ("BertForMaskedLM", "PoolingNotPlanned", False),
        ("LlamaForSequenceClassification", "PoolingNotPlanned", False),
    ],
)
def test_only_a_model_that_the_engine_cannot_serve_is_refused(
    tmp_path: Path, kind: str, reason: str, definite: bool
) -> None:
    found = failure(llama(tmp_path / "bert", config={**LLAMA, "architectures": [kind]}))
    assert (found.reason, found.definite) == (reason, definite)
    assert kind in found.message


def test_a_type_that_only_the_repositorys_code_knows_needs_trust(tmp_path: Path) -> None:
    code = {"auto_map": {"AutoConfig": "configuration_own.OwnConfig"}, "model_type": "own"}
    told = failure(llama(tmp_path / "own", config={**LLAMA, **code}))
    assert (told.reason, told.definite) == ("NeedsTrustRemoteCode", True)
    assert "'own'" in told.message


def test_code_beside_a_type_that_the_engine_knows_is_never_needed(tmp_path: Path) -> None:
    assert {"llama", "deepseek_v3", "qwen3_next", "gpt_oss"} <= known_model_types()
    code = {"auto_map": {"AutoConfig": "configuration_llama.LlamaConfig"}}
    assert isinstance(inspected(llama(tmp_path / "llama", config={**LLAMA, **code})), InspectedModel)


HOSTILE: dict[str, bytes] = {
    "not JSON": b"\xff\xfe{",
    "a list": b"[]",
    "deep": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "wide": b'{"a":[' + b"0," * 250_000 + b"0]}",
    "long": b'{"a":"' + b"x" * (5 * MEBIBYTE) + b'"}',
    "huge number": json.dumps({**LLAMA, "hidden_size": 10**400}).encode(),
    "negative": json.dumps({**LLAMA, "num_hidden_layers": -1}).encode(),
    "many layers": json.dumps({**LLAMA, "num_hidden_layers": 10**9}).encode(),
    "wrong type": json.dumps({**LLAMA, "hidden_size": "128"}).encode(),
    "escapes in the architecture": json.dumps({**LLAMA, "architectures": ["\x1b[2J\u202e\n" * 20_000]}).encode(),
    "long model type": json.dumps({**LLAMA, "auto_map": {"AutoConfig": "x"}, "model_type": "y" * MEBIBYTE}).encode(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_config_ends_in_a_reason_in_bounded_time(tmp_path: Path, name: str) -> None:
    folder = llama(tmp_path / "llama")
    (folder / "config.json").write_bytes(HOSTILE[name])
    began = time.monotonic()
    told = failure(folder)
    assert time.monotonic() - began < 40
    assert told.reason
    assert told.message.isprintable()
    assert len(told.message) <= 600


def _headers() -> dict[str, bytes]:
    good = header(tensors())
    return {
        "empty": b"",
        "seven bytes": good[:7],
        "cut off": good[:100],
        "huge length": (2**63).to_bytes(8, "little") + b"{}",
        "length of sixteen MiB": (16 * MEBIBYTE).to_bytes(8, "little") + b"{}",
        "not JSON": (4).to_bytes(8, "little") + b"nope",
        "negative shape": header({"model.embed_tokens.weight": [-1, 128]}),
        "huge shape": header({"model.embed_tokens.weight": [2**60, 2**60]}),
    }


@pytest.mark.parametrize("name", _headers())
def test_a_damaged_header_ends_in_a_reason(tmp_path: Path, name: str) -> None:
    folder = llama(tmp_path / "llama")
    (folder / "model.safetensors").write_bytes(_headers()[name])
    assert failure(folder).reason.startswith(("Safetensors", "Config"))


@pytest.mark.parametrize(
    "index", [{"weight_map": []}, {"weight_map": {"a": 1}}, {}, {"weight_map": {"a": "../../etc/passwd"}}]
)
def test_a_hostile_index_opens_nothing_outside(tmp_path: Path, index: Any) -> None:
    folder = llama(tmp_path / "llama")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert failure(folder).reason in {"ConfigFieldWrongType", "FileMissing"}


def test_a_thousand_shards_are_read_and_more_are_refused(tmp_path: Path) -> None:
    folder = llama(tmp_path / "llama")
    (folder / "model.safetensors").unlink()
    for number in range(1001):
        named = {f"model.layers.0.mlp.experts.{number}.up_proj.weight": [1, 1]}
        (folder / f"model-{number}.safetensors").write_bytes(header(named))
    assert failure(folder).reason == "TooManyShards"
    (folder / "model-1000.safetensors").unlink()
    assert failure(folder).reason == "CheckpointIncomplete", "all were decode_result, and hold one layer of two"


def test_a_pipe_does_not_hang_it(tmp_path: Path) -> None:
    folder = llama(tmp_path / "llama")
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    assert failure(folder).reason == "FileMissing"


def test_what_cannot_be_read_is_told_with_the_user_that_must(tmp_path: Path) -> None:
    folder = llama(tmp_path / "llama")
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(folder / "config.json")
    told = failure(folder)
    assert told.reason == "FileUnreadable"
    assert "user and group 1000" in told.message
