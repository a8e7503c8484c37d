"""The decision whether a model fits: which GPUs count, what is unknown, and what is never decided twice."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.builders.deployments import A10, H100, H200, LLAMA_8B, LLAMA_70B, T4, VERSION, decided, llm, node
from tests.builders.dra import device, slice_
from tests.inspect.files import shape as tiny
from triton_vllm_operator.api.status import PlanStatus
from triton_vllm_operator.capacity import ModelShape, shape_from_config
from triton_vllm_operator.capacity.gpus.dra import read_slice, with_devices
from triton_vllm_operator.catalog import releases
from triton_vllm_operator.cli.main import app
from triton_vllm_operator.plan import verdict
from triton_vllm_operator.plan.autoconfig import empty_autoconfig, recorded
from triton_vllm_operator.plan.not_planned import NotPlanned
from triton_vllm_operator.plan.verdict import Decision

OWN = "vllm-0.32.0"
"""Its CUDA needs a driver of 580.65 or newer."""


def on_image(*nodes: dict[str, Any], release: str = OWN) -> Decision:
    """The plan of a model that fits, for an image of the release table."""
    row = releases.load().find(release)
    found = verdict.decide(llm(), shape_from_config(LLAMA_8B), VERSION, nodes, row=row)
    assert isinstance(found, Decision), found
    return found


def unknown(*nodes: dict[str, Any], shape: ModelShape | None = None, **spec: Any) -> NotPlanned:
    found = verdict.decide(llm(**spec), shape or tiny(), VERSION, nodes)
    assert isinstance(found, NotPlanned), found
    return found


# -------------------------------------------------------------------------------------------------- verdicts


def test_a_small_model_fits_and_the_condition_says_how_much_is_left() -> None:
    found = decided(LLAMA_8B, node(H100))
    told = verdict.condition(found)
    assert (told.type, told.status, told.reason) == ("Fits", "True", "Fits")
    assert told.message.startswith("On NVIDIA-H100-80GB-HBM3: ")
    assert "tokens" in told.message
    assert not found.forbids


def test_a_large_model_does_not_fit_and_the_smallest_change_is_named_and_planned() -> None:
    found = decided(LLAMA_70B, node(H100), engine={"maxModelLen": 8192, "tensorParallelSize": 1})
    told = verdict.condition(found)
    assert (told.status, told.reason) == ("False", "DoesNotFit")
    assert found.forbids
    assert "The smallest change that fits: set engine.tensorParallelSize: " in told.message
    change = found.plan.suggestions[0].changes
    size = change["engine.tensorParallelSize"]
    assert not decided(LLAMA_70B, node(H100), engine={"maxModelLen": 8192, "tensorParallelSize": size}).forbids


def test_a_driver_that_cannot_run_the_image_makes_no_pods() -> None:
    found = on_image(node(H100, driver="550.54.15"))
    told = verdict.condition(found)
    assert (told.status, told.reason) == ("False", "DriverTooOld")
    assert found.forbids
    assert "Driver 550.54.15 on nodes with NVIDIA-H100-80GB-HBM3 cannot run CUDA 13.0" in told.message
    assert "Upgrade the driver to 580.65" in told.message
    assert "change that fits" not in told.message
    assert PlanStatus.recorded(found.plan.to_json()) == found.plan


def test_the_oldest_driver_of_a_class_counts_and_one_that_is_new_enough_is_not_mentioned() -> None:
    new, old = node(H100, driver="580.95.05"), node(H100, name="m", driver="570.1")
    assert verdict.condition(on_image(new)).message == verdict.condition(on_image(node(H100))).message
    assert verdict.condition(on_image(new, old)).reason == "DriverTooOld"


def test_pods_that_may_land_on_an_old_driver_are_told_of_it_and_how_not_to() -> None:
    found = on_image(node(H100, driver="580.95.05"), node(A10, name="m", driver="550.54.15"))
    told = verdict.condition(found)
    assert (told.status, told.reason) == ("Unknown", "Tight")
    assert "A pod may land on NVIDIA-A10, where the model does not fit: Driver 550.54.15" in told.message
    assert "resources.gpu.product: NVIDIA-H100-80GB-HBM3" in told.message


def test_a_driver_that_runs_only_by_compatibility_is_a_warning_on_cards_for_data_centers() -> None:
    row = next(row for row in releases.load().releases if row.forward_compat and row.cuda and row.cuda >= "13")
    told = verdict.condition(on_image(node(H100, driver="550.54.15"), release=row.release))
    assert (told.status, told.reason) == ("True", "Fits")
    assert "only through the CUDA compatibility package" in told.message
    desk = ("NVIDIA-GeForce-RTX-4090", 24564, "8", "9")
    assert verdict.condition(on_image(node(desk, driver="550.54.15"), release=row.release)).reason == "DriverTooOld"


def test_a_driver_that_does_not_know_the_gpu_is_told_before_the_image() -> None:
    told = verdict.condition(on_image(node(H200, driver="535.161.08")))
    assert (told.status, told.reason) == ("False", "DriverTooOldForGpu")
    assert "does not support NVIDIA-H200. Upgrade the driver to 550" in told.message


def test_nothing_is_chosen_for_gpus_on_which_the_driver_does_not_run_the_image() -> None:
    row, shape = releases.load().find(OWN), shape_from_config(LLAMA_70B)
    old, new = node(H200, driver="555.42.06"), node(H100, name="m", driver="580.95.05")
    found = verdict.decide(llm(), shape, VERSION, [old, new], row=row)
    alone = verdict.decide(llm(), shape, VERSION, [new], row=row)
    assert isinstance(found, Decision)
    assert isinstance(alone, Decision)
    assert found.chosen == alone.chosen
    assert found.chosen.tensor_parallel_size == 4


def test_gpus_on_which_the_driver_does_not_run_the_image_are_not_offered() -> None:
    wanted = llm(resources={"gpu": {"product": T4[0]}}, engine={"tensorParallelSize": 4, "dtype": "half"})
    row, shape = releases.load().find(OWN), shape_from_config(LLAMA_70B)

    def offered(driver: str) -> bool:
        nodes = [node(T4), node(H100, name="m", driver=driver)]
        found = verdict.decide(wanted, shape, VERSION, nodes, row=row)
        assert isinstance(found, Decision)
        return {"resources.gpu.product": H100[0]} in [one.changes for one in found.plan.suggestions]

    assert offered("580.95.05")
    assert not offered("550.54.15")


def test_gpus_that_have_the_kernels_are_named_to_who_chose_others() -> None:
    shape = shape_from_config({**LLAMA_8B, "quantization_config": {"quant_method": "mxfp4"}})
    wanted = llm(resources={"gpu": {"product": T4[0]}}, engine={"dtype": "half", "maxModelLen": 1024})
    found = verdict.decide(wanted, shape, VERSION, [node(T4), node(A10, name="m")])
    assert isinstance(found, Decision)
    told = verdict.condition(found)
    assert told.reason == "QuantizationNotOnGpu"
    assert "No single change" not in told.message
    alone = verdict.decide(wanted, shape, VERSION, [node(T4)])
    assert isinstance(alone, Decision)
    assert "change" not in verdict.condition(alone).message


def test_a_quantization_without_kernels_for_the_gpu_in_this_engine_makes_no_pods() -> None:
    card = ("Tesla-T4", 15360, "7", "5")
    quantized = {**LLAMA_8B, "quantization_config": {"quant_method": "fp8"}}
    shape = shape_from_config(quantized)
    told = {}
    for version in ("0.13.0", "0.27.1"):
        row = next(row for row in releases.load().releases if row.arguments_version == version)
        wanted = llm(engine={"dtype": "half", "maxModelLen": 1024})
        found = verdict.decide(wanted, shape, version, [node(card)], row=row)
        assert isinstance(found, Decision)
        told[version] = verdict.condition(found)
    assert (told["0.13.0"].status, told["0.13.0"].reason) == ("False", "QuantizationNotOnGpu")
    assert "Tesla-T4 has 7.5" in told["0.13.0"].message
    assert told["0.27.1"].reason != "QuantizationNotOnGpu"


def test_the_plan_is_what_the_schema_of_the_status_holds() -> None:
    for found in (decided(LLAMA_8B, node(H100)), decided(LLAMA_70B, node(A10, gpus=2))):
        plan = found.plan.to_json()
        assert json.loads(json.dumps(plan)) == plan
        kept = PlanStatus.recorded(plan)
        assert kept is not None
        assert kept.to_json() == plan, "the API server would change it, and each reconcile would write it again"


@pytest.mark.parametrize("tp", [1, 4, 7])
def test_status_plan_has_the_keys_that_the_command_line_prints(tp: int, tmp_path: Path) -> None:
    (tmp_path / "shape.json").write_text(json.dumps(shape_from_config(LLAMA_70B).to_json()))
    options = [f"--shape={tmp_path / 'shape.json'}", f"--gpu={H100[0]}", f"--set=engine.tensorParallelSize={tp}"]
    printed = CliRunner().invoke(app, ["plan", *options, f"--engine-version={VERSION}", "-o", "json"])
    told = decided(LLAMA_70B, node(H100), engine={"tensorParallelSize": tp}).plan.to_json()
    assert _keys(json.loads(printed.stdout)) == _keys(told)


def _keys(value: Any) -> Any:
    """The structure alone: keys of objects; of a list, nothing but that it is one."""
    return {key: _keys(part) for key, part in value.items()} if isinstance(value, dict) else isinstance(value, list)


def test_a_tight_plan_is_neither_true_nor_forbidding() -> None:
    changes = {"verdict": "Tight", "reason": "DecidedByOverhead", "message": "m.", "suggestions": []}
    tight = Decision(decided(LLAMA_8B, node(H100)).plan.model_copy(update=changes), empty_autoconfig(llm()))
    told = verdict.condition(tight)
    assert (told.status, told.reason) == ("Unknown", "Tight")
    assert not tight.forbids


# ----------------------------------------------------------------------------------------------- which GPUs


def test_a_pod_that_may_land_on_a_gpu_without_room_is_told_which_to_name() -> None:
    found = decided(LLAMA_8B, node(H100, name="a"), node(T4, name="b"))
    told = verdict.condition(found)
    assert told.reason == "Tight"
    assert not found.forbids
    assert "A pod may land on Tesla-T4, where the model does not fit" in told.message
    assert "set resources.gpu.product: NVIDIA-H100-80GB-HBM3" in told.message
    named = decided(LLAMA_8B, node(H100), node(T4), resources={"gpu": {"product": H100[0]}})
    assert named.plan.verdict == "Fits"


def test_nodes_that_the_selector_excludes_do_not_count() -> None:
    nodes = node(H100, name="a", pool="big"), node(T4, name="b", pool="small")
    assert decided(LLAMA_8B, *nodes, scheduling={"nodeSelector": {"pool": "big"}}).plan.verdict == "Fits"
    assert decided(LLAMA_70B, *nodes, scheduling={"nodeSelector": {"pool": "small"}}).forbids


def test_nodes_with_too_few_gpus_for_a_pod_do_not_count() -> None:
    nodes = node(H100, name="a"), node(T4, gpus=1, name="b")
    assert decided(LLAMA_8B, *nodes, engine={"tensorParallelSize": 2}).plan.verdict == "Fits"


def test_a_product_that_no_node_has_yet_is_planned_by_the_table() -> None:
    found = decided(LLAMA_8B, resources={"gpu": {"product": "NVIDIA-H100-80GB-HBM3"}})
    assert (found.plan.verdict, found.plan.gpu) == ("Fits", "NVIDIA-H100-80GB-HBM3")


def test_stated_memory_wins_over_labels_and_needs_no_node() -> None:
    gpu, one = {"gpu": {"memoryGiB": 12}}, {"tensorParallelSize": 1}
    assert decided(LLAMA_8B, node(H100), resources=gpu, engine=one).forbids
    assert decided(LLAMA_8B, resources=gpu, engine=one).forbids
    assert not decided(LLAMA_8B, resources={"gpu": {"memoryGiB": 80}}).forbids


def test_a_slice_of_a_card_is_planned_with_the_memory_of_the_slice() -> None:
    slices = node(H100)
    slices["metadata"]["labels"] |= {
        "nvidia.com/mig-1g.10gb.memory": "9856",
        "nvidia.com/mig-1g.10gb.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb",
    }
    slices["status"]["allocatable"] = {"nvidia.com/mig-1g.10gb": "7"}
    wanted = {"gpu": {"resourceName": "nvidia.com/mig-1g.10gb", "product": H100[0]}}
    found = decided(LLAMA_8B, slices, resources=wanted, engine={"tensorParallelSize": 1})
    assert found.forbids
    assert found.plan.per_gpu.total_bytes < 10 * 2**30


def by_dra(count: int) -> dict[str, Any]:
    """A node without labels and device plugin that publishes L40S in a ResourceSlice."""
    bare = {"metadata": {"name": "dra", "labels": {}}, "status": {"allocatable": {}}}
    slices = read_slice(slice_(*(device(str(number)) for number in range(count)), node="dra"))
    assert slices is not None
    [found] = with_devices([bare], [slices])
    return found


def test_gpus_that_a_node_publishes_by_dra_are_planned_without_labels() -> None:
    found = decided(LLAMA_8B, by_dra(4), engine={"tensorParallelSize": 1})
    assert (found.plan.verdict, found.plan.gpu) == ("Fits", "NVIDIA-L40S")
    assert decided(LLAMA_70B, by_dra(4)).chosen.tensor_parallel_size == 4
    assert decided(LLAMA_70B, by_dra(2), engine={"tensorParallelSize": 2, "maxModelLen": 4096}).forbids


def test_a_product_is_not_named_that_no_label_tells() -> None:
    told = unknown(by_dra(4), resources={"gpu": {"product": "NVIDIA-L40S-48Q"}})
    assert told.reason == "GPUMemoryUnknown", "the pods would ask for the label, which the node does not have"
    tight = decided(LLAMA_8B, by_dra(4), node(T4))
    assert tight.plan.reason == "DependsOnGPU"
    assert "resources.gpu.product" not in json.dumps(tight.plan.suggestions)


# -------------------------------------------------------------------------------------------------- unknown


def test_no_gpu_node_is_unknown_with_what_would_settle_it() -> None:
    told = unknown({"metadata": {"name": "n"}, "status": {}})
    assert told.reason == "GPUMemoryUnknown"
    assert "spec.resources.gpu.memoryGiB" in told.message
    assert verdict.condition(told).status == "Unknown"


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
    assert decided(LLAMA_8B, shared, resources={"gpu": {"memoryGiB": 40}}).plan.verdict == "Fits"


@pytest.mark.parametrize(
    "extra",
    [
        {"cpu_offload_gb": 40},
        {"hf_overrides": {"num_hidden_layers": 2}},
        {"enable_lora": True},
        {"performance_mode": "throughput"},
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


def test_what_a_draft_model_needs_is_never_said_to_fit() -> None:
    drafts = {"speculative_config": {"method": "eagle3", "model": "x", "num_speculative_tokens": 3}}
    assert decided(LLAMA_8B, node(H100), engine={"extraArgs": drafts}).plan.reason == "DraftModelUnknown"
    drafts = {"speculative_config": {"method": "suffix"}}
    assert unknown(node(H100), engine={"extraArgs": drafts}).reason == "EngineArgumentInvalid"


# ---------------------------------------------------------------------------------------------- suggestions

SMALL_CLUSTER = (node(A10, gpus=4, name="a"), node(T4, gpus=4, name="b"))
LARGE_CLUSTER = (*SMALL_CLUSTER, node(H100, name="c"), node(H200, gpus=2, name="d"))


@pytest.mark.parametrize("nodes", [SMALL_CLUSTER, LARGE_CLUSTER], ids=["small cards", "all cards"])
@pytest.mark.parametrize("config", [LLAMA_8B, LLAMA_70B], ids=["8B", "70B"])
@pytest.mark.parametrize(
    "spec",
    [
        {"engine": {"tensorParallelSize": 1}},
        {"engine": {"tensorParallelSize": 1, "maxModelLen": 131072}},
        {"engine": {"tensorParallelSize": 3}},
        {"engine": {"pipelineParallelSize": 2}},
        {"resources": {"gpu": {"product": T4[0]}}},
        {"engine": {"tensorParallelSize": 1}, "resources": {"gpu": {"product": A10[0]}}},
        {},
    ],
    ids=str,
)
def test_every_suggestion_fits_once_it_is_written_into_the_spec(
    nodes: tuple[dict[str, Any], ...], config: dict[str, Any], spec: dict[str, Any]
) -> None:
    config = config | {"max_position_embeddings": 131072}
    found = decided(config, *nodes, **spec)
    for suggestion in found.plan.suggestions:
        if "model.variant" not in suggestion.changes:
            again = decided(config, *nodes, **_changed(spec, suggestion.changes))
            assert again.plan.verdict == "Fits", suggestion
            assert again.plan.gpus_per_replica <= 8


def _changed(spec: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = copy.deepcopy(spec)
    for path, value in changes.items():
        at = found
        *parents, last = path.split(".")
        for parent in parents:
            at = at.setdefault(parent, {})
        at[last] = value
    return found


def test_a_gpu_that_the_cluster_has_is_named_to_who_asked_for_another() -> None:
    found = decided(LLAMA_70B, *LARGE_CLUSTER, resources={"gpu": {"product": T4[0]}}, engine={"tensorParallelSize": 4})
    assert found.forbids
    changes = [suggestion.changes for suggestion in found.plan.suggestions]
    assert {"resources.gpu.product": H100[0]} in changes
    assert not any("free" in suggestion.message for suggestion in found.plan.suggestions)


def test_a_pod_is_never_told_to_want_more_gpus_than_a_node_has() -> None:
    found = decided(
        LLAMA_70B, node(H100), engine={"pipelineParallelSize": 8, "maxModelLen": 131072, "maxNumSeqs": 4096}
    )
    for suggestion in found.plan.suggestions:
        assert suggestion.changes.get("engine.tensorParallelSize", 1) == 1


# ------------------------------------------------------------------------------------------ what is left open


def test_what_the_spec_leaves_open_is_chosen_and_what_it_says_is_not() -> None:
    found = decided(LLAMA_70B, node(H100))
    assert found.chosen.values == {
        "tensor_parallel_size": 4, "max_model_len": 131072, "max_num_batched_tokens": 8192, "max_num_seqs": 1024,
    }  # fmt: skip
    assert found.plan.gpus_per_replica == 4
    assert (found.plan.verdict, found.plan.max_model_len) == ("Fits", 131072)
    said = {"tensorParallelSize": 8, "maxModelLen": 4096, "maxNumSeqs": 16, "maxNumBatchedTokens": 512}
    assert decided(LLAMA_70B, node(H100), engine=said).chosen.values == {}
    some = decided(LLAMA_70B, node(H100), engine={"tensorParallelSize": 8, "maxNumSeqs": 16})
    assert some.chosen.values == {"max_model_len": 131072, "max_num_batched_tokens": 8192}


def test_the_context_is_shortened_where_no_node_has_the_gpus_for_all_of_it() -> None:
    found = decided(LLAMA_8B | {"max_position_embeddings": 131072}, node(A10, gpus=1))
    length = found.chosen.max_model_len
    assert length is not None
    assert 2048 <= length < 131072
    assert (found.plan.verdict, found.plan.max_model_len) == ("Fits", length)
    assert found.plan.concurrency_at_max_model_len >= 1


def test_a_length_that_the_user_wants_is_never_shortened() -> None:
    found = decided(LLAMA_8B | {"max_position_embeddings": 131072}, node(A10, gpus=1), engine={"maxModelLen": 131072})
    assert found.forbids
    assert found.plan.max_model_len == 131072


def test_both_parallel_sizes_together_stay_on_one_node() -> None:
    found = decided(LLAMA_70B, node(H100, gpus=4), engine={"pipelineParallelSize": 2})
    assert (found.chosen.tensor_parallel_size, found.plan.gpus_per_replica) == (2, 4)


def test_the_choice_is_made_for_the_gpus_that_serve_most_with_the_fewest() -> None:
    nodes = (node(T4, name="a"), node(H100, name="b"))
    assert decided(LLAMA_8B, *nodes).chosen == decided(LLAMA_8B, node(H100)).chosen


def test_without_headers_the_size_is_chosen_by_what_config_json_tells() -> None:
    awq = LLAMA_70B | {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}
    found = decided(awq | {"torch_dtype": "float16"}, node(A10))
    assert found.plan.reason == "WeightsEstimated"
    assert (found.chosen.tensor_parallel_size or 0) > 1


def test_prompts_that_are_computed_whole_get_a_batch_that_holds_them() -> None:
    found = decided(LLAMA_70B, node(H100), engine={"enableChunkedPrefill": False, "maxModelLen": 32768})
    assert found.chosen.max_num_batched_tokens == 32768


def test_the_batch_of_a_model_with_images_is_left_to_the_engine() -> None:
    shape = dataclasses.replace(shape_from_config(LLAMA_8B), multimodal=True)
    found = verdict.decide(llm(), shape, VERSION, [node(H100)])
    assert isinstance(found, Decision)
    assert set(found.chosen.values) == {"tensor_parallel_size", "max_model_len"}


# ------------------------------------------------------------------------------------------- decided is kept


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"replicas": 5}, True),
        ({"planning": {"mode": "Advise"}}, True),
        ({"service": {"type": "NodePort"}}, True),
        ({"server": {"release": "26.06"}}, True),
        ({"engine": {"gpuMemoryUtilization": 0.9, "pipelineParallelSize": 1}}, True),
        ({"engine": {"maxModelLen": 4096}}, False),
        ({"model": {"uri": "hf://org/other"}}, False),
        ({"resources": {"gpu": {"product": "NVIDIA-A10"}}}, False),
        ({"scheduling": {"nodeSelector": {"pool": "x"}}}, False),
    ],
)
def test_a_choice_is_kept_until_what_it_depends_on_changes(change: dict[str, Any], same: bool) -> None:
    chosen = decided(LLAMA_8B, node(H100)).chosen
    assert (recorded(llm(**change), json.dumps(chosen.to_json())) == chosen) is same
    assert (recorded(llm(**change), chosen.to_json()) == chosen) is same


def test_a_choice_stands_when_the_cluster_changes_and_the_plan_says_what_it_comes_to() -> None:
    chosen = decided(LLAMA_70B, node(H100)).chosen
    for nodes in ([node(A10)], [node(H200)], [node(H100, gpus=1)]):
        again = verdict.decide(llm(), shape_from_config(LLAMA_70B), VERSION, nodes, chosen)
        assert isinstance(again, Decision)
        assert again.chosen == chosen
        assert again.plan.gpus_per_replica == 4


def test_a_plan_is_kept_for_the_same_choice_and_engine() -> None:
    found = decided(LLAMA_8B, node(H100))
    status = {"plan": found.plan.to_json(), "chosen": found.chosen.to_json()}
    assert verdict.kept_decision(status, VERSION, found.chosen) == found
    assert verdict.kept_decision(status, "0.33.0", found.chosen) is None
    assert verdict.kept_decision(status, VERSION, empty_autoconfig(llm())) is None
    assert verdict.kept_decision({}, VERSION, found.chosen) is None


@pytest.mark.parametrize("plan", [{}, {"verdict": "Fits", "engineVersion": VERSION}, {"fieldOfTheFuture": 1}, None])
def test_a_plan_of_another_version_of_the_operator_is_made_again(plan: Any) -> None:
    found = decided(LLAMA_8B, node(H100))
    before = {**found.plan.to_json(), **plan} if plan and "fieldOfTheFuture" in plan else plan
    status = {"plan": before, "chosen": found.chosen.to_json()}
    assert verdict.kept_decision(status, VERSION, found.chosen) is None


@pytest.mark.parametrize("text", [None, "", "{", "[]", "null", "{}", '{"basis": 3}', '{"tensorParallelSize": 2}', {}])
def test_a_record_that_cannot_be_read_is_none(text: Any) -> None:
    assert recorded(llm(), text) is None


def test_a_record_of_a_newer_operator_counts_as_far_as_it_is_known() -> None:
    chosen = decided(LLAMA_8B, node(H100)).chosen
    assert recorded(llm(), json.dumps({**chosen.to_json(), "somethingNew": 1})) == chosen


def test_an_environment_variable_that_moves_memory_is_named() -> None:
    env = [{"name": "VLLM_LOGGING_LEVEL", "value": "DEBUG"}, {"name": "VLLM_ALLOW_LONG_MAX_MODEL_LEN", "value": "1"}]
    found = unknown(node(H100), podTemplate={"env": env})
    assert found.reason == "ArgumentNotPlanned"
    assert "The effect of spec.podTemplate.env VLLM_ALLOW_LONG_MAX_MODEL_LEN on" in found.message


def test_a_key_of_an_object_argument_is_named() -> None:
    found = unknown(node(H100), engine={"extraArgs": {"speculative_config": {"method": "mtp", "quantization": "fp8"}}})
    assert "spec.engine.extraArgs.speculative_config.quantization" in found.message


# ------------------------------------------------------------------------------------------------- the container


def on_host(resources: dict[str, Any] | None = None, **engine: Any) -> Decision:
    spec = {"engine": engine, "server": {"release": OWN}, **({"resources": resources} if resources else {})}
    found = verdict.decide(llm(**spec), shape_from_config(LLAMA_8B), VERSION, [node(H100)])
    assert isinstance(found, Decision), found
    return found


def test_a_plan_has_the_account_of_its_container() -> None:
    host = on_host().plan.host
    assert host is not None
    assert (host.verdict, host.limit_bytes) == ("Fits", 18 * 2**30)
    assert host.memory_bytes.low < host.memory_bytes.expected < host.memory_bytes.high


def test_a_container_that_is_certainly_too_small_does_not_fit() -> None:
    offload = {"extraArgs": {"kv_offloading_size": 64}}
    found = on_host(**offload)
    told = verdict.condition(found)
    reasons = {"SharedMemoryTooSmall", "HostMemoryTooSmall"}
    assert (told.status, found.forbids) == ("False", True)
    assert told.reason in reasons
    assert told.message.startswith("The model fits the GPUs, but not the container: ")
    assert "set spec.resources." in told.message
    assert "No single change" not in told.message
    assert found.plan.suggestions == []
    large = {"memory": "140Gi", "sharedMemory": "70Gi"}
    assert verdict.condition(on_host(large, **offload)).status == "True"


def test_an_offload_of_layers_that_are_not_full_attention_is_not_planned() -> None:
    hybrid = dataclasses.replace(
        shape_from_config(LLAMA_8B),
        layers=tuple(
            dataclasses.replace(one, caches=(dataclasses.replace(one.caches[0], kind="sliding", window=128),))
            for one in shape_from_config(LLAMA_8B).layers
        ),
    )
    found = unknown(node(H100), shape=hybrid, engine={"extraArgs": {"kv_offloading_size": 64}})
    assert "spec.engine.extraArgs.kv_offloading_size" in found.message


def test_a_model_that_does_not_fit_the_gpus_keeps_its_reason() -> None:
    found = decided(LLAMA_70B, node(H100), engine={"maxModelLen": 8192, "tensorParallelSize": 1},
                    resources={"memory": "1Mi", "sharedMemory": "1Mi"})  # fmt: skip
    assert verdict.condition(found).reason == "DoesNotFit"
