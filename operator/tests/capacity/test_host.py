"""The account of the container: memory, /dev/shm and storage of one replica."""

from __future__ import annotations

from typing import Any

import pytest

from tests.capacity import samples
from triton_vllm_operator.capacity import (
    EngineSettings,
    HostLimits,
    host_account,
    host_status,
    judge_host,
    shape_from_config,
)
from triton_vllm_operator.capacity.memory.host import HostAccount
from triton_vllm_operator.capacity.model.shape import ModelShape

GIB = 2**30
LLAMA = shape_from_config(samples.LLAMA_31_8B)
DEFAULTS = HostLimits(16 * GIB, 2 * GIB)


def account(shape: ModelShape = LLAMA, *, downloads: bool = False, **settings: Any) -> HostAccount:
    return host_account(shape, EngineSettings(**{"engine_version": "0.32.0", **settings}), downloads=downloads)


def test_every_term_is_ordered_and_in_the_sum() -> None:
    one = account(tensor_parallel_size=4, kv_offload_gib=8.0)
    terms = (one.processes, one.loading, one.offload, one.multimodal, one.shared)
    for end in ("low", "expected", "high"):
        assert getattr(one.memory, end) == sum(getattr(term, end) for term in terms)
    for term in (*terms, one.storage, one.memory):
        assert 0 <= term.low <= term.expected <= term.high


def test_a_worker_more_takes_more_of_everything() -> None:
    one, two, four = (account(tensor_parallel_size=size) for size in (1, 2, 4))
    assert one.shared.high < GIB // 8
    for fewer, more in ((one, two), (two, four)):
        assert fewer.processes.low < more.processes.low
        assert fewer.shared.expected < more.shared.expected
        assert fewer.loading.high < more.loading.high
    assert account(pipeline_parallel_size=4).processes == four.processes


def test_on_a_cpu_there_is_no_cuda_and_no_nccl() -> None:
    cuda, cpu = account(tensor_parallel_size=2), account(tensor_parallel_size=2, device="cpu")
    assert cpu.processes.expected < cuda.processes.expected
    assert cpu.shared.low < cuda.shared.low


@pytest.mark.parametrize(
    ("version", "shared", "pinned"),
    [
        ("0.33.0", (62, 65), (0, 0)),
        ("0.32.0", (62, 65), (0, 0)),
        ("0.27.1", (62, 65), (0, 0)),
        ("0.26.0", (0, 64), (0, 128)),
        ("0.25.1", (0, 0), (62, 128)),
        ("0.11.1", (0, 0), (62, 128)),
    ],
)
def test_the_kv_cache_on_the_host_is_where_the_version_puts_it(
    version: str, shared: tuple[int, int], pinned: tuple[int, int]
) -> None:
    without, with_it = (account(engine_version=version, kv_offload_gib=size) for size in (0.0, 64.0))
    in_shm = (with_it.shared.low - without.shared.low, with_it.shared.high - without.shared.high)
    assert tuple(size // GIB for size in in_shm) == shared
    assert (with_it.offload.low // GIB, with_it.offload.high // GIB) == pinned


def test_images_are_kept_twice_or_in_shared_memory() -> None:
    vision = ModelShape(**{**_fields(LLAMA), "multimodal": True})
    assert account().multimodal.high == 0
    assert account(vision).multimodal.high == 8 * GIB
    assert account(vision, mm_processor_cache_gb=1.0).multimodal.high == 2 * GIB
    in_shm = account(vision, mm_cache_in_shm=True)
    assert in_shm.multimodal.high == 0
    assert in_shm.shared.high - account().shared.high == 4 * GIB


def _fields(shape: ModelShape) -> dict[str, Any]:
    return {name: getattr(shape, name) for name in ModelShape.__dataclass_fields__}


def test_files_that_are_read_as_a_whole_count() -> None:
    stored = ModelShape(**{**_fields(LLAMA), "bytes_by_dtype": (("BF16", 16 * GIB),)})
    lazy, eager = account(stored), account(stored, loads_eagerly=True)
    assert lazy.loading.high < 2 * GIB
    assert eager.loading.high == 16 * GIB


def test_a_downloaded_model_is_in_the_storage() -> None:
    stored = ModelShape(**{**_fields(LLAMA), "bytes_by_dtype": (("BF16", 16 * GIB),)})
    assert account(stored).storage.low == 0
    assert account(stored, downloads=True).storage.low == 16 * GIB


def test_what_fits_says_what_it_takes() -> None:
    judged = judge_host(account(), DEFAULTS)
    assert (judged.verdict, judged.reason) == ("Fits", "Fits")
    assert "of 18.00 GiB" in judged.message


@pytest.mark.parametrize(
    ("settings", "limits", "reason", "advice"),
    [
        ({"kv_offload_gib": 64.0}, DEFAULTS, "SharedMemoryTooSmall", "spec.resources.sharedMemory: 66Gi"),
        (
            {"kv_offload_gib": 64.0, "engine_version": "0.25.1"},
            DEFAULTS,
            "HostMemoryTooSmall",
            "spec.resources.memory: 134Gi",
        ),
        ({}, HostLimits(GIB // 2, GIB // 4), "HostMemoryTooSmall", "spec.resources.memory: 8Gi"),
    ],
)
def test_what_certainly_does_not_fit_names_the_field_and_the_value(
    settings: dict[str, Any], limits: HostLimits, reason: str, advice: str
) -> None:
    judged = judge_host(account(**settings), limits)
    assert (judged.verdict, judged.reason) == ("DoesNotFit", reason)
    assert f"set {advice}" in judged.message


def test_a_download_larger_than_the_storage_does_not_fit() -> None:
    stored = ModelShape(**{**_fields(LLAMA), "bytes_by_dtype": (("BF16", 16 * GIB),)})
    limits = HostLimits(16 * GIB, 2 * GIB, storage=10 * GIB)
    judged = judge_host(account(stored, downloads=True), limits)
    assert (judged.verdict, judged.reason) == ("DoesNotFit", "EphemeralStorageTooSmall")
    assert "set spec.resources.ephemeralStorage: 22Gi" in judged.message
    assert judge_host(account(stored), limits).verdict == "Fits"


def test_what_is_advised_holds_the_highest_estimate() -> None:
    for settings in ({"kv_offload_gib": 64.0}, {"kv_offload_gib": 64.0, "engine_version": "0.25.1"}, {}):
        one = account(**settings)
        shared = max(2 * GIB, -(-one.shared.high // GIB) * GIB)
        memory = max(16 * GIB, -(-(one.memory.high - shared) // GIB) * GIB)
        assert judge_host(one, HostLimits(memory, shared)).verdict == "Fits"


def test_a_high_end_above_a_limit_is_tight_and_says_what_covers_it() -> None:
    judged = judge_host(account(tensor_parallel_size=8), HostLimits(8 * GIB, GIB, storage=2 * GIB))
    assert judged.verdict == "Tight"
    for field in ("sharedMemory", "memory", "ephemeralStorage"):
        assert f"spec.resources.{field}: " in judged.message


def test_the_status_has_every_term_and_a_verdict_only_with_limits() -> None:
    one = account(kv_offload_gib=8.0)
    known, unknown = host_status(one, DEFAULTS).to_json(), host_status(one, None).to_json()
    assert known["limitBytes"] == 18 * GIB
    assert {"verdict", "message", "limitBytes"}.isdisjoint(unknown)
    parts = ("processesBytes", "loadingBytes", "kvOffloadBytes", "multimodalCacheBytes", "sharedMemoryBytes")
    assert sum(unknown[part]["expected"] for part in parts) == unknown["memoryBytes"]["expected"]
    assert unknown["storageBytes"] == {"low": 0, "expected": GIB, "high": 6 * GIB}
