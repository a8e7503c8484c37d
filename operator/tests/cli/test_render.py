"""`kubectl llm render`: what would be applied, as the operator applies it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from tests.builders.deployments import H100, LLAMA_70B
from tests.desired.build import IMAGE, STOCK
from tests.desired.samples import SAMPLES, resource
from triton_vllm_operator.api import names
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.cli.common.deployments import NO_UID
from triton_vllm_operator.cli.main import app
from triton_vllm_operator.desired.children import children
from triton_vllm_operator.desired.inputs import Defaults
from triton_vllm_operator.plan.autoconfig import empty_autoconfig

MODEL: dict[str, Any] = {"model": {"uri": "hf://org/model"}}


def run(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["render", *map(str, arguments)], input=stdin, catch_exceptions=False)


def rendered(*arguments: object, stdin: str) -> list[dict[str, Any]]:
    result = run("-f", "-", *arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return list(yaml.safe_load_all(result.stdout))


def llm(spec: dict[str, Any], **meta: str) -> str:
    return json.dumps({"kind": "LLMDeployment", "metadata": {"name": "llama", **meta}, "spec": spec})


@pytest.mark.parametrize("image", [IMAGE, STOCK], ids=["own image", "stock image"])
@pytest.mark.parametrize("sample", ["shortest", "claim"])
def test_it_prints_the_children_that_the_operator_applies(sample: str, image: Any) -> None:
    obj = resource("llama", SAMPLES[sample])
    obj["metadata"]["uid"] = NO_UID
    parsed = LLMDeployment.parse(obj)
    wanted = children(parsed.with_chosen(empty_autoconfig(parsed)), image, Defaults())
    found = rendered(f"--serving-image={image.reference}", stdin=llm(SAMPLES[sample], namespace=parsed.namespace))
    assert found == wanted


def test_the_pod_that_reads_the_model_comes_first_unless_planning_is_off() -> None:
    image = "--operator-image=registry.example/operator:1"
    first, *_ = rendered(image, stdin=llm(SAMPLES["shortest"]))
    assert (first["kind"], first["metadata"]["labels"][names.INSPECTS_LABEL]) == ("Pod", "llama")
    unread = {**SAMPLES["shortest"], "planning": {"mode": "Off"}}
    assert "Pod" not in {one["kind"] for one in rendered(image, stdin=llm(unread))}


def test_with_the_model_and_the_gpus_everything_is_chosen(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_70B))
    options = (f"--model-dir={tmp_path}", f"--gpu={H100[0]}")
    found = rendered(*options, stdin=llm(SAMPLES["shortest"]))
    [text] = [one["data"]["model.json"] for one in found if one["kind"] == "ConfigMap"]
    assert json.loads(text)["tensor_parallel_size"] == 4
    one = run("-f", "-", *options, "--gpus=1", stdin=llm(SAMPLES["shortest"]))
    assert (one.exit_code, one.stdout) == (4, "")
    assert "DoesNotFit" in one.stderr


def test_what_is_not_planned_is_rendered_with_nothing_chosen(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_70B))
    text = llm({**SAMPLES["shortest"], "engine": {"extraArgs": {"cpu_offload_gb": 8}}})
    planned = rendered(f"--model-dir={tmp_path}", f"--gpu={H100[0]}", stdin=text)
    assert planned == rendered(stdin=text)


def test_several_documents_are_several_deployments_and_other_kinds_are_left_out() -> None:
    text = "\n---\n".join([llm(SAMPLES["shortest"]), '{"kind": "Namespace"}', llm(SAMPLES["shortest"])])
    assert [one["kind"] for one in rendered(stdin=text)].count("Deployment") == 2


def test_texts_of_several_lines_stay_readable() -> None:
    assert "model.json: |" in run("-f", "-", stdin=llm(SAMPLES["shortest"])).stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "contains no LLMDeployment"),
        ("{", "is not YAML"),
        ("kind: LLMDeployment", "metadata.name and spec are required"),
        (llm({"model": {"uri": "hf://org/model"}, "engine": {"nothing": 1}}), "InvalidSpec: "),
        (llm({"model": {"uri": "hf://org/model"}, "server": {"release": "25.01"}}), "Release"),
        (
            llm({"model": {"uri": "hf://org/model"}, "engine": {"extraArgs": {"disable_log_requests": True}}}),
            "Argument",
        ),
    ],
)
def test_what_the_operator_rejects_is_rejected_with_its_message(text: str, message: str) -> None:
    result = run("-f", "-", stdin=text)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    result = run("-f", tmp_path / "nothing.yaml")
    assert result.exit_code == 2
    assert "cannot read" in result.stderr
