"""What a pod says of its engine is read with care: figures within bounds, or a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.report import HostMemory, MemoryTerms
from tests.builders.reports import SAID
from triton_vllm_operator.api.status import HostActual, PerGPUActual
from triton_vllm_operator.observed import pods
from triton_vllm_operator.observed.engine_report import Report, Unreadable, least, read, recorded, to_status

POD = pods.read(
    {
        "metadata": {"name": "p", "uid": "u"},
        "status": {"containerStatuses": [{"name": "server", "restartCount": 2}]},
    },
    "server",
)
HOST = HostMemory(6442450944, 2147483648, 2040109466, 2040109466, 2097152, 5368709)
FOUND = Report("0.32.0+cpu", "cpu", 2048, 128, 1024, 131072, 64.0, MemoryTerms(kv_cache=67108864), HOST)


def test_figures_are_read_and_come_back_from_the_status() -> None:
    found = read(json.dumps(SAID).encode())
    assert found == FOUND
    actual = to_status(found, POD).to_json()
    assert (actual["pod"], actual["restarts"]) == ("p", 2)
    assert recorded(actual) == found


def test_a_gpu_has_all_terms_and_an_engine_that_measured_nothing_none() -> None:
    terms = {"requestedBytes": 60, "weightsBytes": 10, "nonTorchBytes": 1, "activationBytes": 2, "cudaGraphBytes": 3}
    gpu = read(json.dumps({**SAID, "device": "cuda", "perGPU": {**terms, "kvCacheBytes": 44}}).encode())
    assert gpu.memory == MemoryTerms(60, 10, 1, 2, 3, 44)
    none = read(json.dumps({**SAID, "perGPU": {}}).encode())
    assert none.memory == MemoryTerms()
    assert "perGPU" not in to_status(none, POD).to_json()


def test_the_status_has_each_term_of_the_report() -> None:
    memory = MemoryTerms(1, 2, 3, 4, 5, 6)
    assert PerGPUActual.model_validate(memory.to_json()).to_json() == memory.to_json()
    assert len(PerGPUActual.model_fields) == len(memory.to_json())


def test_the_status_has_each_figure_of_the_container() -> None:
    host = HostMemory(1, 2, 3, 4, 5, 6)
    assert HostActual.model_validate(host.to_json()).to_json() == host.to_json()
    assert len(HostActual.model_fields) == len(host.to_json())


def test_an_image_of_before_says_nothing_of_its_container() -> None:
    found = read(json.dumps({key: value for key, value in SAID.items() if key != "host"}).encode())
    assert found.host == HostMemory()
    assert "host" not in to_status(found, POD).to_json()


HOSTILE: list[Any] = [
    None, True, -1, 2**53, 10**400, 1.5, "7", "x" * 65, "", "new\nline", "\u202e", [], {}, float("nan"), float("inf"),
]  # fmt: skip
HOSTILE_IDS = (
    "null", "boolean", "negative", "above-2-53", "of-400-digits", "fraction", "text", "65-characters", "empty",
    "newline", "bidi-override", "list", "object", "nan", "infinity",
)  # fmt: skip
NEEDED = (
    "vllm",
    "device",
    "maxModelLen",
    "blocks",
    "blockSize",
    "kvCacheTokens",
    "concurrencyAtMaxModelLen",
    "perGPU",
    "host",
)


@pytest.mark.parametrize("key", NEEDED)
@pytest.mark.parametrize("value", HOSTILE, ids=HOSTILE_IDS)
def test_a_hostile_figure_is_no_report(key: str, value: Any) -> None:
    fine = {("concurrencyAtMaxModelLen", "1.5"), ("perGPU", "{}"), ("host", "{}"), ("vllm", "'7'")}
    if (key, repr(value)) in fine:
        return
    with pytest.raises(Unreadable):
        read(json.dumps({**SAID, key: value}).encode())


@pytest.mark.parametrize("value", [None, True, -1, 2**53, 1.5, "7"], ids=repr)
def test_a_hostile_term_is_no_report(value: Any) -> None:
    with pytest.raises(Unreadable):
        read(json.dumps({**SAID, "host": {"currentBytes": value}}).encode())
    with pytest.raises(Unreadable):
        read(json.dumps({**SAID, "perGPU": {"weightsBytes": value}}).encode())


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 60_000, b'{"blocks":' + b"9" * 60_000 + b"}"], ids=len
)
def test_another_answer_is_no_report(text: bytes) -> None:
    with pytest.raises(Unreadable):
        read(text)


@given(st.binary(max_size=300) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_nothing_else_comes_of_any_answer(text: bytes | str) -> None:
    with pytest.raises(Unreadable):
        read(text.encode() if isinstance(text, str) else text)


def test_a_status_of_another_form_is_forgotten() -> None:
    assert recorded(None) is None
    assert recorded({}) is None
    assert recorded({"engineVersion": "1", "device": "tpu"}) is None


def test_the_smallest_cache_speaks_and_of_equals_the_one_that_spoke_before() -> None:
    less = Report("0.32.0", "cpu", 2048, 128, 1, 128, 0.0625, MemoryTerms())
    assert least([("a", FOUND), ("b", less)], "a") == ("b", less)
    assert least([("a", FOUND), ("b", FOUND)], "b") == ("b", FOUND)
    assert least([("b", FOUND), ("a", FOUND)], "gone") == ("a", FOUND)
    assert least([], "a") is None
