"""Who holds the GPUs, in words: how many there are, how many are free, who has the rest and what would help."""

from __future__ import annotations

from dataclasses import replace

import pytest

from triton_vllm_operator.observed.gpu_shortage import ClassOfGPUs, GPUUse, GPUUser, explain

H100 = ClassOfGPUs(
    "NVIDIA-H100-80GB-HBM3", 16, 3, 1, [GPUUser("LLMDeployment team/big", 8, 100), GPUUser("pod b/t", 5, 0)]
)
USE = GPUUse("nvidia.com/gpu", 16, 8, [H100], yields=None, by_dra=0, complete=True)


def test_the_biggest_holder_is_named_first_with_its_priority_where_it_has_one() -> None:
    assert explain(USE, 2, 0) == (
        "A pod needs 2 nvidia.com/gpu on one node. Of 16 NVIDIA-H100-80GB-HBM3, 3 are free, at most 1 on one node; "
        "held by LLMDeployment team/big 8 (priority 100), pod b/t 5. "
        "Scale down or delete one of those users, or add a GPU node."
    )


@pytest.mark.parametrize(
    ("free", "most_free", "message"),
    [
        (0, 0, "Of 16 NVIDIA-H100-80GB-HBM3, none is free; held"),
        (1, 1, "Of 16 NVIDIA-H100-80GB-HBM3, 1 is free; held"),
        (3, 3, "Of 16 NVIDIA-H100-80GB-HBM3, 3 are free; held"),
        (3, 2, "Of 16 NVIDIA-H100-80GB-HBM3, 3 are free, at most 2 on one node; held"),
    ],
)
def test_how_many_are_free_is_told_and_how_many_together(free: int, most_free: int, message: str) -> None:
    assert message in explain(replace(USE, classes=[replace(H100, free=free, most_free=most_free)]), 4, 0)


def test_who_is_not_named_is_counted() -> None:
    message = explain(replace(USE, classes=[replace(H100, more=11, used_by_more=14)]), 2, 0)
    assert "held by LLMDeployment team/big 8 (priority 100), pod b/t 5, and 11 more hold 14." in message


def test_gpus_that_nobody_is_known_to_hold_and_that_nothing_tells_the_class_of() -> None:
    dark = ClassOfGPUs("", 4, 1, 1, [])
    assert "Of 4 of unknown memory, 1 is free." in explain(replace(USE, classes=[dark]), 2, 0)


def test_the_classes_are_bounded_and_the_rest_is_counted() -> None:
    classes = [replace(H100, product=f"GPU-{number}", free=1) for number in range(5)]
    message = explain(replace(USE, classes=classes), 2, 0)
    assert "GPU-2" in message
    assert "GPU-3" not in message
    assert "Of 32 of 2 more classes, 2 are free." in message


# ------------------------------------------------------------------------------------------------ what would help


def test_a_pod_that_outranks_enough_holders_waits_for_them_to_be_ended() -> None:
    message = explain(replace(USE, yields=5), 2, 6)
    assert message.endswith("Pods of a lower priority hold enough of them: the scheduler may end those for this pod.")


@pytest.mark.parametrize("preempts_below", [5, 0, None])
def test_a_priority_class_is_named_where_one_would_make_room(preempts_below: int | None) -> None:
    message = explain(replace(USE, yields=5), 2, preempts_below)
    assert message.endswith(
        "or add a GPU node, or name a preempting PriorityClass of more than 5 in spec.scheduling.priorityClassName: "
        "its pods take the place of others."
    )


def test_no_priority_class_is_above_those_of_the_system() -> None:
    assert explain(replace(USE, yields=2_000_000_000), 2, 0).endswith("or add a GPU node.")


def test_enough_on_one_node_is_not_blamed_on_the_holders() -> None:
    message = explain(replace(USE, classes=[replace(H100, most_free=2)], yields=0), 2, 0)
    assert message.endswith("or something else that it names keeps the pod off that node.")
    assert "Scale" not in message


def test_what_the_operator_does_not_see_is_said_and_promises_nothing() -> None:
    message = explain(replace(USE, classes=[replace(H100, most_free=2)], complete=False), 2, 0)
    assert "at most 3 are free" in message
    assert (
        "Only pods that the operator may list are counted: pods of other namespaces may hold some of them." in message
    )
    assert message.endswith("or add a GPU node.")
    none = explain(replace(USE, classes=[replace(H100, free=0, most_free=0)], complete=False), 2, 0)
    assert "none is free" in none


def test_gpus_that_only_dra_tells_of_need_a_device_class_and_may_be_claimed() -> None:
    message = explain(replace(USE, classes=[replace(H100, most_free=2)], by_dra=8), 2, 0)
    assert "at most 3 are free" in message
    assert (
        "8 of them are reported by DRA only: pods get them where a DeviceClass has the extendedResourceName" in message
    )
    assert "nvidia.com/gpu, and who holds them by a ResourceClaim is not counted." in message
    assert message.endswith("or add a GPU node.")


# ------------------------------------------------------------------------------------- where no pod is to blame


def test_a_pod_that_no_node_can_ever_hold_is_told_so() -> None:
    assert "the largest node has 8" in explain(USE, 9, 0)
    assert "A pod needs 8 nvidia.com/gpu on one node. Of 16" in explain(USE, 8, 0)


def test_gpus_that_are_nowhere_and_gpus_that_the_spec_excludes_are_told_apart() -> None:
    assert "No node offers nvidia.com/gpu." in explain(replace(USE, offered=0, largest_node=0, classes=[]), 1, 0)
    message = explain(replace(USE, largest_node=0, classes=[]), 1, 0)
    assert message.startswith("No node that offers nvidia.com/gpu has the labels of spec.scheduling.nodeSelector")
