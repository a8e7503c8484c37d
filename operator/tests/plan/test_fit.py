"""The decision whether a model fits: which GPUs count, what is unknown, and what is never decided twice."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.desired.samples import resource
from tests.inspect.files import shape as tiny
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.api.status import PlanStatus
from triton_vllm_operator.capacity import ModelShape
from triton_vllm_operator.plan import fit
from triton_vllm_operator.plan.fit import Decision, Unknown

VERSION = "0.32.0"
H100 = ("NVIDIA-H100-80GB-HBM3", 81559, "9", "0")
A10 = ("NVIDIA-A10", 23028, "8", "6")
T4 = ("Tesla-T4", 15360, "7", "5")
LLAMA_70B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8192, "intermediate_size": 28672,
    "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 128256,
    "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
}  # fmt: skip
LLAMA_8B = LLAMA_70B | {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "max_position_embeddings": 8192,
}  # fmt: skip


def llm(**spec: Any) -> LLMDeployment:
    return LLMDeployment.parse(resource("llama", {"model": {"uri": "hf://org/model"}, **spec}))


def node(card: tuple[str, int, str, str], gpus: int = 8, name: str = "n", **labels: str) -> dict[str, Any]:
    product, memory, major, minor = card
    told = {
        "nvidia.com/gpu.product": product,
        "nvidia.com/gpu.memory": str(memory),
        "nvidia.com/gpu.compute.major": major,
        "nvidia.com/gpu.compute.minor": minor,
        **{key.replace("__", "/"): value for key, value in labels.items()},
    }
    return {"metadata": {"name": name, "labels": told}, "status": {"allocatable": {"nvidia.com/gpu": str(gpus)}}}


def decided(config: dict[str, Any], *nodes: dict[str, Any], **spec: Any) -> Decision:
    found = fit.decide(llm(**spec), ModelShape.from_config(config), VERSION, nodes)
    assert isinstance(found, Decision), found
    return found


def unknown(*nodes: dict[str, Any], shape: ModelShape | None = None, **spec: Any) -> Unknown:
    found = fit.decide(llm(**spec), shape or tiny(), VERSION, nodes)
    assert isinstance(found, Unknown), found
    return found


# -------------------------------------------------------------------------------------------------- verdicts


def test_a_small_model_fits_and_the_condition_says_how_much_is_left() -> None:
    found = decided(LLAMA_8B, node(H100))
    told = fit.condition(found)
    assert (told.type, told.status, told.reason) == ("Fits", "True", "Fits")
    assert told.message.startswith("On NVIDIA-H100-80GB-HBM3: ")
    assert "tokens" in told.message
    assert not found.forbids


def test_a_large_model_does_not_fit_and_the_smallest_change_is_named_and_planned() -> None:
    found = decided(LLAMA_70B, node(H100), engine={"maxModelLen": 8192})
    told = fit.condition(found)
    assert (told.status, told.reason) == ("False", "DoesNotFit")
    assert found.forbids
    assert "The smallest change that fits: set engine.tensorParallelSize: " in told.message
    change = found.plan["suggestions"][0]["changes"]
    size = change["engine.tensorParallelSize"]
    assert not decided(LLAMA_70B, node(H100), engine={"maxModelLen": 8192, "tensorParallelSize": size}).forbids


def test_the_plan_is_what_the_schema_of_the_status_holds() -> None:
    for found in (decided(LLAMA_8B, node(H100)), decided(LLAMA_70B, node(H100))):
        plan = dict(found.plan)
        assert json.loads(json.dumps(plan)) == plan
        kept = PlanStatus.model_validate(plan).model_dump(by_alias=True)
        assert kept == plan, "the API server would drop or add fields, and the status would be written for ever"


def test_a_tight_plan_is_neither_true_nor_forbidding() -> None:
    tight = Decision({"verdict": "Tight", "reason": "DecidedByOverhead", "message": "m.", "suggestions": []})
    told = fit.condition(tight)
    assert (told.status, told.reason) == ("Unknown", "Tight")
    assert not tight.forbids


# ----------------------------------------------------------------------------------------------- which GPUs


def test_a_pod_that_may_land_on_a_gpu_without_room_is_told_which_to_name() -> None:
    found = decided(LLAMA_8B, node(H100, name="a"), node(T4, name="b"))
    told = fit.condition(found)
    assert told.reason == "Tight"
    assert not found.forbids
    assert "A pod may land on Tesla-T4, where the model does not fit" in told.message
    assert "set resources.gpu.product: NVIDIA-H100-80GB-HBM3" in told.message
    named = decided(LLAMA_8B, node(H100), node(T4), resources={"gpu": {"product": H100[0]}})
    assert named.plan["verdict"] == "Fits"


def test_nodes_that_the_selector_excludes_do_not_count() -> None:
    nodes = node(H100, name="a", pool="big"), node(T4, name="b", pool="small")
    assert decided(LLAMA_8B, *nodes, scheduling={"nodeSelector": {"pool": "big"}}).plan["verdict"] == "Fits"
    assert decided(LLAMA_8B, *nodes, scheduling={"nodeSelector": {"pool": "small"}}).forbids


def test_nodes_with_too_few_gpus_for_a_pod_do_not_count() -> None:
    nodes = node(H100, name="a"), node(T4, gpus=1, name="b")
    assert decided(LLAMA_8B, *nodes, engine={"tensorParallelSize": 2}).plan["verdict"] == "Fits"


def test_a_product_that_no_node_has_yet_is_planned_by_the_table() -> None:
    found = decided(LLAMA_8B, resources={"gpu": {"product": "NVIDIA-H100-80GB-HBM3"}})
    assert (found.plan["verdict"], found.plan["gpu"]) == ("Fits", "NVIDIA-H100-80GB-HBM3")


def test_stated_memory_wins_over_labels_and_needs_no_node() -> None:
    gpu = {"gpu": {"memoryGiB": 12}}
    assert decided(LLAMA_8B, node(H100), resources=gpu).forbids
    assert decided(LLAMA_8B, resources=gpu).forbids
    assert not decided(LLAMA_8B, resources={"gpu": {"memoryGiB": 80}}).forbids


def test_a_slice_of_a_card_is_planned_with_the_memory_of_the_slice() -> None:
    slices = node(H100)
    slices["metadata"]["labels"] |= {
        "nvidia.com/mig-1g.10gb.memory": "9856",
        "nvidia.com/mig-1g.10gb.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb",
    }
    slices["status"]["allocatable"] = {"nvidia.com/mig-1g.10gb": "7"}
    found = decided(LLAMA_8B, slices, resources={"gpu": {"resourceName": "nvidia.com/mig-1g.10gb"}})
    assert found.forbids
    assert found.plan["perGPU"]["totalBytes"] < 10 * 2**30


# -------------------------------------------------------------------------------------------------- unknown


def test_no_gpu_node_is_unknown_with_what_would_settle_it() -> None:
    told = unknown({"metadata": {"name": "n"}, "status": {}})
    assert told.reason == "GPUMemoryUnknown"
    assert "spec.resources.gpu.memoryGiB" in told.message
    assert fit.condition(told).status == "Unknown"


def test_an_unlabelled_gpu_node_is_unknown_even_beside_a_labelled_one() -> None:
    dark = node(H100, name="dark")
    dark["metadata"]["labels"] = {}
    told = unknown(dark, node(H100))
    assert told.reason == "GPUMemoryUnknown"
    assert "node dark" in told.message


def test_shared_gpus_are_unknown_until_the_part_is_stated() -> None:
    shared = node(H100)
    shared["metadata"]["labels"]["nvidia.com/gpu.sharing-strategy"] = "time-slicing"
    assert unknown(shared).reason == "GPUsShared"
    assert decided(LLAMA_8B, shared, resources={"gpu": {"memoryGiB": 40}}).plan["verdict"] == "Fits"


@pytest.mark.parametrize(
    "extra",
    [
        {"cpu_offload_gb": 40},
        {"hf_overrides": {"num_hidden_layers": 2}},
        {"enable_lora": True},
        {"speculative_config": {"method": "eagle3", "model": "x", "num_speculative_tokens": 3}},
    ],
)
def test_arguments_that_the_planner_does_not_know_leave_it_to_the_engine(extra: dict[str, Any]) -> None:
    told = unknown(node(H100), engine={"extraArgs": extra})
    assert told.reason == "ArgumentNotPlanned"
    assert f"spec.engine.extraArgs.{next(iter(extra))}" in told.message


def test_an_argument_that_is_off_changes_nothing() -> None:
    assert decided(LLAMA_8B, node(H100), engine={"extraArgs": {"enable_lora": False, "cpu_offload_gb": 0}})


def test_weights_that_are_converted_while_they_load_are_not_planned() -> None:
    assert unknown(node(H100), engine={"quantization": "fp8"}).reason == "WeightsConverted"
    assert unknown(node(H100), engine={"dtype": "float32"}).reason == "WeightsConverted"


def test_extra_arguments_that_the_planner_knows_count() -> None:
    settings = fit.settings_of(
        llm(engine={"maxModelLen": 1024, "extraArgs": {"enable_expert_parallel": True, "swap_space": 3}}), VERSION
    )
    assert (settings.max_model_len, settings.enable_expert_parallel) == (1024, True)
    assert settings.engine_version == VERSION
    drafts = {"speculative_config": {"method": "ngram", "num_speculative_tokens": 4}}
    settings = fit.settings_of(llm(engine={"extraArgs": drafts}), VERSION)
    assert (settings.speculation, settings.num_speculative_tokens) == ("ngram", 4)


# ------------------------------------------------------------------------------------------- decided is kept


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"replicas": 5}, True),
        ({"planning": {"mode": "Advise"}}, True),
        ({"service": {"type": "NodePort"}}, True),
        ({"engine": {"maxModelLen": 4096}}, False),
        ({"model": {"uri": "hf://org/other"}}, False),
        ({"resources": {"gpu": {"product": "NVIDIA-A10"}}}, False),
        ({"scheduling": {"nodeSelector": {"pool": "x"}}}, False),
    ],
)
def test_a_decision_is_kept_until_what_it_depends_on_changes(change: dict[str, Any], same: bool) -> None:
    plan = decided(LLAMA_8B, node(H100)).plan
    kept = fit.kept(llm(**change), VERSION, plan)
    assert (kept == Decision(plan)) is same
    assert fit.kept(llm(), "0.33.0", plan) is None
    assert fit.kept(llm(), VERSION, {}) is None
