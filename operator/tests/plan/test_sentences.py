"""Why there is no plan, or what the plan says of several GPUs: each sentence whole, with what to do."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.builders.deployments import A10, H100, LLAMA_8B, LLAMA_70B, T4, VERSION, decided, llm, node
from triton_vllm_operator.api.spec import EngineSpec
from triton_vllm_operator.capacity import GPUClass, ShapeError, gpu_by_product, gpu_of_memory, shape_from_config
from triton_vllm_operator.plan import inspection, verdict
from triton_vllm_operator.plan.engine_settings import engine_settings
from triton_vllm_operator.plan.gpu_selection import GPUSelection, schedulable_nodes, select_gpu_classes
from triton_vllm_operator.plan.inspection_protocol import InspectedModel
from triton_vllm_operator.plan.model_resolution import planning_disabled, resolved
from triton_vllm_operator.plan.model_status import model_status
from triton_vllm_operator.plan.not_planned import NotPlanned

SHAPE = shape_from_config(LLAMA_8B)


def sentence(*nodes: dict[str, Any], shape: Any = SHAPE, **spec: Any) -> tuple[str, str]:
    """Reason and message of a model that is not planned."""
    found = verdict.decide(llm(**spec), shape, VERSION, nodes)
    assert isinstance(found, NotPlanned), found
    condition = verdict.condition(found)
    assert (condition.type, condition.status) == ("Fits", "Unknown")
    assert (condition.reason, condition.message) == (found.reason, found.message)
    return str(found.reason), found.message


DARK = {"metadata": {"name": "dark", "labels": {}}, "status": {"allocatable": {"nvidia.com/gpu": "8"}}}
"""A node whose GPUs have no labels."""


def labelled(found: dict[str, Any], **labels: str) -> dict[str, Any]:
    """The node with more labels, `sharing_strategy` for nvidia.com/gpu.sharing-strategy."""
    more = {f"nvidia.com/gpu.{name.replace('_', '-')}": value for name, value in labels.items()}
    return {**found, "metadata": {**found["metadata"], "labels": {**found["metadata"]["labels"], **more}}}


UNKNOWN = "The memory of the GPUs is not known: no node offers nvidia.com/gpu"
STATE_IT = ". Set spec.resources.gpu.memoryGiB, or add such a node."


@pytest.mark.parametrize(
    ("nodes", "spec", "reason", "message"),
    [
        ([], {}, "GPUMemoryUnknown", f"{UNKNOWN}{STATE_IT}"),
        ([node(H100)], {"scheduling": {"nodeSelector": {"disk": "fast"}}}, "GPUMemoryUnknown",
         f"{UNKNOWN} and matches spec.scheduling.nodeSelector and spec.resources.gpu.product{STATE_IT}"),
        ([node(H100)], {"resources": {"gpu": {"product": "NVIDIA-X"}}}, "GPUMemoryUnknown",
         f"{UNKNOWN} and matches spec.scheduling.nodeSelector and spec.resources.gpu.product{STATE_IT}"),
        ([node(H100), DARK], {}, "GPUMemoryUnknown",
         "The memory of the GPUs of node dark is not known. Install NVIDIA's GPU feature discovery, which labels nodes "
         "with nvidia.com/gpu.memory, set spec.resources.gpu.memoryGiB, or select labelled nodes with "
         "spec.scheduling.nodeSelector."),
        ([labelled(node(H100, name="s"), sharing_strategy="time-slicing")], {}, "GPUsShared",
         "The GPUs of node s are shared (time-slicing): other pods use the same memory. Set "
         "spec.resources.gpu.memoryGiB to the share of one pod, or select nodes with whole GPUs."),
        ([node(H100)], {"engine": {"extraArgs": {"enable_lora": True, "cpu_offload_gb": 4}}}, "ArgumentNotPlanned",
         "The effect of spec.engine.extraArgs.cpu_offload_gb, spec.engine.extraArgs.enable_lora on the engine's memory "
         "is not planned. The engine itself decides."),
        ([node(H100)], {"engine": {"quantization": "fp8"}}, "WeightsConverted",
         "spec.engine.quantization fp8 makes the weights smaller while they are loaded. The memory that this needs is "
         "not planned. The engine itself decides."),
        ([node(H100)], {"engine": {"dtype": "float32"}}, "WeightsConverted",
         "The checkpoint is stored in 16 bits and served in float32. The memory that this needs is not planned. The "
         "engine itself decides."),
        ([node(H100)], {"engine": {"extraArgs": {"kv_cache_memory_bytes": 0}}}, "EngineArgumentInvalid",
         "engine.extraArgs.kv_cache_memory_bytes must be an integer greater than 0, not 0."),
    ],
)  # fmt: skip
def test_why_a_model_is_not_planned(
    nodes: list[dict[str, Any]], spec: dict[str, Any], reason: str, message: str
) -> None:
    assert sentence(*nodes, **spec) == (reason, message)


def test_a_checkpoint_in_32_bits_is_converted_unless_it_is_served_so() -> None:
    wide = shape_from_config({**LLAMA_8B, "torch_dtype": "float32"})
    assert sentence(node(H100), shape=wide) == (
        "WeightsConverted",
        "The checkpoint is stored in 32 bits and served in bfloat16. The memory that this needs is not planned. The "
        "engine itself decides.",
    )
    found = verdict.decide(llm(engine={"dtype": "float32"}), wide, VERSION, [node(H100)])
    assert not isinstance(found, NotPlanned)


@pytest.mark.parametrize(
    ("name", "value"), [("enable_lora", None), ("enable_lora", False), ("cpu_offload_gb", 0), ("hf_overrides", {})]
)
def test_an_argument_that_is_off_is_planned(name: str, value: Any) -> None:
    engine = llm(engine={"extraArgs": {name: value}}).spec.engine
    assert verdict.unplanned_arguments(engine, VERSION) is None


def fits(*nodes: dict[str, Any], config: dict[str, Any] = LLAMA_70B, **spec: Any) -> tuple[str, str]:
    """Status and message of the condition."""
    condition = verdict.condition(decided(config, *nodes, **spec))
    return condition.status, condition.message


@pytest.mark.parametrize(
    ("nodes", "spec", "status", "message"),
    [
        ([node(H100)], {"engine": {"tensorParallelSize": 8, "maxModelLen": 8192}}, "True",
         r"On NVIDIA-H100-80GB-HBM3: \d+ tokens of KV cache: [\d.]+ requests of 8192 tokens at once before queueing\."),
        ([node(A10, gpus=1)], {"engine": {"tensorParallelSize": 1, "maxModelLen": 8192}}, "False",
         r"On NVIDIA-A10: weights and start-up peak leave no memory for the KV cache \([\d.]+ GiB short of [\d.]+\); "
         r"use more GPUs \(tensorParallelSize\), a quantized variant or a larger GPU\. No single change of the spec "
         r"was found that fits on the GPUs of this cluster\."),
        ([node(H100)], {"engine": {"tensorParallelSize": 3, "maxModelLen": 8192}}, "False",
         r"On NVIDIA-H100-80GB-HBM3: 64 attention heads cannot be split over tensorParallelSize 3; use one of 1, 2, 4, "
         r"8, 16, 32, 64\. The smallest change that fits: set engine\.tensorParallelSize: \d "
         r"\(\d GPUs per replica\)\."),
        ([node(H100), node(T4, name="t")], {"engine": {"tensorParallelSize": 8, "maxModelLen": 8192}}, "Unknown",
         r"A pod may land on Tesla-T4, where the model does not fit: .*\. It fits on NVIDIA-H100-80GB-HBM3\. The "
         r"smallest change that fits: set resources\.gpu\.product: NVIDIA-H100-80GB-HBM3\."),
    ],
)  # fmt: skip
def test_what_the_condition_says(nodes: list[dict[str, Any]], spec: dict[str, Any], status: str, message: str) -> None:
    found = fits(*nodes, **spec)
    assert found[0] == status
    assert re.fullmatch(message, found[1]), found[1]


def selection(*nodes: dict[str, Any], **spec: Any) -> GPUSelection:
    """The classes for a spec."""
    found = select_gpu_classes(llm(**spec), nodes)
    assert isinstance(found, GPUSelection), found
    return found


def gpu(**fields: Any) -> dict[str, Any]:
    """`resources` of a spec."""
    return {"resources": {"gpu": fields}}


def products(classes: Any) -> list[str]:
    """Products of the classes."""
    return [one.product for one in classes]


def test_the_memory_that_the_spec_states_counts_on_any_node() -> None:
    [alone] = selection(**gpu(memoryGiB=40)).allowed
    plain: GPUClass = gpu_of_memory(40)
    assert alone == plain
    [known] = selection(**gpu(memoryGiB=40, product=H100[0])).allowed
    assert (known.product, known.memory_bytes) == (H100[0], plain.memory_bytes)
    assert known.compute_capability == gpu_by_product(H100[0]).compute_capability
    [present] = selection(node(T4, gpus=3), **gpu(memoryGiB=40)).allowed
    assert (present.product, present.memory_bytes) == (plain.product, plain.memory_bytes)
    assert (present.compute_capability, present.per_node) == ((7, 5), 3)
    [unknown] = selection(**gpu(memoryGiB=40, product="NVIDIA-X")).allowed
    assert unknown == plain


def test_a_product_that_is_known_is_planned_before_a_node_has_it() -> None:
    found = selection(node(T4), **gpu(product=H100[0]))
    assert (list(found.allowed), list(found.others)) == ([gpu_by_product(H100[0])], [])


def test_the_classes_with_a_node_for_a_whole_pod_count() -> None:
    nodes = node(H100, gpus=2), node(A10, gpus=4, name="a")
    assert products(selection(*nodes, engine={"tensorParallelSize": 4}).allowed) == [A10[0]]
    assert sorted(products(selection(*nodes, engine={"tensorParallelSize": 2}).allowed)) == sorted([A10[0], H100[0]])
    assert sorted(products(selection(*nodes, engine={"tensorParallelSize": 8}).allowed)) == sorted([A10[0], H100[0]])


def test_others_are_what_the_spec_could_select_by_product() -> None:
    shared = labelled(node(T4, name="t"), sharing_strategy="mps")
    whole = labelled(node(A10, name="a"), sharing_strategy="none")
    found = selection(node(H100), whole, shared, **gpu(product=H100[0]))
    assert products(found.allowed) == [H100[0]]
    assert sorted(products(found.others)) == sorted([H100[0], A10[0]])


def test_the_labels_of_a_slice_stand_in_place_of_the_cards() -> None:
    sliced = node(H100)
    sliced["metadata"]["labels"] |= {
        "nvidia.com/mig-1g.10gb.memory": "9856", "nvidia.com/mig-1g.10gb.product": "SLICE",
    }  # fmt: skip
    sliced["status"]["allocatable"]["nvidia.com/mig-1g.10gb"] = "7"
    spec = gpu(resourceName="nvidia.com/mig-1g.10gb")
    [found] = schedulable_nodes(llm(**spec), [sliced, node(H100, name="m")])
    labels = found["metadata"]["labels"]
    assert (labels["nvidia.com/gpu.product"], labels["nvidia.com/gpu.memory"]) == ("SLICE", "9856")
    assert sliced["metadata"]["labels"]["nvidia.com/gpu.memory"] == "81559", "the node itself does not change"
    chosen = selection(sliced, **spec)
    assert (products(chosen.allowed), list(chosen.others)) == (["SLICE"], [])
    assert schedulable_nodes(llm(), [sliced]) == [sliced]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"kv_cache_memory_bytes": "8GiB"},
         "engine.extraArgs.kv_cache_memory_bytes must be an integer greater than 0, not '8GiB'"),
        ({"async_scheduling": 1}, "engine.extraArgs.async_scheduling must be true or false, not 1"),
        ({"mamba_ssm_cache_dtype": 16}, "engine.extraArgs.mamba_ssm_cache_dtype must be a string, not 16"),
        ({"speculative_config": "mtp"}, "engine.extraArgs.speculative_config must be an object"),
        ({"speculative_config": {"method": "psychic"}}, "the planner does not know the speculative method 'psychic'"),
        ({"speculative_config": {"method": "mtp", "num_speculative_tokens": 0}},
         "engine.extraArgs.speculative_config.num_speculative_tokens must be an integer greater than 0, not 0"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_argument(extra: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        engine_settings(EngineSpec.model_validate({"extraArgs": extra}), VERSION)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"method": "ngram"}, ("ngram", 1, 0)),
        ({"method": "eagle", "num_speculative_tokens": 3}, ("eagle", 3, 1)),
        ({"method": "eagle3"}, ("eagle", 1, 1)),
        ({"method": "draft_model", "num_speculative_tokens": 2}, ("draft_model", 2, 0)),
        ({}, ("draft_model", 1, 0)),
        ({"method": "mtp"}, ("mtp", 1, 0)),
        ({"method": "qwen3_next_mtp"}, ("mtp", 1, 0)),
        (None, ("none", 0, 0)),
    ],
)
def test_speculation_is_planned_by_its_method(given: Any, expected: tuple[str, int, int]) -> None:
    found = engine_settings(EngineSpec.model_validate({"extraArgs": {"speculative_config": given}}), VERSION)
    assert (found.speculation, found.num_speculative_tokens, found.draft_attention_layers) == expected


def test_the_condition_model_resolved_sums_the_model_up() -> None:
    model = InspectedModel("c" * 40, SHAPE)
    found = resolved(model, model_status(llm(), model))
    gib = sum(size for _, size in SHAPE.bytes_by_dtype) / 2**30
    expected = f"LlamaForCausalLM, 32 layers, {gib:.2f} GiB of weights. Commit {'c' * 40}."
    assert found.condition.message == expected
    claim = InspectedModel("", SHAPE)
    without = resolved(claim, model_status(llm(), claim).model_copy(update={"weights_bytes": None}))
    assert without.condition.message == "LlamaForCausalLM, 32 layers, no safetensors files."


def test_why_nothing_is_planned_at_all() -> None:
    off = planning_disabled(llm(planning={"mode": "Off"}), "operator:1")
    assert off is not None
    assert off.message == "spec.planning.mode is Off: the model is not read and nothing is planned."
    unknown = planning_disabled(llm(), None)
    assert unknown is not None
    assert unknown.message == ("The operator does not know its own image, which reads the model. Set --operator-image.")


@pytest.mark.parametrize(
    ("annotations", "number"),
    [({}, 0), ({"attempt": "7"}, 7), ({"attempt": "-1"}, 0), ({"attempt": "x"}, 0), ({"attempt": "1" * 8}, 11111111),
     ({"attempt": "1" * 9}, 0)],
)  # fmt: skip
def test_the_number_of_an_attempt_is_read_from_its_annotation(annotations: dict[str, str], number: int) -> None:
    given = {f"serving.triton-vllm.dev/{key}": value for key, value in annotations.items()}
    assert inspection.attempt({"metadata": {"annotations": given}}) == number
