"""`kubectl llm plan` with --choose, -f and --cluster: what the operator would choose and plan, in its own figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.builders.deployments import A10, H100, LLAMA_8B, LLAMA_70B, node
from tests.builders.worlds import planning_world, spec, stored
from tests.desired.samples import resource
from tests.inspect import files
from tests.inspect.hub import SOURCES, TOKEN, Running, hub
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Key
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.api.status import LLMDeploymentStatus
from triton_vllm_operator.capacity import shape_from_config
from triton_vllm_operator.cli.common import cluster
from triton_vllm_operator.cli.main import app
from triton_vllm_operator.plan.inspection_protocol import InspectedModel
from triton_vllm_operator.plan.model_status import model_status

__all__ = ["hub"]  # a fixture
Object = dict[str, Any]
ON_H100 = ("--gpu", H100[0])


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A directory with a config.json of 70 billion parameters."""
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA_70B))
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["plan", *map(str, arguments)], catch_exceptions=False)


def planned(*arguments: object) -> Object:
    result = run(*arguments, "-o", "json")
    assert result.exit_code in {0, 3, 4}, result.output
    body: Object = json.loads(result.stdout)
    return body


def refused(*arguments: object, code: int = 2) -> str:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    return result.stderr


def written(folder: Path, obj: Object) -> Path:
    """A file with one LLMDeployment."""
    file = folder / "llm.yaml"
    file.write_text(json.dumps({"kind": "LLMDeployment", **obj}))
    return file


def values(body: Object) -> Object:
    return {name: value for name, value in body["chosen"].items() if name != "basis"}


async def test_a_file_is_planned_and_chosen_as_the_operator_does(tmp_path: Path) -> None:
    world = await planning_world(LLAMA_70B)
    more = spec(engine={"maxNumSeqs": 64})  # another spec than the one that runs, so that it is chosen for
    world.api.change((kinds.LLM_DEPLOYMENT, "team", "a"), "user", lambda obj: obj.update(spec=more))
    await world.manager.reconcile(world.manager.cluster, Key("team", "a"))
    obj = stored(world)
    applied = {key: value for key, value in obj.items() if key != "status"}
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_70B))
    body = planned("-f", written(tmp_path, applied), "--model-dir", tmp_path, *ON_H100, "--gpus", 8)
    assert body.pop("chosen") == obj["status"]["chosen"]
    assert body == obj["status"]["plan"]
    assert body["verdict"] == "Fits"


def test_without_a_word_the_engine_decides_and_with_choose_the_operator(large: Path) -> None:
    alone = planned("--model-dir", large, *ON_H100)
    assert (alone["verdict"], alone["gpusPerReplica"], "chosen" in alone) == ("DoesNotFit", 1, False)
    chosen = planned("--model-dir", large, *ON_H100, "--choose")
    assert (chosen["verdict"], chosen["gpusPerReplica"]) == ("Fits", 4)
    assert values(chosen)["tensorParallelSize"] == 4
    assert set(values(chosen)) == {"tensorParallelSize", "maxModelLen", "maxNumBatchedTokens", "maxNumSeqs"}
    LLMDeploymentStatus.model_validate({"plan": {k: v for k, v in chosen.items() if k != "chosen"}})


def test_gpus_bound_what_is_chosen(large: Path) -> None:
    few = planned("--model-dir", large, *ON_H100, "--choose", "--gpus", 2)
    assert values(few)["tensorParallelSize"] == 2
    assert values(few)["maxModelLen"] < LLAMA_70B["max_position_embeddings"]


def test_what_is_set_is_not_chosen(large: Path) -> None:
    body = planned("--model-dir", large, *ON_H100, "--choose", "--set", "engine.tensorParallelSize=8",
                   "--set", "engine.maxModelLen=4096")  # fmt: skip
    assert set(values(body)) == {"maxNumBatchedTokens", "maxNumSeqs"}
    assert (body["gpusPerReplica"], body["maxModelLen"]) == (8, 4096)


def test_a_choice_with_every_value_written_out_is_the_plan_of_the_engine_alone(large: Path) -> None:
    card = ("--gpu-memory-gib", "79.1", "--compute-capability", "9.0")
    body = planned("--model-dir", large, *card, "--choose", "--gpus", 4)
    options = [f"--set=engine.{name}={value}" for name, value in values(body).items()]
    alone = planned("--model-dir", large, *card, *options)
    same = ("gpu", "perGPU", "blocks", "kvCacheTokens", "maxModelLen", "concurrencyAtMaxModelLen", "gpusPerReplica")
    assert {key: body[key] for key in same} == {key: alone[key] for key in same}


def test_a_card_of_no_table_keeps_its_compute_capability_and_its_number(tmp_path: Path) -> None:
    quantized = {**LLAMA_8B, "quantization_config": {"quant_method": "mxfp4"}}
    (tmp_path / "config.json").write_text(json.dumps(quantized))
    card = ("--model-dir", tmp_path, "--gpu-memory-gib", 40, "--choose", "--set=engine.dtype=half")
    old = planned(*card, "--compute-capability", "7.5")
    assert (old["reason"], "has 7.5" in old["message"]) == ("QuantizationNotOnGpu", True)
    assert planned(*card, "--compute-capability", "8.0")["reason"] != "QuantizationNotOnGpu"


def test_a_file_may_select_its_nodes(tmp_path: Path, large: Path) -> None:
    selected = {"model": {"uri": "pvc://models/large"}, "scheduling": {"nodeSelector": {"pool": "large"}}}
    assert planned("-f", written(tmp_path, resource("a", selected)), "--model-dir", large, *ON_H100)["gpu"] == H100[0]


def test_the_table_shows_what_was_chosen(large: Path) -> None:
    text = " ".join(run("--model-dir", large, *ON_H100, "--choose").stdout.split())
    assert "chosen tensorParallelSize 4, maxModelLen 131072" in text


def test_a_file_that_says_everything_leaves_nothing_open(tmp_path: Path, large: Path) -> None:
    engine = {"tensorParallelSize": 4, "maxModelLen": 4096, "maxNumBatchedTokens": 8192, "maxNumSeqs": 256}
    file = written(tmp_path, resource("a", {"model": {"uri": "pvc://models/large"}, "engine": engine}))
    assert "nothing: the spec sets everything" in run("-f", file, "--model-dir", large, *ON_H100).stdout


def test_what_was_read_and_chosen_before_stands(tmp_path: Path) -> None:
    obj = resource("a", {"model": {"uri": "pvc://models/large"}})
    llm = LLMDeployment.parse(obj)
    model = model_status(llm, InspectedModel("", shape_from_config(LLAMA_70B))).to_json()
    first = planned("-f", written(tmp_path, obj | {"status": {"model": model}}), *ON_H100)
    assert first["gpusPerReplica"] == 4
    kept = {**first["chosen"], "tensorParallelSize": 8}
    again = planned("-f", written(tmp_path, obj | {"status": {"model": model, "chosen": kept}}), *ON_H100)
    assert (again["chosen"], again["gpusPerReplica"]) == (kept, 8)


def test_memory_that_the_file_states_needs_no_gpu(tmp_path: Path, large: Path) -> None:
    stated = {"model": {"uri": "pvc://models/large"}, "resources": {"gpu": {"memoryGiB": 140}}}
    assert planned("-f", written(tmp_path, resource("a", stated)), "--model-dir", large)["gpu"] == "140GiB GPU"


def test_the_serving_image_of_the_chart_names_the_engine(tmp_path: Path, large: Path) -> None:
    file = written(tmp_path, resource("a", {"model": {"uri": "pvc://models/large"}}))
    image = "--serving-image=registry.example/triton-vllm:vllm-0.32.0"
    assert planned("-f", file, "--model-dir", large, *ON_H100, image)["engineVersion"] == "0.32.0"


# ------------------------------------------------------------------------------------------------------ the cluster


def test_the_nodes_of_the_cluster_are_what_may_be_chosen(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def nodes(kubeconfig: str | None, context: str | None) -> list[Object]:
        asked.append((kubeconfig, context))
        return [node(H100, gpus=2, name="h"), node(A10, gpus=1, name="a")]

    monkeypatch.setattr(cluster, "nodes", nodes)
    body = planned("--model-dir", large, "--cluster", "--kubeconfig", "some", "--context", "other")
    assert asked == [("some", "other")]
    assert (body["gpu"], values(body)["tensorParallelSize"]) == (H100[0], 2)


def test_without_a_kubeconfig_it_says_so(large: Path, tmp_path: Path) -> None:
    assert "no cluster" in refused("--model-dir", large, "--cluster", "--kubeconfig", tmp_path / "nothing")


def test_a_cluster_without_gpus_has_the_operators_message(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "nodes", lambda *_: [])
    assert "The memory of the GPUs is not known: no node offers" in refused("--model-dir", large, "--cluster", code=5)


# ---------------------------------------------------------------------------------------------------------- the hub


def on_hub(running: Running, *arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own: the hub's address is read when its client is imported."""
    command = [sys.executable, "-m", "triton_vllm_operator", *map(str, arguments)]
    base = {"PATH": os.environ["PATH"], "HOME": str(running.folder), "PYTHONPATH": str(SOURCES)}
    environment = {**base, "HF_ENDPOINT": running.address, **env}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)


def test_a_model_of_the_hub_is_planned_like_its_folder(hub: Running) -> None:
    folder = files.llama(hub.folder / "org" / "tiny")
    result = on_hub(hub, "plan", "--model", "org/tiny", *ON_H100, "-o", "json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == planned("--model-dir", folder, *ON_H100)
    shape = on_hub(hub, "shape", "--model", "hf://org/tiny")
    assert json.loads(shape.stdout) == json.loads(CliRunner().invoke(app, ["shape", f"--model-dir={folder}"]).stdout)


def test_a_file_names_its_model_of_the_hub(hub: Running) -> None:
    folder = files.llama(hub.folder / "org" / "tiny")
    file = written(hub.folder, resource("a", {"model": {"uri": "hf://org/tiny"}}))
    result = on_hub(hub, "plan", "-f", file, *ON_H100, "-o", "json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == planned("-f", file, "--model-dir", folder, *ON_H100)


def test_the_users_own_token_opens_a_gated_model(hub: Running) -> None:
    files.llama(hub.folder / "gated" / "tiny")
    shut = on_hub(hub, "plan", "--model", "gated/tiny", *ON_H100)
    assert (shut.returncode, "ModelGated: " in shut.stderr) == (2, True)
    assert on_hub(hub, "plan", "--model", "gated/tiny", *ON_H100, HF_TOKEN=TOKEN).returncode == 0


def test_a_model_that_the_hub_does_not_have_is_reported_with_its_reason(hub: Running) -> None:
    result = on_hub(hub, "plan", "--model", "org/nothing@main", *ON_H100)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ModelNotFound: ")


# -------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--choose"], "--gpu PRODUCT and --gpu-memory-gib"),
        (["--choose", "--gpus=1", *ON_H100, "--set=engine.tensorParallelSize=2"], "needs 2 GPUs; --gpus gives 1"),
        (["--choose", *ON_H100, "--set=engine.extraArgs.enable_loar=true"], "ArgumentMisspelt"),
        (["--choose", *ON_H100, "--set=engine.nothing=1"], "unknown field --set engine.nothing"),
        (["--cluster", *ON_H100], "cannot be used with --cluster"),
        (["--cluster", "--gpus=2"], "cannot be used with --cluster"),
        ([*ON_H100, "--context=other"], "require --cluster"),
        ([*ON_H100, "--serving-image=vllm"], "--serving-image requires -f FILE"),
        (["-f", "FILE", *ON_H100, "--set=engine.maxModelLen=1"], "cannot be used with -f: set the fields in the file"),
        (["-f", "FILE", *ON_H100, "--release=26.06"], "cannot be used with -f: set the fields in the file"),
        (["-f", "FILE", "--gpus=2"], "--gpu PRODUCT and --gpu-memory-gib"),
        (["-f", "nowhere.yaml", *ON_H100], "cannot read nowhere.yaml"),
        (["-f", "TWO", *ON_H100], "contains 2 LLMDeployments"),
        (["-f", "WRONG", *ON_H100], "ArgumentUnknown: "),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_write(
    arguments: list[str], message: str, large: Path, tmp_path: Path
) -> None:
    one = json.dumps({"kind": "LLMDeployment", **resource("a", {"model": {"uri": "pvc://models/large"}})})
    wrong = {"model": {"uri": "pvc://models/large"}, "engine": {"extraArgs": {"xyzzy": 1}}}
    texts = {"FILE": one, "TWO": f"{one}\n---\n{one}"}
    texts["WRONG"] = json.dumps({"kind": "LLMDeployment", **resource("a", wrong)})
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    paths = [str(tmp_path / one) if one in texts else one for one in arguments]
    assert message in refused("--model-dir", large, *paths).replace("\n", " ")


def test_a_claim_is_not_read_from_here(tmp_path: Path) -> None:
    file = written(tmp_path, resource("a", {"model": {"uri": "pvc://models/large"}}))
    assert "pvc://models/large is only readable in the cluster" in refused("-f", file, *ON_H100)
