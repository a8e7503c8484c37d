"""The pod that reads a model. The golden files show it whole; these tests say why it must be so."""

from __future__ import annotations

from typing import Any

import pytest

from tests.desired.build import DEFAULTS, GOLDEN, IMAGE, inspection, llm
from tests.desired.samples import SAMPLES
from triton_vllm_operator.api import names
from triton_vllm_operator.desired.children import children
from triton_vllm_operator.desired.inspect_pod import inspect_pod


def pod(spec: dict[str, Any]) -> dict[str, Any]:
    return inspect_pod(llm(spec), "registry.example/operator:1", "", DEFAULTS)


def container(spec: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pod(spec)["spec"]["containers"][0]
    return found


@pytest.mark.parametrize("name", SAMPLES)
def test_the_pod_equals_the_golden_file(name: str) -> None:
    assert inspection(name) == (GOLDEN / "inspection" / f"{name}.yaml").read_text(), "see tests/desired/build.py"


@pytest.mark.parametrize("name", SAMPLES)
def test_no_selector_of_a_serving_child_selects_it(name: str) -> None:
    labels = pod(SAMPLES[name])["metadata"]["labels"]
    for child in children(llm(SAMPLES[name]), IMAGE, DEFAULTS):
        selector = child.get("spec", {}).get("selector")
        if selector:
            wanted = selector.get("matchLabels", selector)
            assert not wanted.items() <= labels.items(), child["kind"]
    assert names.INSTANCE_LABEL not in labels


@pytest.mark.parametrize("name", SAMPLES)
def test_it_asks_for_no_gpu_and_is_restricted(name: str) -> None:
    spec = pod(SAMPLES[name])["spec"]
    [only] = spec["containers"]
    assert set(only["resources"]["limits"]) == {"memory"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert only["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert spec["restartPolicy"] == "Never"


def test_a_claim_is_mounted_read_only_for_the_same_group_as_the_servers() -> None:
    spec = pod(SAMPLES["claim"])["spec"]
    assert spec["securityContext"]["fsGroup"] == 1000
    assert {"name": "model", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}} in spec["volumes"]
    assert container(SAMPLES["claim"])["args"] == ["--folder=/model/llama/7b", "--told-as=pvc://models/llama/7b"]


def test_what_reaches_the_hub_is_passed_on_and_nothing_else() -> None:
    theirs = [
        {"name": "HTTPS_PROXY", "value": "http://127.0.0.1:3128"},
        {"name": "HF_ENDPOINT", "value": "http://mirror"},
        {"name": "LD_PRELOAD", "value": "/x.so"},
        {"name": "PYTHONPATH", "value": "/x"},
    ]
    spec = SAMPLES["shortest"] | {"podTemplate": {"env": theirs}}
    env = {entry["name"]: entry["value"] for entry in container(spec)["env"]}
    assert env == {
        "HOME": "/tmp",
        "HF_HOME": "/tmp/huggingface",
        "HTTPS_PROXY": "http://127.0.0.1:3128",
        "HF_ENDPOINT": "http://mirror",
    }


def test_a_certificate_that_a_variable_names_is_mounted_and_nothing_else_is() -> None:
    additions = {
        "env": [{"name": "SSL_CERT_FILE", "value": "/etc/ca/ca.crt"}, {"name": "CACHE", "value": "/scratch/x"}],
        "volumes": [
            {"name": "ca", "configMap": {"name": "company-ca"}},
            {"name": "scratch", "emptyDir": {}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "other", "secret": {"secretName": "other"}},
        ],
        "volumeMounts": [
            {"name": "ca", "mountPath": "/etc/ca", "readOnly": True},
            {"name": "scratch", "mountPath": "/scratch"},
            {"name": "data", "mountPath": "/data"},
            {"name": "other", "mountPath": "/etc/cafe"},
        ],
    }
    spec = pod(SAMPLES["shortest"] | {"podTemplate": additions})["spec"]
    [only] = spec["containers"]
    assert {"name": "SSL_CERT_FILE", "value": "/etc/ca/ca.crt"} in only["env"]
    assert [mount["name"] for mount in only["volumeMounts"]] == ["tmp", "ca"]
    assert [volume["name"] for volume in spec["volumes"]] == ["tmp", "ca"]
    assert spec["volumes"][1] == {"name": "ca", "configMap": {"name": "company-ca"}}


def test_a_claim_is_never_mounted_for_a_variable() -> None:
    additions = {
        "env": [{"name": "HF_TOKEN_PATH", "value": "/data/token"}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    spec = pod(SAMPLES["shortest"] | {"podTemplate": additions})["spec"]
    assert [volume["name"] for volume in spec["volumes"]] == ["tmp"]


def test_another_token_image_or_model_is_another_pod() -> None:
    base = SAMPLES["shortest"]
    token = {"model": {**base["model"], "tokenSecretRef": {"name": "hf"}}}
    found = [pod(base), pod(token), pod({"model": {"uri": "hf://org/other"}})]
    found.append(inspect_pod(llm(base), "registry.example/operator:2", "", DEFAULTS))
    assert len({one["metadata"]["name"] for one in found}) == 4


def test_what_it_does_not_read_is_the_same_pod() -> None:
    base = SAMPLES["shortest"]
    changed = base | {"replicas": 3, "engine": {"maxModelLen": 1024}, "scheduling": {"nodeSelector": {"a": "b"}}}
    assert pod(base) == pod(changed)
