"""Which way requests go to the API server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from triton_vllm_operator.kube import login

SERVER = "https://api.example:6443"


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    return written(tmp_path)


def written(folder: Path, **cluster: str) -> Path:
    path = folder / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "there", "user": "me"}}],
        "clusters": [{"name": "there", "cluster": {"server": SERVER, **cluster}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
    }
    path.write_text(json.dumps(content))
    return path


async def test_without_a_proxy_in_the_environment_there_is_none(kubeconfig: Path) -> None:
    assert (await login.load(str(kubeconfig))).proxy is None


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
async def test_the_proxy_of_the_environment_is_taken(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1001")
    monkeypatch.setenv(name, "http://127.0.0.1:1002")
    assert (await login.load(str(kubeconfig))).proxy == "http://127.0.0.1:1002"


@pytest.mark.parametrize("excepted", ["other.example,api.example", ".example", "*"])
async def test_no_proxy_excepts_the_server(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, excepted: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1002")
    monkeypatch.setenv("NO_PROXY", excepted)
    assert (await login.load(str(kubeconfig))).proxy is None


async def test_the_proxy_of_the_kubeconfig_comes_first(
    kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1002")
    own = written(tmp_path, **{"proxy-url": "http://127.0.0.1:1003"})
    assert (await login.load(str(own))).proxy == "http://127.0.0.1:1003"
