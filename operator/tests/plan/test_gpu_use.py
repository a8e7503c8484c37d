"""Which GPUs count for a pod that waits, who holds them, and whose priority would have to give way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.builders.deployments import H100, T4, llm, node
from triton_vllm_operator.capacity import GPUPod, gpu_by_product
from triton_vllm_operator.capacity.gpus.nodes import DEVICES
from triton_vllm_operator.observed.gpu_shortage import MAX_NAMED_USERS, GPUUse, GPUUser
from triton_vllm_operator.plan.gpu_use import gpu_use

NODES = [node(H100, name="a"), node(H100, name="b"), node(T4, gpus=4, name="c", disk="fast")]


def holder(pod: str, on: str, gpus: int, priority: int = 0, deployment: str = "", namespace: str = "x") -> GPUPod:
    return GPUPod(namespace, pod, "nvidia.com/gpu", gpus, priority, deployment, on)


def used(*holders: GPUPod, gpus: int = 1, complete: bool = True, **spec: Any) -> GPUUse:
    return gpu_use(llm(engine={"tensorParallelSize": gpus}, **spec), NODES, holders, complete=complete)


def test_holders_are_counted_by_class_and_the_pods_of_an_llmdeployment_together() -> None:
    use = used(
        holder("p1", "a", 2, deployment="chat"), holder("p2", "b", 2, deployment="chat"), holder("train", "b", 3),
        holder("small", "c", 1),
    )  # fmt: skip
    large, small = use.classes
    assert (large.product, large.count, large.free, large.most_free) == (H100[0], 16, 9, 6)
    assert list(large.users) == [GPUUser("LLMDeployment x/chat", 4, 0), GPUUser("pod x/train", 3, 0)]
    assert (small.product, small.count, small.free, small.most_free) == (T4[0], 4, 3, 3)
    assert list(small.users) == [GPUUser("pod x/small", 1, 0)]
    assert (use.resource, use.offered, use.largest_node, use.complete) == ("nvidia.com/gpu", 20, 8, True)


def test_who_holds_as_much_is_in_the_order_of_the_names_and_each_priority_stands_alone() -> None:
    use = used(
        holder("q", "a", 1), holder("p", "a", 1), holder("1", "a", 1, 7, "chat"), holder("2", "b", 1, 9, "chat"),
    )  # fmt: skip
    chat = "LLMDeployment x/chat"
    assert list(use.classes[0].users) == [
        GPUUser(chat, 1, 7), GPUUser(chat, 1, 9), GPUUser("pod x/p", 1, 0), GPUUser("pod x/q", 1, 0),
    ]  # fmt: skip


def test_the_biggest_are_named_and_the_others_are_counted() -> None:
    use = used(*(holder(f"p{number}", "a", number % 3 + 1) for number in range(MAX_NAMED_USERS + 2)))
    [large, _] = use.classes
    assert [one.gpus for one in large.users] == [3, 3, 2, 2, 1]
    assert (large.more, large.used_by_more) == (2, 2)


def test_only_gpus_count_on_which_the_pod_may_land() -> None:
    everywhere = (holder("p", "a", 8), holder("q", "c", 4))
    by_product = used(*everywhere, resources={"gpu": {"product": T4[0]}})
    assert [one.product for one in by_product.classes] == [T4[0]]
    assert (by_product.offered, by_product.largest_node) == (20, 4)
    by_label = used(*everywhere, scheduling={"nodeSelector": {"disk": "fast"}})
    assert [one.product for one in by_label.classes] == [T4[0]]
    nowhere = used(*everywhere, scheduling={"nodeSelector": {"disk": "slow"}})
    assert (nowhere.offered, nowhere.largest_node, list(nowhere.classes)) == (20, 0, [])


def test_slices_are_counted_by_the_resource_that_is_asked_for() -> None:
    sliced = node(H100)
    sliced["metadata"]["labels"] |= {
        "nvidia.com/mig-1g.10gb.memory": "9856",
        "nvidia.com/mig-1g.10gb.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb",
    }
    sliced["status"]["allocatable"]["nvidia.com/mig-1g.10gb"] = "7"
    wanted = llm(resources={"gpu": {"resourceName": "nvidia.com/mig-1g.10gb"}})
    holders = [holder("whole", "n", 1), GPUPod("x", "slice", "nvidia.com/mig-1g.10gb", 2, 0, "", "n")]
    [use] = gpu_use(wanted, [sliced], holders, complete=True).classes
    assert (use.product, use.count, use.free) == ("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", 7, 5)
    assert list(use.users) == [GPUUser("pod x/slice", 2, 0)]


def test_gpus_that_only_dra_tells_of_are_counted_and_marked() -> None:
    devices = {"nvidia.com/gpu": replace(gpu_by_product(H100[0]), count=4)}
    bare = {"metadata": {"name": "dra"}, "status": {"allocatable": {}}, DEVICES: devices}
    use = gpu_use(llm(), [bare, node(H100, gpus=2)], [holder("p", "dra", 1)], complete=True)
    assert (use.offered, use.largest_node, use.by_dra) == (6, 4, 4)
    assert [(one.count, one.free) for one in use.classes] == [(6, 5)]
    assert used().by_dra == 0


# ------------------------------------------------------------------------------------------- who would give way


def full(*holders: GPUPod) -> tuple[GPUPod, ...]:
    """The holders beside system pods that leave them nothing and yield to none."""
    left = {"a": 8, "b": 8, "c": 4}
    for one in holders:
        left[one.node] -= one.gpus
    return (*holders, *(holder(f"fill-{name}", name, gpus, 2_000_000_000) for name, gpus in left.items() if gpus))


def test_the_lowest_priority_counts_that_makes_room_on_one_node() -> None:
    holders = full(holder("low", "a", 1, -5), holder("middle", "a", 1, 10), holder("high", "b", 2, 7))
    assert used(*holders).yields == -5
    assert used(*holders, gpus=2).yields == 7
    assert used(*holders, gpus=3).yields == 2_000_000_000


def test_what_is_free_on_a_node_counts_towards_the_room() -> None:
    holders = (holder("low", "a", 1, 3), holder("rest", "a", 6, 50), holder("b", "b", 8, 50), holder("c", "c", 4, 50))
    assert used(*holders, gpus=2).yields == 3


def test_own_pods_are_counted_by_the_same_lists() -> None:
    own = [holder(name, "a", 1, deployment="llama", namespace="team") for name in ("p", "q")]
    use = used(*own, holder("r", "b", 1, deployment="llama", namespace="other"))
    assert (use.own, use.room) == (2, 17)


def test_room_on_two_nodes_is_not_room_on_one() -> None:
    holders = full(holder("one", "a", 1, 1), holder("other", "b", 1, 1))
    assert used(*holders, gpus=2).yields == 2_000_000_000


def test_its_own_pods_would_only_change_places() -> None:
    own = [holder(f"own-{name}", name, gpus, deployment="llama", namespace="team") for name, gpus in
           (("a", 8), ("b", 8), ("c", 4))]  # fmt: skip
    assert used(*own).yields is None
    assert used(*own[:2], holder("c", "c", 4, deployment="llama", namespace="other")).yields == 0
