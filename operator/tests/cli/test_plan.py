"""`kubectl llm plan`: what is read, what is printed, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from tests.capacity import samples
from triton_vllm_operator.api.spec.resources import ResourcesSpec
from triton_vllm_operator.capacity import (
    EngineSettings,
    gpu_by_product,
    shape_from_config,
    with_suggestions,
)
from triton_vllm_operator.cli.main import app
from triton_vllm_operator.plan.verdict import with_host

H100 = "NVIDIA-H100-80GB-HBM3"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A directory with Llama-3.1-8B's config.json."""
    (tmp_path / "config.json").write_text(json.dumps(samples.LLAMA_31_8B))
    return tmp_path


def run(*arguments: object) -> Result:
    """The command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def planned(*arguments: object) -> dict[str, Any]:
    """The JSON that the command prints, whatever its verdict."""
    result = run("plan", *arguments, "-o", "json")
    assert result.exit_code in {0, 3, 4}, result.output
    body: dict[str, Any] = json.loads(result.stdout)
    return body


def test_json_is_exactly_what_the_status_holds(model: Path) -> None:
    body = planned("--model-dir", model, "--gpu", H100, "--engine-version", "0.25.1")
    settings = EngineSettings(engine_version="0.25.1", gpu_memory_utilization=0.9)
    shape = shape_from_config(samples.LLAMA_31_8B)
    answer = with_suggestions(shape, settings, gpu_by_product(H100)).to_status()
    assert body == json.loads(json.dumps(with_host(answer, shape, settings, ResourcesSpec()).to_json()))


def test_yaml_says_the_same_as_json(model: Path) -> None:
    arguments = ("--model-dir", model, "--gpu", "NVIDIA-L4", "--engine-version", "0.32.0")
    assert yaml.safe_load(run("plan", *arguments, "-o", "yaml").stdout) == planned(*arguments)


def test_the_table_shows_the_verdict_the_memory_and_what_would_fit(model: Path) -> None:
    result = run("plan", "--model-dir", model, "--gpu", "NVIDIA-L4", "--engine-version", "0.32.0")
    for text in ("DoesNotFit", "weights 14.99", "KV cache", "outside the engine's share", "tensorParallelSize: 2"):
        assert text in result.stdout


@pytest.mark.parametrize(
    ("arguments", "verdict", "code"),
    [
        (["--gpu", H100], "Fits", 0),
        (["--gpu", "NVIDIA-L4"], "DoesNotFit", 4),
        (["--gpu-memory-gib", "24", "--set", "engine.gpuMemoryUtilization=0.985"], "Tight", 3),
    ],
)
def test_exit_codes_follow_the_verdict(model: Path, arguments: list[str], verdict: str, code: int) -> None:
    short = ("--set", "engine.maxModelLen=4096") if verdict == "Tight" else ()
    result = run("plan", "--model-dir", model, *arguments, *short, "-o", "json")
    assert (json.loads(result.stdout)["verdict"], result.exit_code) == (verdict, code)


def test_a_shape_file_needs_no_model(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "shape.json"
    file.write_text(run("shape", "--model-dir", model).stdout)
    arguments = ("--gpu", H100, "--engine-version", "0.32.0")
    assert planned("--shape", file, *arguments) == planned("--model-dir", model, *arguments)


def test_headers_of_every_shard_are_read(model: Path) -> None:
    (model / "config.json").write_text(json.dumps({**samples.LLAMA_31_8B, "num_hidden_layers": 1}))
    table, layer = samples.entry("BF16", 128256, 4096), samples.entry("BF16", 4096, 4096)
    (model / "a.safetensors").write_bytes(samples.header({"model.embed_tokens.weight": table}))
    (model / "b.safetensors").write_bytes(samples.header({"model.layers.0.mlp.up_proj.weight": layer}))
    body = planned("--model-dir", model, "--gpu", H100)
    assert 2**30 < body["perGPU"]["weightsBytes"] < 1.2 * 2**30


def test_a_second_copy_in_another_format_is_not_counted(model: Path) -> None:
    (model / "config.json").write_text(json.dumps({**samples.LLAMA_31_8B, "num_hidden_layers": 1}))
    layer = samples.entry("BF16", 4096, 4096)
    (model / "model.safetensors").write_bytes(samples.header({"model.layers.0.mlp.up_proj.weight": layer}))
    before = planned("--model-dir", model, "--gpu", H100)
    (model / "consolidated.safetensors").write_bytes(samples.header({"layers.0.feed_forward.w1.weight": layer}))
    assert planned("--model-dir", model, "--gpu", H100) == before


def test_a_download_that_is_not_complete_is_refused(model: Path) -> None:
    layer = samples.entry("BF16", 4096, 4096)
    (model / "model.safetensors").write_bytes(samples.header({"model.layers.0.mlp.up_proj.weight": layer}))
    result = run("plan", "--model-dir", model, "--gpu", H100)
    assert result.exit_code == 2
    assert "CheckpointIncomplete" in result.stderr


def test_gpus_become_the_tensor_parallel_size(model: Path) -> None:
    body = planned("--model-dir", model, "--gpu", "NVIDIA-L4", "--gpus", 4)
    assert body["gpusPerReplica"] == 4
    staged = planned("--model-dir", model, "--gpu", "NVIDIA-L4", "--gpus", 4, "--set", "engine.pipelineParallelSize=2")
    assert staged["gpusPerReplica"] == 4
    fewer = planned("--model-dir", model, "--gpu", "NVIDIA-L4", "--gpus", 4, "--set", "engine.tensorParallelSize=2")
    assert fewer["gpusPerReplica"] == 2


def test_suggestions_stay_within_the_gpus_there_are(model: Path) -> None:
    body = planned("--model-dir", model, "--gpu", "NVIDIA-L4", "--gpus", 1)
    changed = [name for suggestion in body["suggestions"] for name in suggestion["changes"]]
    assert changed
    assert "engine.tensorParallelSize" not in changed


def test_set_takes_the_fields_of_the_spec_and_the_engines_own_arguments(model: Path) -> None:
    body = planned("--model-dir", model, "--gpu", H100, "--set", "engine.maxModelLen=4096",
                   "--set", "engine.extraArgs.kv_cache_memory_bytes=8589934592")  # fmt: skip
    assert body["maxModelLen"] == 4096
    assert body["perGPU"]["kvCacheBytes"]["high"] == 8589934592


def test_the_release_names_the_engine(model: Path) -> None:
    assert planned("--model-dir", model, "--gpu", H100, "--release", "vllm-0.32.0")["engineVersion"] == "0.32.0"


def test_a_quantization_without_kernels_for_the_gpu_is_refused(model: Path) -> None:
    quantized = {**samples.LLAMA_31_8B, "quantization_config": {"quant_method": "fp8"}, "torch_dtype": "float16"}
    (model / "config.json").write_text(json.dumps(quantized))
    body = planned("--model-dir", model, "--gpu", "Tesla-V100-SXM2-32GB")
    assert (body["verdict"], body["reason"]) == ("DoesNotFit", "QuantizationNotOnGpu")


BAD: list[tuple[list[str], str]] = [
    ([], "--gpu PRODUCT and --gpu-memory-gib"),
    (["--gpu", H100], "--shape FILE, --model-dir DIR and --model ORG/REPO"),
    (["--shape", "x", "--model-dir", "y", "--gpu", H100], "--shape FILE, --model-dir DIR and --model ORG/REPO"),
    (["--model-dir", "MODEL"], "--gpu PRODUCT and --gpu-memory-gib"),
    (["--model-dir", "MODEL", "--gpu", H100, "--gpu-memory-gib", "80"], "--gpu PRODUCT and --gpu-memory-gib"),
    (["--model-dir", "MODEL", "--gpu", "Voodoo-2"], "Voodoo-2"),
    (["--model-dir", "MODEL", "--gpu-memory-gib", "0"], "GPUMemoryInvalid"),
    (["--model-dir", "MODEL", "--gpu-memory-gib", "much"], "--gpu-memory-gib"),
    (["--model-dir", "MODEL", "--gpu", H100, "--compute-capability", "nine"], "MAJOR.MINOR"),
    (["--model-dir", "MODEL", "--gpu", H100, "--gpus", "0"], "--gpus 0"),
    (["--model-dir", "MODEL", "--gpu", H100, "--gpus", "1", "--set", "engine.tensorParallelSize=2"], "needs 2 GPUs"),
    (["--model-dir", "MODEL", "--gpu", H100, "--gpus", "3", "--set", "engine.pipelineParallelSize=2"], "multiple"),
    (["--model-dir", "MODEL", "--gpu", H100, "--release", "26.06", "--engine-version", "0.32.0"], "not both"),
    (["--model-dir", "MODEL", "--gpu", H100, "--release", "19.01"], "19.01"),
    (["--model-dir", "MODEL", "--gpu", H100, "--engine-version", "newest"], "EngineVersionUnknown"),
    (["--model-dir", "MODEL", "--gpu", H100, "--engine-version", "0.25.xyz"], "'0.25.xyz' is not a vLLM version"),
    (["--model-dir", "MODEL", "--gpu", H100, "--engine-version", "0.25.1garbage", "--choose"], "from 0.9.0 to"),
    (["--model-dir", "MODEL", "--gpu", H100, "--engine-version", "26.08"], "'26.08' is a Triton release"),
    (["--model-dir", "MODEL", "--gpu", H100, "--engine-version", "0.6.0"], "EngineVersionUnsupported"),
    (["--model-dir", "MODEL", "--gpu", H100, "--set", "maxModelLen=1"], "engine.FIELD=VALUE"),
    (["--model-dir", "MODEL", "--gpu", H100, "--set", "engine.maxModelLen"], "engine.FIELD=VALUE"),
    (["--model-dir", "MODEL", "--gpu", H100, "--set", "engine.maxModelLen=long"], "engine.maxModelLen"),
    (["--model-dir", "MODEL", "--gpu", H100, "--set", "engine.maxModelLen=-5"], "engine.maxModelLen"),
    (["--model-dir", "MODEL", "--gpu", H100, "--set", "engine.tensorParallelSize=0"], "engine.tensorParallelSize"),
    (["--model-dir", "MODEL", "--gpu", H100, "--set", "engine.maxLength=5"], "unknown field --set engine.maxLength"),
    (["--model-dir", "MODEL", "--gpu", H100, "--set", "engine.maxModelLen={a"], "not YAML"),
    (["--model-dir", "MODEL", "--gpu", H100, "--set", "engine.extraArgs.kv_cache_memory_bytes=lots"], "an integer"),
    (["--model-dir", "MODEL", "--gpu", H100, "--set", "resources.memory=lots"], "invalid --set resources.memory"),
    (["--model-dir", "MODEL", "--gpu", H100, "--set", "resources.gpu={}"], "give --gpu or --gpu-memory-gib"),
    (["--model-dir", "MODEL", "--gpu", H100, "--choose", "--set", "resources.ram=1Gi"], "invalid --set resources.ram"),
    (["--model-dir", "MODEL", "--gpu", H100, "--set", "engine.extraArgs.gpu_mem_utilization=0.5"],
     "Did you mean spec.engine.gpuMemoryUtilization: 0.5?"),
    (["--model-dir", "MODEL", "--gpu", H100, "--set", "engine.extraArgs.swap_space=4"], "ArgumentRemoved"),
    (["--model-dir", "MODEL", "--gpu", H100, "--choose", "--set", "engine.extraArgs.enable_lora=1"], "ArgumentType"),
    (["--model-dir", "nowhere", "--gpu", H100], "not a directory"),
    (["--shape", "nowhere.json", "--gpu", H100], "is not a file"),
    (["--shape", "MODEL/config.json", "--gpu", H100], "ShapeFormatUnknown"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"), BAD, ids=[" ".join(arguments)[:60] or "none" for arguments, _ in BAD]
)
def test_bad_input_is_one_line_that_says_what_to_write(model: Path, arguments: list[str], message: str) -> None:
    result = run("plan", *[argument.replace("MODEL", str(model)) for argument in arguments])
    assert result.exit_code == 2
    assert message in result.stderr.replace("\n", " ")
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


SETTLED = {"tensorParallelSize": 1, "maxModelLen": 8192, "maxNumSeqs": 256, "maxNumBatchedTokens": 2048}


@pytest.mark.parametrize(
    ("engine", "code"),
    [
        ({}, 0),
        ({"extraArgs": {"kv_cache_memory_bytes": 1000}}, 4),
        ({"extraArgs": {"enable_log_requests": True}}, 0),
        ({"extraArgs": {"kv_offloading_size": 64}}, 4),
        ({"extraArgs": {"kv_offloading_size": 1}}, 0),
        ({"extraArgs": {"enable_lora": True}}, 5),
        ({"extraArgs": {"hf_overrides": {"rope_theta": 1.0}, "cpu_offload_gb": 4}}, 5),
        ({"extraArgs": {"kv_offloading_size": 64, "kv_offloading_backend": "lmcache"}}, 5),
        ({"extraArgs": {"speculative_config": {"method": "suffix"}}}, 5),
        ({"loadFormat": "runai_streamer"}, 5),
        ({"quantization": "fp8"}, 5),
        ({"extraArgs": {"max_loras": "4"}}, 2),
        ({"extraArgs": {"data_parallel_size": 2}}, 2),
        ({"extraArgs": {"swap_space": 4}}, 2),
    ],
)
def test_a_file_and_set_give_the_same_answer(model: Path, tmp_path: Path, engine: dict[str, Any], code: int) -> None:
    fields = {**SETTLED, **engine}
    spec = {"model": {"uri": "pvc://weights/llama"}, "engine": fields, "server": {"release": "vllm-0.32.0"}}
    file = tmp_path / "llm.yaml"
    spec["server"]["image"] = "example.org/triton-vllm:vllm-0.32.0"
    file.write_text(json.dumps({"kind": "LLMDeployment", "metadata": {"name": "a"}, "spec": spec}))
    from_file = run("plan", "-f", file, "--model-dir", model, "--gpu", H100, "-o", "json")
    sets = [f"--set=engine.{name}={json.dumps(value)}" for name, value in fields.items()]
    from_set = run("plan", *sets, "--release", "vllm-0.32.0", "--model-dir", model, "--gpu", H100, "-o", "json")
    assert (from_file.exit_code, from_set.exit_code) == (code, code)
    assert from_set.stderr == from_file.stderr
    if code in {0, 4}:
        bodies = [json.loads(result.stdout) for result in (from_file, from_set)]
        assert bodies[0]["perGPU"] == bodies[1]["perGPU"]
        assert bodies[0]["verdict"] == bodies[1]["verdict"]
        assert bodies[0]["reason"] == bodies[1]["reason"]
        assert bodies[0]["host"]["memoryBytes"] == bodies[1]["host"]["memoryBytes"]


def test_the_container_is_planned_too(model: Path) -> None:
    offload = "--set=engine.extraArgs.kv_offloading_size=64"
    arguments = ("--model-dir", model, "--gpu", H100, "--engine-version", "0.32.0", offload)
    small = planned(*arguments)
    assert (small["verdict"], small["reason"]) == ("DoesNotFit", "SharedMemoryTooSmall")
    assert small["host"]["verdict"] == "DoesNotFit"
    large = planned(*arguments, "--set=resources.sharedMemory=66Gi")
    assert (large["verdict"], large["host"]["verdict"], large["host"]["limitBytes"]) == ("Fits", "Fits", 82 * 2**30)
    shown = run("plan", *arguments).stdout
    for text in ("GiB per container", "KV offload, pinned", "/dev/shm", "set spec.resources.sharedMemory: 66Gi"):
        assert text in shown


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", b"{", "ConfigNotJson"),
        ("config.json", b'{"architectures": ["ViTModel"], "model_type": "vit"}', "NotACausalModel"),
        ("model.safetensors", b"\x10", "SafetensorsTruncated"),
        ("model.safetensors", (2**50).to_bytes(8, "little"), "SafetensorsHeaderInvalid"),
        ("model.safetensors.index.json", b'{"weight_map": {"a": "../../secret.safetensors"}}', "is missing"),
        ("model.safetensors.index.json", b'{"weight_map": {"a": "absent.safetensors"}}', "absent.safetensors"),
        ("model.safetensors.index.json", b'{"weight_map": [1]}', "weight_map"),
    ],
)
def test_a_damaged_model_directory_is_refused(model: Path, name: str, content: bytes, message: str) -> None:
    (model / name).write_bytes(content)
    result = run("plan", "--model-dir", model, "--gpu", H100)
    assert result.exit_code == 2
    assert message in result.stderr
    assert name in result.stderr or str(model) in result.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["BertModel"], "model_type": "bert"}, "PoolingNotPlanned"),
        ({"model_type": "made_up"}, "ArchitectureUnknown"),
        ({"architectures": ["MadeUpForCausalLM"]}, "ArchitectureUnknown"),
        ({"num_key_value_heads": [8] * 32}, "ConfigFieldPerLayer"),
    ],
)
def test_a_model_that_is_not_planned_is_not_bad_input(model: Path, change: dict[str, object], message: str) -> None:
    known = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**known, **change}))
    for command in (("plan", "--model-dir", model, "--gpu", H100), ("shape", "--model-dir", model)):
        result = run(*command)
        assert (result.exit_code, result.stdout) == (5, "")
        assert message in result.stderr


def test_a_directory_without_config_names_the_missing_file(tmp_path: Path) -> None:
    result = run("plan", "--model-dir", tmp_path, "--gpu", H100)
    assert result.exit_code == 2
    assert "config.json" in result.stderr


def test_a_pipe_in_the_directory_is_not_waited_for(model: Path) -> None:
    os.mkfifo(model / "endless.safetensors")
    result = run("plan", "--model-dir", model, "--gpu", H100)
    assert (result.exit_code, "FileMissing" in result.stderr) == (2, True)


def test_it_runs_as_a_module_without_colours_or_network(model: Path) -> None:
    source = Path(__file__).parents[2] / "src"
    done = subprocess.run(
        [sys.executable, "-m", "triton_vllm_operator", "plan", "--model-dir", str(model), "--gpu", H100],
        capture_output=True, text=True, check=False, env={"PYTHONPATH": str(source), "LC_ALL": "C", "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Fits")
    assert "\x1b" not in done.stdout


def test_the_plot_can_be_printed_in_ascii(model: Path) -> None:
    source = Path(__file__).parents[2] / "src"
    done = subprocess.run(
        [sys.executable, "-m", "triton_vllm_operator", "plan", "--model-dir", str(model), "--gpu", H100],
        capture_output=True, check=False,
        env={"PYTHONPATH": str(source), "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"# weights 14.99" in done.stdout.replace(b"\n", b" ")
    assert done.stdout.isascii()
