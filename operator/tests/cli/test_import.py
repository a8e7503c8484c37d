"""`kubectl llm import`: real repositories become LLMDeployments, with a note on every field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.catalog import argument_table, releases
from triton_vllm_operator.cli.main import app

MINIMAL = 'backend: "vllm"\ninstance_group [\n  {\n    count: 1\n    kind: KIND_MODEL\n  }\n]\n'
# As the sample of NVIDIA's backend had it up to 25.08.
SAMPLE = {
    "model": "facebook/opt-125m",
    "disable_log_requests": True,
    "gpu_memory_utilization": 0.5,
    "enforce_eager": True,
}
# As blog posts write it: everything in config.pbtxt, with names that neither Triton nor vLLM has.
BLOG = """
name: "llama2-7b-chat"
platform: "vllm"
max_batch_size: 1024
input [
  { name: "input_text" data_type: TYPE_STRING dims: [ 1 ] },
  { name: "parameters" data_type: TYPE_STRING dims: [ 1 ] optional: true }
]
output [
  { name: "generated_text" data_type: TYPE_STRING dims: [ 1 ] },
  { name: "finished" data_type: TYPE_BOOL dims: [ 1 ] }
]
instance_group [ { count: 2 kind: KIND_GPU gpus: [ 0, 1 ] } ]
dynamic_batching { max_queue_delay_microseconds: 100 }
parameters: { key: "model" value: { string_value: "meta-llama/Llama-2-7b-chat-hf" } }
parameters: { key: "vllm_gpu_memory_utilization" value: { string_value: "0.85" } }
parameters: { key: "tensor_parallel_size" value: { string_value: "2" } }
parameters: { key: "max_model_len" value: { string_value: "4096" } }
parameters: { key: "max_tokens" value: { string_value: "512" } }
parameters: { key: "EXECUTOR_POOL" value: { string_value: "8" } }
"""


def model(root: Path, name: str = "vllm_model", config: str = MINIMAL, version: str = "1", **files: Any) -> Path:
    """`root`/NAME as Triton reads it; `files`: name without .json -> content."""
    folder = root / name
    (folder / version).mkdir(parents=True, exist_ok=True)
    (folder / "config.pbtxt").write_text(config)
    for file, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / version / f"{file}.json").write_text(text)
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["import", *map(str, arguments)], catch_exceptions=False)


def imported(*arguments: object, code: int = 0) -> tuple[dict[str, Any], dict[str, str]]:
    """The LLMDeployment, and what became of each field."""
    result = run(*arguments, "-o", "yaml")
    assert result.exit_code == code, result.output
    obj = yaml.safe_load(result.stdout)
    LLMDeploymentSpec.model_validate(obj["spec"])
    notes = {}
    for line in result.stderr.splitlines():
        if line.startswith(f"{obj['metadata']['name']}: "):
            where, outcome, text = _split(line.removeprefix(f"{obj['metadata']['name']}: "))
            notes[where] = f"{outcome}: {text}"
    return obj, notes


def _split(line: str) -> tuple[str, str, str]:
    outcome = next(word for word in ("kept", "changed", "dropped") if f": {word}: " in line)
    where, _, text = line.partition(f": {outcome}: ")
    return where, outcome, text


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return result.stderr


# -------------------------------------------------------------------------------------------- NVIDIA's backend


def test_the_sample_of_nvidias_backend(tmp_path: Path) -> None:
    model(tmp_path, model=SAMPLE)
    obj, notes = imported(tmp_path)
    assert obj == {
        "apiVersion": "serving.triton-vllm.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": "vllm-model"},
        "spec": {
            "model": {"uri": "hf://facebook/opt-125m", "name": "vllm_model"},
            "engine": {"gpuMemoryUtilization": 0.5, "enforceEager": True},
        },
    }
    assert notes["1/model.json: model"] == "kept: spec.model.uri: hf://facebook/opt-125m"
    assert notes["1/model.json: disable_log_requests"].startswith(
        "dropped: vLLM 0.9.2 was the last version that supported it."
    )
    assert notes["vllm_model: directory"].startswith("changed: metadata.name: vllm-model; clients keep the name")
    assert len(notes) == 5


def test_a_directory_of_one_model_is_a_repository_of_one(tmp_path: Path) -> None:
    folder = model(tmp_path, "llama", model=SAMPLE)
    obj, _ = imported(folder)
    assert obj["metadata"]["name"] == "llama"
    assert "name" not in obj["spec"]["model"]


def test_texts_that_early_samples_had_become_what_they_mean(tmp_path: Path) -> None:
    early = {"model": "a/b", "disable_log_requests": "false", "enforce_eager": "true", "max_model_len": "4096"}
    model(tmp_path, model=early)
    obj, notes = imported(tmp_path)
    assert obj["spec"]["engine"] == {"enforceEager": True, "maxModelLen": 4096}
    assert notes["1/model.json: enforce_eager"] == "changed: spec.engine.enforceEager: true"


def test_adapters_have_no_field_and_get_a_note(tmp_path: Path) -> None:
    lora = {"model": "unsloth/gemma-2b", "enable_lora": True, "max_lora_rank": 32, "max_loras": 2, "max_num_seqs": 8}
    model(tmp_path, model=lora, multi_lora={"doll": "/vllm_workspace/weights/loras/GemmaDoll", "sheep": "/x"})
    obj, notes = imported(tmp_path)
    assert obj["spec"]["engine"] == {"maxNumSeqs": 8}
    for field in ("enable_lora", "max_lora_rank", "max_loras"):
        assert notes[f"1/model.json: {field}"] == "dropped: spec has no field for adapters"
    assert notes["1/multi_lora.json"] == "dropped: spec has no field for adapters: doll, sheep"


OURS = "--image=registry.example/triton-vllm:vllm-0.32.0"


def test_files_of_the_operators_own_image_become_fields(tmp_path: Path) -> None:
    sampling = {
        "defaults": {"temperature": 0.5, "max_new_tokens": 100, "stop": "END", "n": 2, "top_p": 7},
        "profiles": {"exact": {"temperature": 0.0}, "Not A Name": {"temperature": 1.0}},
    }
    openai = {"enable_auto_tool_choice": True, "tool_call_parser": "hermes", "api_key": ["secret"]}
    limits = {"max_n": 4, "max_logprobs": None, "request_timeout_seconds": 30.0}
    model(tmp_path, model={"model": "a/b"}, sampling=sampling, openai=openai, limits=limits)
    obj, notes = imported(tmp_path, OURS)
    assert obj["spec"]["sampling"] == {
        "defaults": {"temperature": 0.5, "maxTokens": 100, "stop": ["END"]},
        "profiles": [{"name": "exact", "temperature": 0.0}],
    }
    server = obj["spec"]["server"]
    assert server["openAI"] == {
        "enabled": True,
        "extraArgs": {"enable_auto_tool_choice": True, "tool_call_parser": "hermes"},
    }
    assert (server["limits"], server["requestTimeoutSeconds"]) == ({"maxN": 4}, 30)
    assert notes["1/sampling.json: defaults.max_new_tokens"] == "changed: spec.sampling.defaults: maxTokens"
    dropped = {where for where, text in notes.items() if text.startswith("dropped")}
    assert dropped == {
        "1/sampling.json: defaults.n",
        "1/sampling.json: defaults.top_p",
        "1/sampling.json: profiles.Not A Name",
        "1/openai.json: api_key",
        "1/limits.json: max_logprobs",
    }
    assert "spec.server.openAI.apiKeySecretRef" in notes["1/openai.json: api_key"]


def test_startup_checks_become_fields_and_those_that_do_not_fit_are_dropped_by_name(tmp_path: Path) -> None:
    checks = {"sum": {"prompt": "2+2=", "pattern": "4"}, "bad": {"prompt": "?", "pattern": "("}, "odd": 1, "A": {}}
    model(tmp_path, model={"model": "a/b"}, startup_checks=checks)
    obj, notes = imported(tmp_path, OURS)
    assert obj["spec"]["server"]["startupChecks"] == [
        {"name": "sum", "prompt": "2+2=", "maxTokens": 16, "pattern": "4"}
    ]
    assert notes["1/startup_checks.json: sum"] == "kept: spec.server.startupChecks[sum]"
    assert "not a regular expression" in notes["1/startup_checks.json: bad"]
    for name in ("odd", "A"):
        assert notes[f"1/startup_checks.json: {name}"].startswith("dropped")


@pytest.mark.parametrize(
    ("seconds", "written"), [(0, None), (0.2, 1), (90, 90), (1e9, None), ("x", None), (None, None), ([], None)]
)
def test_a_time_limit_is_whole_seconds_of_a_day_at_most(tmp_path: Path, seconds: Any, written: int | None) -> None:
    model(tmp_path, model={"model": "a/b"}, limits={"request_timeout_seconds": seconds})
    obj, _ = imported(tmp_path, OURS)
    assert obj["spec"]["server"].get("requestTimeoutSeconds") == written


@pytest.mark.parametrize("odd", [[], 7, None, "x", {"defaults": []}, {"profiles": [1]}, {"profiles": {"a": 1}}])
def test_odd_files_do_no_harm(tmp_path: Path, odd: Any) -> None:
    model(tmp_path, model={"model": "a/b"}, sampling=odd if isinstance(odd, dict) else {"defaults": odd})
    assert imported(tmp_path, OURS)[0]["spec"].get("sampling", {}).get("defaults") is None


def test_fields_of_the_own_image_are_rejected_with_another_image(tmp_path: Path) -> None:
    model(tmp_path, model={"model": "a/b"}, openai={})
    result = run(tmp_path, "-o", "yaml")
    assert result.exit_code == 3
    assert "FieldOfOwnImage" in result.stderr


def test_other_arguments_are_extra_and_unsafe_or_unknown_ones_go(tmp_path: Path) -> None:
    given = {
        "model": "a/b", "tokenizer_mode": "slow", "trust_remote_code": True, "served_model_name": "x",
        "swap_space": 4, "max_modle_len": 1, "invalid_attribute": True, "temperature": 0.5, "port": 1, "dtype": None,
        "revision": "v1.2", "block_size": [],
    }  # fmt: skip
    model(tmp_path, model=given)
    obj, notes = imported(tmp_path)
    assert obj["spec"]["engine"] == {"extraArgs": {"tokenizer_mode": "slow"}}
    assert obj["spec"]["model"]["revision"] == "v1.2"
    dropped = {where.split(": ")[1] for where, text in notes.items() if text.startswith("dropped")}
    assert dropped == set(given) - {"model", "tokenizer_mode", "revision"}
    assert notes["1/model.json: max_modle_len"].endswith("did you mean max_model_len?")
    assert "spec.model.name" in notes["1/model.json: served_model_name"]


def test_a_renamed_argument_is_written_as_the_release_takes_it(tmp_path: Path) -> None:
    model(tmp_path, model={"model": "a/b", "guided_decoding_backend": "xgrammar", "disable_log_requests": False})
    obj, notes = imported(tmp_path)
    extra = obj["spec"]["engine"]["extraArgs"]
    assert extra == {"structured_outputs_config": {"backend": "xgrammar"}, "enable_log_requests": True}
    assert notes["1/model.json: disable_log_requests"].startswith("changed: spec.engine.extraArgs.enable_log_requests")
    old = next(
        row.release for row in releases.load().releases if row.arguments_version == "0.9.2" or row.vllm == "0.9.0"
    )
    assert (releases.load().find(old).arguments_version or "") in argument_table.versions()  # type: ignore[union-attr]
    result = run(tmp_path, f"--release={old}", "-o", "json")
    assert result.exit_code == 3, "the operator rejects releases with critical CVEs"
    assert json.loads(result.stdout)["spec"]["server"] == {"release": old}
    assert "the operator would reject it: vllm-model: Release" in result.stderr


@pytest.mark.parametrize("path", ["/models/llama", "./weights/llama", "../x/y", "s3://bucket/llama", "gpt2", "", 7])
def test_a_model_that_is_not_a_hub_repository_needs_a_uri(tmp_path: Path, path: object) -> None:
    model(tmp_path, "llama", model={"model": path, "revision": "main"})
    assert "pass --uri hf://ORG/REPO[@REVISION] or pvc://CLAIM[/PATH]" in refused(tmp_path)
    obj, notes = imported(tmp_path, "--uri=pvc://weights/llama")
    assert obj["spec"]["model"] == {"uri": "pvc://weights/llama"}
    assert notes["1/model.json: model"] == "changed: spec.model.uri: pvc://weights/llama"
    assert notes["1/model.json: revision"].startswith("dropped: ")


def test_a_uri_that_the_operator_would_reject_is_reported(tmp_path: Path) -> None:
    model(tmp_path, "llama", model={"model": "/x"})
    result = run(tmp_path, "--uri=ftp://host/x", "-o", "yaml")
    assert result.exit_code == 3
    assert "InvalidSpec" in result.stderr


# ------------------------------------------------------------------------------------------------ config.pbtxt


def test_a_configuration_of_a_blog_post_becomes_what_it_meant(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_text(BLOG)
    obj, notes = imported(tmp_path / "config.pbtxt")
    assert obj["metadata"]["name"] == "llama2-7b-chat"
    assert obj["spec"] == {
        "model": {"uri": "hf://meta-llama/Llama-2-7b-chat-hf"},
        "engine": {"gpuMemoryUtilization": 0.85, "tensorParallelSize": 2, "maxModelLen": 4096},
    }
    for where, words in {
        "config.pbtxt: platform": 'changed: backend: "vllm"',
        "config.pbtxt: max_batch_size": "dropped: Triton's vLLM backend rejects it",
        "config.pbtxt: input input_text": "(did you mean text_input?)",
        "config.pbtxt: input parameters": "(did you mean sampling_parameters?)",
        "config.pbtxt: output generated_text": "(did you mean text_output?)",
        "config.pbtxt: output finished": "(did you mean finish_reason?)",
        "config.pbtxt: dynamic_batching": "dropped: vLLM uses continuous batching",
        "config.pbtxt: instance_group": "changed: one engine per pod, with 2 GPUs",
        "config.pbtxt: parameters.max_tokens": "dropped: it is a parameter of each request",
        "config.pbtxt: parameters.EXECUTOR_POOL": "dropped: unknown to Triton's vLLM backend and to vLLM",
        "config.pbtxt: parameters.tensor_parallel_size": "changed: spec.engine.tensorParallelSize: 2",
    }.items():
        assert words in notes[where], (where, notes[where])


def test_every_field_of_a_full_configuration_has_a_note(tmp_path: Path) -> None:
    config = (
        MINIMAL
        + """
        name: "llm" version_policy { specific { versions: [ 2 ] } } max_batch_size: 0
        model_transaction_policy { decoupled: true }
        input [ { name: "text_input" data_type: TYPE_STRING dims: [ 1 ] } ]
        optimization { priority: PRIORITY_MAX } response_cache { enable: true }
        model_warmup [ { name: "w" batch_size: 1 } ] metric_tags { key: "a" value: "b" }
        parameters { key: "REPORT_CUSTOM_METRICS" value { string_value: "true" } }
        parameters { key: "ENABLE_VLLM_HEALTH_CHECK" value { string_value: "true" } }
        parameters { key: "gpu_memory_utilization" value { string_value: "0.5" } }
    """
    )
    for version in ("1", "2", "3"):
        model(tmp_path, "llm", config, version, model={"model": f"org/v{version}"})
    (tmp_path / "llm" / "01").mkdir()
    obj, notes = imported(tmp_path)
    assert obj["spec"] == {"model": {"uri": "hf://org/v2"}}
    fields = {where.split(": ")[1] for where in notes if where.startswith("config.pbtxt: ")}
    assert fields == {
        "version_policy", "model_transaction_policy", "input text_input", "optimization", "response_cache",
        "model_warmup", "metric_tags", "parameters.REPORT_CUSTOM_METRICS", "parameters.ENABLE_VLLM_HEALTH_CHECK",
        "parameters.gpu_memory_utilization",
    }  # fmt: skip
    assert notes["config.pbtxt: parameters.gpu_memory_utilization"] == "dropped: the backend reads only model.json"
    assert notes["1/: version"] == notes["3/: version"] == "dropped: Triton serves version 2"


@pytest.mark.parametrize(
    ("groups", "replicas"),
    [
        ("instance_group [ { count: 3 kind: KIND_MODEL } ]", 3),
        ("instance_group [ { count: 1 kind: KIND_GPU gpus: [ 0, 1, 2, 3 ] } ]", 4),
        ("instance_group [ { count: 1 kind: KIND_GPU gpus: [ 0 ] }, { count: 1 kind: KIND_GPU gpus: [ 1 ] } ]", 2),
        ("instance_group [ { count: 1 kind: KIND_GPU gpus: [ 3 ] } ]", 1),
        ("", 1),
    ],
)
def test_engines_of_one_server_become_pods(tmp_path: Path, groups: str, replicas: int) -> None:
    model(tmp_path, "llm", f'backend: "vllm" {groups}', model={"model": "a/b"})
    obj, notes = imported(tmp_path)
    assert obj["spec"].get("replicas", 1) == replicas
    assert notes["config.pbtxt: instance_group"].startswith("changed: ")


def test_a_name_that_kubernetes_does_not_take_stays_the_served_name(tmp_path: Path) -> None:
    model(tmp_path, "7B_Llama-2.chat", model={"model": "a/b"})
    obj, _ = imported(tmp_path)
    assert (obj["metadata"]["name"], obj["spec"]["model"]["name"]) == ("b-llama-2-chat", "7B_Llama-2.chat")
    obj, _ = imported(tmp_path, "--name=chat")
    assert (obj["metadata"]["name"], obj["spec"]["model"]["name"]) == ("chat", "7B_Llama-2.chat")


# ------------------------------------------------------------------------------------------ several, and output


def several(root: Path) -> None:
    model(root, "a", model={"model": "org/a"})
    model(root, "b", model={"model": "org/b"})
    model(root, "tokenize", 'backend: "python"')


def test_each_vllm_model_of_a_repository_gets_its_own_and_others_are_named(tmp_path: Path) -> None:
    several(tmp_path)
    result = run(tmp_path, "-o", "yaml")
    assert [one["spec"]["model"]["uri"] for one in yaml.safe_load_all(result.stdout)] == ["hf://org/a", "hf://org/b"]
    assert "tokenize: directory: dropped: a model of python" in result.stderr
    many = json.loads(run(tmp_path, "-o", "json").stdout)
    assert (many["kind"], len(many["items"])) == ("List", 2)
    assert json.loads(run(tmp_path, "--model=b", "-o", "json").stdout)["metadata"]["name"] == "b"
    assert "select it with --model" in refused(tmp_path, "--name=x")
    assert "has no model tokenize" in refused(tmp_path, "--model=tokenize")


def test_people_see_what_became_of_each_field_and_then_the_resource(tmp_path: Path) -> None:
    model(tmp_path, model=SAMPLE)
    result = run(tmp_path)
    assert result.exit_code == 0
    assert result.stdout.index("disable_log_requests") < result.stdout.index("kind: LLMDeployment")
    assert yaml.safe_load(result.stdout[result.stdout.index("apiVersion:") :])["kind"] == "LLMDeployment"
    assert result.stderr == ""


# ----------------------------------------------------------------------------------------------------- bad input


def test_a_path_that_is_not_a_repository_is_rejected_with_a_reason(tmp_path: Path) -> None:
    assert "cannot read" in refused(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert "is not a model repository" in refused(tmp_path / "empty")
    assert "has no model of the vLLM backend" in refused(model(tmp_path / "p", config='backend: "python"'))


@pytest.mark.parametrize(
    ("config", "engine", "words"),
    [
        ("backend: vllm", {}, "is not a Triton model configuration: 1:10"),
        ('backend: "vllm" no_such_field: 1', {}, "no_such_field"),
        ("input { " * 500, {}, "is not a Triton model configuration"),
        (MINIMAL, "{", "is not JSON"),
        (MINIMAL, "[" * 100_000, "is not JSON"),
        (MINIMAL, "[]", "is not a JSON object"),
        (MINIMAL, " " * (2**20 + 1), "is too large: the maximum is 1048576 bytes"),
        (MINIMAL, {}, "does not name a model"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, config: str, engine: Any, words: str) -> None:
    model(tmp_path, config=config, model=engine)
    assert words in refused(tmp_path)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_bytes(b"\xff\xfe")
    assert "is not UTF-8 text" in refused(tmp_path)


def test_deep_and_odd_values_do_no_harm(tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(200):
        deep = {"a": deep}
    model(tmp_path, model={"model": "a/b", "hf_overrides": deep, "max_num_seqs": 10**30, "seed": -1, "\u202e": 1})
    result = run(tmp_path, "-o", "yaml")
    assert result.exit_code == 3
    assert "the operator would reject it" in result.stderr
