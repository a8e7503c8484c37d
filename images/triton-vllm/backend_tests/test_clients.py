"""Clients that people use work with the lines of operator/docs/clients.md, without switches."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from clients import environments
from testing.grpc_stream import GrpcStream
from testing.server import TINY_ENGINE, Server, running, tiny_model, write_model

NAME, KEY = "org/tiny-llama", "a-key"
ANSWER_SECONDS = 300
PAGE = Path(__file__).resolve().parents[3] / "operator/docs/clients.md"
# Environment -> (package, program).
LIBRARIES = {
    "anthropic": ("anthropic", "anthropic_python.py"),
    "litellm": ("litellm", "litellm_providers.py"),
    "langchain": ("langchain-openai", "langchain_chat.py"),
    "llama-index": ("llama-index-llms-openai-like", "llama_index_chat.py"),
}
TOOLS = ("guidellm", "aiperf", "inference-perf")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a key, whose model speaks, by a name with a slash."""
    folder = tmp_path_factory.mktemp("clients")
    engine = {**TINY_ENGINE, "model": str(tiny_model("speaker")), "served_model_name": ["llm", NAME]}
    write_model(folder / "models", "llm", engine, openai={})
    with running(folder, folder / "models", VLLM_API_KEY=KEY) as started:
        yield started


def arguments(server: Server, key: str = KEY) -> list[str]:
    """What every program is given: OpenAI's port, Triton's HTTP, gRPC, the model and the key."""
    host = "http://127.0.0.1"
    return [f"{host}:{server.front_port}", f"{host}:{server.http_port}", f"127.0.0.1:{server.grpc_port}", NAME, key]


def run(command: list[Any], folder: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


@pytest.mark.engine
@pytest.mark.timeout(900)
def test_openai_python(server: Server, tmp_path: Path) -> None:
    run([sys.executable, environments.PROGRAMS / "openai_python.py", *arguments(server)], tmp_path)


@pytest.mark.engine
@pytest.mark.timeout(900)
def test_curl(server: Server, tmp_path: Path) -> None:
    body = json.dumps({"model": NAME, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4})
    url = f"{arguments(server)[0]}/v1/chat/completions"
    answer = json.loads(run(["curl", "-sSf", url, "-H", "content-type: application/json", "-d", body], tmp_path))
    assert answer["usage"]["completion_tokens"] <= 4
    body = json.dumps({"text_input": "Hello", "max_tokens": 4})
    answer = json.loads(run(["curl", "-sSf", f"{arguments(server)[1]}/v2/models/llm/generate", "-d", body], tmp_path))
    assert answer["text_output"]


@pytest.mark.engine
@pytest.mark.timeout(900)
def test_payloads_of_genai_perf(server: Server) -> None:
    """Those of its converters for Triton's vLLM backend and for chat: numbers of sampling_parameters are text."""
    sampling = {"max_tokens": "8", "min_tokens": "8"}
    with GrpcStream(server) as stream:
        stream.send(
            text_input="Hello", exclude_input_in_output=True, stream=True, sampling_parameters=json.dumps(sampling)
        )
        assert len(stream.collect()) > 1
    body = {"model": NAME, "messages": [{"role": "user", "content": "Hello"}], "stream": True, "max_tokens": 8}
    answer = server.request("POST", "/v1/chat/completions", {**body, "min_tokens": 8}, port=server.front_port)
    assert str(answer.body).endswith("data: [DONE]\n\n")


@pytest.mark.clients
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("name", LIBRARIES)
def test_libraries(guarded: Server, tmp_path: Path, name: str) -> None:
    python = environments.ensure_python(name) / "python"
    run([python, environments.PROGRAMS / LIBRARIES[name][1], *arguments(guarded)], tmp_path)


@pytest.mark.clients
@pytest.mark.timeout(2400)
def test_openai_node(guarded: Server, tmp_path: Path) -> None:
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    run(["node", environments.PROGRAMS / "openai_node.mjs", *arguments(guarded)], environments.ensure_node())


@pytest.mark.clients
@pytest.mark.timeout(2400)
def test_guidellm(guarded: Server, tmp_path: Path) -> None:
    program = environments.ensure_python("guidellm") / "guidellm"
    (tmp_path / "tokenizer").symlink_to(tiny_model("speaker"))
    command = [
        program,
        "run",
        "--backend",
        f"kind=openai_http,target={arguments(guarded)[0]},api_key={KEY},model={NAME}",
    ]
    command += ["--profile", "kind=synchronous", "--constraint", "kind=max_requests,count=3"]
    command += ["--tokenizer", "kind=huggingface_auto,model=./tokenizer"]
    command += ["--data", "kind=synthetic_text,prompt_tokens=16,output_tokens=8"]
    run([*command, "--output", "kind=json,path=report.json", "--disable-console"], tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    totals = report["benchmarks"][0]["metrics"]["request_totals"]
    assert (totals["successful"], totals["errored"]) == (3, 0)


@pytest.mark.clients
@pytest.mark.timeout(2400)
def test_aiperf(guarded: Server, tmp_path: Path) -> None:
    program = environments.ensure_python("aiperf") / "aiperf"
    (tmp_path / "tokenizer").symlink_to(tiny_model("speaker"))
    command = [program, "profile", "--model", NAME, "--url", arguments(guarded)[0], "--api-key", KEY]
    command += ["--endpoint-type", "chat", "--streaming", "--tokenizer", "./tokenizer", "--ui", "none"]
    output = run([*command, "--request-count", "4", "--concurrency", "2", "--isl", "20", "--osl", "8"], tmp_path)
    assert re.search(r"Request Error Rate \(%\) +│ +0.00", output)


@pytest.mark.clients
@pytest.mark.timeout(2400)
def test_inference_perf(guarded: Server, tmp_path: Path) -> None:
    if not environments.python_is_available("inference-perf"):
        pytest.skip("inference-perf needs Python 3.12")
    program = environments.ensure_python("inference-perf") / "inference-perf"
    (tmp_path / "tokenizer").symlink_to(tiny_model("speaker"))
    tokens = {"min": 16, "max": 16, "mean": 16, "std_dev": 0, "total_count": 3}
    config = {
        "server": {"type": "vllm", "base_url": arguments(guarded)[0], "model_name": NAME, "api_key": KEY},
        "api": {"type": "completion", "streaming": True},
        "tokenizer": {"pretrained_model_name_or_path": "./tokenizer"},
        "data": {"type": "random", "input_distribution": tokens, "output_distribution": tokens},
        "load": {"type": "constant", "num_workers": 1, "stages": [{"rate": 1, "duration": 3}]},
        "storage": {"local_storage": {"path": "."}},
    }
    (tmp_path / "config.yml").write_text(json.dumps(config))
    run([program, "--config_file", "config.yml"], tmp_path)
    report = json.loads((tmp_path / "summary_lifecycle_metrics.json").read_text())
    assert (report["successes"]["count"], report["failures"]["count"]) == (3, 0)


def test_the_page_has_the_version_of_every_client() -> None:
    text = PAGE.read_text()
    packages = {**{name: package for name, (package, _) in LIBRARIES.items()}, **{name: name for name in TOOLS}}
    assert sorted(packages) == environments.python_clients()
    for name, package in packages.items():
        assert f"{package} {environments.version(name, package)}" in text
    node = json.loads((environments.NODE / "package.json").read_text())["dependencies"]["openai"]
    assert f"openai (npm) {node}" in text
    assert f"openai (PyPI) {openai.__version__}" in text
