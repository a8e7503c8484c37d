"""GPU classes: from labels, product names and sizes; and who holds them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders.gpus import node, pod
from triton_vllm_operator.capacity import (
    GPUPod,
    ShapeError,
    gpu_by_product,
    gpu_classes,
    gpu_of_memory,
    gpu_of_node,
    gpu_pods,
    usage_by_class,
)
from triton_vllm_operator.capacity.gpus.mig import slice_memory_mib
from triton_vllm_operator.capacity.gpus.usage import extended_requests


@pytest.mark.parametrize("written", ["NVIDIA-H100-80GB-HBM3", "H100 80GB HBM3", "nvidia-h100-80gb-hbm3-SHARED"])
def test_a_product_is_found_however_it_is_written(written: str) -> None:
    gpu = gpu_by_product(written)
    assert gpu.compute_capability == (9, 0)
    assert gpu.memory_gib == pytest.approx(79.1, abs=0.2)


def test_a_slice_has_its_own_memory() -> None:
    whole, part = gpu_by_product("NVIDIA-A100-SXM4-80GB"), gpu_by_product("NVIDIA-A100-SXM4-80GB-MIG-3g.40gb")
    assert part.memory_gib == pytest.approx(39.25, abs=0.1)
    assert part.compute_capability == whole.compute_capability


def test_an_unknown_product_asks_for_its_memory() -> None:
    with pytest.raises(ShapeError) as caught:
        gpu_by_product("Voodoo-2")
    assert caught.value.reason == "GPUProductUnknown"
    assert "GiB" in str(caught.value)


@pytest.mark.parametrize("written", ["A100", "H100"])
def test_a_product_of_several_sizes_is_not_guessed(written: str) -> None:
    with pytest.raises(ShapeError) as caught:
        gpu_by_product(written)
    assert caught.value.reason == "GPUProductAmbiguous"
    assert "80GB" in str(caught.value)


def test_a_short_name_of_one_size_is_enough() -> None:
    assert gpu_by_product("H200").memory_bytes == gpu_by_product("NVIDIA-H200").memory_bytes


def test_a_node_whose_label_is_unclear_goes_by_its_memory() -> None:
    gpu = gpu_of_node(node("a", 1, **{"gpu.product": "A100", "gpu.memory": "40960"}))
    assert gpu is not None
    assert gpu.memory_gib == pytest.approx(39.6, abs=0.2)


@pytest.mark.parametrize("size", [0, -1, 5000, float("nan")])
def test_a_memory_size_must_be_a_card(size: float) -> None:
    with pytest.raises(ShapeError) as caught:
        gpu_of_memory(size)
    assert caught.value.reason == "GPUMemoryInvalid"


def test_a_node_is_read_from_its_labels() -> None:
    labels = {"gpu.product": "NVIDIA-L40S", "gpu.memory": "46068", "gpu.compute.major": "8", "gpu.compute.minor": "9",
              "cuda.driver-version.full": "580.95.05"}  # fmt: skip
    gpu = gpu_of_node(node("a", 4, **labels))
    assert gpu is not None
    assert (gpu.product, gpu.count, gpu.per_node, gpu.compute_capability) == ("NVIDIA-L40S", 4, 4, (8, 9))
    assert gpu.driver == (580, 95, 5)
    assert gpu.memory_bytes == 45486 * 2**20  # what CUDA reports, less than the driver's own figure


def test_a_node_without_gpus_or_with_unknown_memory_is_no_class() -> None:
    assert gpu_of_node(node("a", 0)) is None
    assert gpu_of_node(node("a", 2)) is None
    assert gpu_of_node({"metadata": {}, "status": {}}) is None


def test_labels_that_are_not_numbers_are_left_out() -> None:
    for nonsense in ("lots", "-1", "4²", "9" * 12):
        labels = {"gpu.product": "NVIDIA-L4", "gpu.memory": nonsense, "gpu.compute.major": nonsense}
        gpu = gpu_of_node(node("a", 2, **labels))
        assert gpu is not None
        known = gpu_by_product("NVIDIA-L4")
        assert (gpu.memory_bytes, gpu.compute_capability) == (known.memory_bytes, known.compute_capability)


NODES = [
    node("a", 4, **{"gpu.product": "NVIDIA-L4"}),
    node("b", 8, **{"gpu.product": "NVIDIA-L4"}),
    node("c", 2, **{"gpu.product": "NVIDIA-H200"}),
    node("dark", 2),
]


def test_classes_are_counted_over_nodes() -> None:
    large, small = gpu_classes(NODES)
    assert (large.product, large.count, large.per_node) == ("NVIDIA-H200", 2, 2)
    assert (small.product, small.count, small.per_node) == ("NVIDIA-L4", 12, 8)


def test_who_holds_is_told_by_class_and_what_is_free_by_node() -> None:
    pods = [pod("one", "a", 3), pod("two", "b", 2), pod("done", "b", 4, phase="Succeeded"),
            pod("failed", "b", 1, phase="Failed"), pod("late", "", 1), pod("far", "elsewhere", 8),
            pod("in the dark", "dark", 1)]  # fmt: skip
    large, small, dark = usage_by_class(NODES, gpu_pods(pods))
    assert (large.product, large.count, dict(large.free), large.pods) == ("NVIDIA-H200", 2, {"c": 2}, ())
    assert (small.product, small.count, dict(small.free)) == ("NVIDIA-L4", 12, {"a": 1, "b": 6})
    assert [holder.pod for holder in small.pods] == ["one", "two"]
    assert (dark.product, dark.count, dict(dark.free)) == ("", 2, {"dark": 1})


def test_more_than_a_node_offers_is_not_less_than_nothing_and_another_resource_is_another_matter() -> None:
    other = pod("other", "c", 0)
    other["spec"]["containers"] = [{"resources": {"limits": {"example.com/gpu": "2"}}}]
    use, *_ = usage_by_class(NODES, gpu_pods([pod("left over", "c", 5), other]))
    assert (dict(use.free), [holder.pod for holder in use.pods]) == ({"c": 0}, ["left over"])


def test_a_holder_is_told_with_its_priority_and_its_llmdeployment() -> None:
    [found] = gpu_pods([pod("high", "a", 1, priority=100), pod("none", "a", 0)])
    assert found == GPUPod("team", "high", "nvidia.com/gpu", 1, 100, "chat", "a")


def test_pods_that_say_little_or_nonsense_hold_nothing() -> None:
    broken: list[dict[str, Any]] = [
        {},
        {"spec": {"nodeName": "a"}},
        {"metadata": None, "spec": {"nodeName": "a", "containers": None, "initContainers": None}, "status": None},
        {"spec": {"nodeName": "a", "containers": [{"resources": None}, {"resources": {"limits": None}}]}},
        {"spec": {"nodeName": "a", "containers": [{"resources": {"limits": {"nvidia.com/gpu": "-1"}}}]}},
        {"spec": {"nodeName": "a", "containers": [{"resources": {"limits": {"nvidia.com/gpu": "9" * 40}}}]}},
    ]
    assert list(gpu_pods(broken)) == []


def asks(gpus: int, **more: Any) -> dict[str, Any]:
    return {"resources": {"limits": {"nvidia.com/gpu": str(gpus), "cpu": "1"}}, **more}


SIDECAR = {"restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("containers", "before", "counted"),
    [
        ([asks(1), asks(2)], [], 3),
        ([asks(1)], [asks(4), asks(2)], 4),
        ([asks(5)], [asks(4)], 5),
        ([asks(1)], [asks(2, **SIDECAR)], 3),
        ([asks(1)], [asks(2, **SIDECAR), asks(4)], 6),
        ([asks(1)], [asks(4), asks(2, **SIDECAR)], 4),
        ([{"resources": {"requests": {"nvidia.com/gpu": "2"}}}], [], 2),
    ],
    ids=["a sum", "the largest before", "the sum is more", "beside", "before and beside", "first before", "requests"],
)
def test_requests_are_counted_as_the_scheduler_does(containers: list[Any], before: list[Any], counted: int) -> None:
    assert extended_requests({"containers": containers, "initContainers": before}) == {"nvidia.com/gpu": counted}


@pytest.mark.parametrize(
    ("product", "mib"),
    [
        ("NVIDIA-A100-SXM4-80GB-MIG-1g.10gb", 9728),
        ("NVIDIA-H200-MIG-7g.141gb", 143360),
        ("NVIDIA-B200-MIG-1g.24gb", 24 * 954),  # not in the table
        ("NVIDIA-A100-SXM4-80GB", None),
    ],
)
def test_the_memory_of_a_slice_follows_from_its_profile(product: str, mib: int | None) -> None:
    assert slice_memory_mib(product) == mib
