"""GPUs that nodes publish in ResourceSlices: what is read, what is left out, and what labels say better."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders.dra import device, slice_
from tests.builders.gpus import node
from triton_vllm_operator.capacity import allocatable_gpus, gpu_by_product, gpu_classes, gpu_of_node, is_dra_only
from triton_vllm_operator.capacity.gpus.dra import gpu_of_dra_device, read_slice, with_devices

Object = dict[str, Any]


def mig(name: str, profile: str = "1g.10gb", memory: str = "9856Mi") -> Object:
    kind, product = {"type": {"string": "mig"}}, {"productName": {"string": "NVIDIA H100 80GB HBM3"}}
    return device(name, memory, **kind, **product, profile={"string": profile})


def seen(nodes: list[Object], *slices: Object) -> list[Object]:
    return with_devices(nodes, [one for each in slices if (one := read_slice(each)) is not None])


def test_a_device_is_read() -> None:
    gpu = gpu_of_dra_device(device())
    assert gpu is not None
    assert (gpu.product, gpu.compute_capability, gpu.driver_version) == ("NVIDIA-L40S", (8, 9), "580.95.05")
    assert gpu.memory_bytes == 45486 * 2**20  # as from the feature labels of the same card
    assert gpu.driver_floor == gpu_by_product("NVIDIA-L40S").driver_floor


def test_a_device_whose_attributes_have_the_domain_of_the_driver_is_read() -> None:
    told = device()
    told["attributes"] = {f"gpu.nvidia.com/{name}": value for name, value in told["attributes"].items()}
    assert gpu_of_dra_device(told) == gpu_of_dra_device(device())


def test_a_device_of_which_no_type_is_told_is_a_whole_card() -> None:
    assert gpu_of_dra_device(device(type=None)) == gpu_of_dra_device(device())


def test_a_slice_of_a_card_has_its_own_memory_and_name() -> None:
    gpu = gpu_of_dra_device(mig("mig-0"))
    assert gpu is not None
    assert gpu.product == "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb"
    assert gpu.memory_gib == pytest.approx(9.5, abs=0.2)
    untold = gpu_of_dra_device(mig("mig-0", memory=""))
    assert untold is not None
    assert untold.memory_bytes == gpu_by_product("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb").memory_bytes


def test_the_table_knows_the_memory_that_a_device_does_not_tell() -> None:
    gpu = gpu_of_dra_device(device(memory="", cudaComputeCapability=None))
    known = gpu_by_product("NVIDIA-L40S")
    assert gpu is not None
    assert (gpu.memory_bytes, gpu.compute_capability) == (known.memory_bytes, known.compute_capability)


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"name": "g", "attributes": None, "capacity": None},
        device(memory="", productName=None),
        device(memory="", productName={"string": "Voodoo-2"}),
        device(memory="lots", productName=None),
        device(memory="-1Gi", productName=None),
        device(memory="9" * 15 + "Ti", productName=None),
        device(memory="٣Gi", productName=None),
        device(type={"string": "vfio"}),
        device(type={"string": "mig"}),
    ],
)
def test_what_tells_no_memory_and_what_is_no_gpu_is_none(bad: Object) -> None:
    assert gpu_of_dra_device(bad) is None
    assert seen([node("a", 0)], slice_(bad)) == [node("a", 0)]


@pytest.mark.parametrize("version", ["", "new", "8", "8.x.0", "8.9.0.1.2", "1234567.0.0"])
def test_a_version_that_is_none_is_left_out(version: str) -> None:
    gpu = gpu_of_dra_device(device(cudaComputeCapability={"version": version}, driverVersion={"version": version}))
    assert gpu is not None
    assert (gpu.compute_capability, gpu.driver) == ((8, 9), ())


# ------------------------------------------------------------------------------------------------------ on nodes


def test_a_node_without_labels_and_device_plugin_has_what_it_publishes() -> None:
    [bare] = seen([node("a", 0)], slice_(device("0"), device("1")))
    assert (allocatable_gpus(bare), is_dra_only(bare)) == (2, True)
    gpu = gpu_of_node(bare)
    assert gpu is not None
    assert (gpu.product, gpu.count, gpu.per_node) == ("NVIDIA-L40S", 2, 2)


def test_a_node_with_a_device_plugin_has_the_count_of_its_kubelet() -> None:
    [both] = seen([node("a", 1)], slice_(device("0"), device("1")))
    assert (allocatable_gpus(both), is_dra_only(both)) == (1, False)
    gpu = gpu_of_node(both)
    assert gpu is not None
    assert (gpu.product, gpu.count, gpu.per_node) == ("NVIDIA-L40S", 1, 1)
    [none] = seen([{**node("a", 0), "status": {"allocatable": {"nvidia.com/gpu": "0"}}}], slice_(device("0")))
    assert (allocatable_gpus(none), gpu_of_node(none)) == (0, None)


def test_feature_labels_are_believed_before_devices() -> None:
    [labelled] = seen([node("a", 2, **{"gpu.product": "NVIDIA-L4"})], slice_(device()))
    gpu = gpu_of_node(labelled)
    assert gpu is not None
    assert gpu.product == "NVIDIA-L4"
    [unclear] = seen([node("a", 2, **{"gpu.product": "Voodoo-2"})], slice_(device()))
    found = gpu_of_node(unclear)
    assert found is not None
    assert found.product == "NVIDIA-L40S", "the label has no memory"


def test_the_same_card_is_one_class_however_its_node_tells_it() -> None:
    labels = {"gpu.product": "NVIDIA-L40S", "gpu.memory": "46068"}
    nodes = seen([node("a", 0), node("b", 4, **labels)], slice_(device("0"), device("1")))
    [gpu] = gpu_classes(nodes)
    assert (gpu.product, gpu.count, gpu.per_node) == ("NVIDIA-L40S", 6, 4)


def test_slices_stand_for_the_resource_that_the_device_plugin_would_name() -> None:
    [cut] = seen([node("a", 0)], slice_(mig("0"), mig("1"), mig("2", "1g.10gb+me"), device("3")))
    assert allocatable_gpus(cut, "nvidia.com/mig-1g.10gb") == 2
    assert allocatable_gpus(cut, "nvidia.com/mig-1g.10gb.me") == 1
    assert allocatable_gpus(cut) == 1


def test_the_newest_generation_of_each_pool_counts() -> None:
    old = slice_(device("0"), device("1"), device("2"), generation=4)
    nodes = [node("a", 0), node("b", 0)]
    first, second = seen(nodes, old, slice_(device("0"), generation=5), slice_(device("1"), generation=5),
                         slice_(device("0"), node="b", generation=1))  # fmt: skip
    assert (allocatable_gpus(first), allocatable_gpus(second)) == (2, 1)


def test_of_different_cards_on_a_node_the_smallest_stands_for_all_with_the_oldest_driver() -> None:
    small = device("1", "23028Mi", productName={"string": "NVIDIA L4"}, driverVersion={"version": "575.1.0"})
    for devices in ((device("0"), small), (small, device("0"))):
        [mixed] = seen([node("a", 0)], slice_(*devices))
        gpu = gpu_of_node(mixed)
        assert gpu is not None
        assert (gpu.product, gpu.count, gpu.driver) == ("NVIDIA-L4", 2, (575, 1, 0))
    [untold] = seen([node("a", 0)], slice_(device("0", driverVersion=None), device("1")))
    gpu = gpu_of_node(untold)
    assert gpu is not None
    assert gpu.driver == (580, 95, 5)


def test_devices_of_a_pool_that_spans_nodes_are_counted_where_they_are() -> None:
    here, there = device("0") | {"nodeName": "a"}, device("1") | {"nodeName": "b"}
    spread = slice_(here, there, device("nowhere"), pool="rack", perDeviceNodeSelection=True)
    del spread["spec"]["nodeName"]
    assert [allocatable_gpus(one) for one in seen([node("a", 0), node("b", 0), node("c", 0)], spread)] == [1, 1, 0]


@pytest.mark.parametrize(("effect", "counted"), [("NoSchedule", 1), ("NoExecute", 1), ("None", 2)])
def test_a_device_that_is_tainted_takes_no_pods(effect: str, counted: int) -> None:
    ill = device("1") | {"taints": [{"key": "gpu.nvidia.com/unhealthy", "effect": effect}]}
    [found] = seen([node("a", 0)], slice_(device("0"), ill))
    assert allocatable_gpus(found) == counted


@pytest.mark.parametrize(
    "other",
    [
        slice_(device(), driver="gpu.example.com"),
        {},
        {"spec": None},
        {"spec": {"driver": "gpu.nvidia.com"}},
        {"spec": {"driver": "gpu.nvidia.com", "nodeName": "a", "pool": None, "devices": None}},
    ],
)
def test_slices_of_others_and_empty_ones_say_nothing(other: Object) -> None:
    assert seen([node("a", 0)], other) == [node("a", 0)]
