"""The pod that reads a model. The golden files show it whole; these tests say why it must be so."""

from __future__ import annotations

from typing import Any

import pytest

from tests.desired.build import DEFAULTS, GOLDEN, IMAGE, inspection, llm
from tests.desired.samples import SAMPLES
from triton_vllm_operator.api import names
from triton_vllm_operator.desired.children import children
from triton_vllm_operator.desired.hub_access import claims_of_files
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
    assert set(only["resources"]["limits"]) <= {"memory", "cpu", "ephemeral-storage"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert only["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert spec["restartPolicy"] == "Never"


@pytest.mark.parametrize(
    ("given", "exact"),
    [
        ({}, {}),
        ({"cpuLimit": "8"}, {"cpu": "500m"}),
        ({"cpuLimit": "250m", "cpu": "100m"}, {"cpu": "250m"}),
        ({"ephemeralStorage": "100Gi"}, {"ephemeral-storage": "256Mi"}),
        ({"cpuLimit": 1, "ephemeralStorage": "64Mi"}, {"cpu": "500m", "ephemeral-storage": "64Mi"}),
    ],
)
def test_what_the_serving_pod_limits_is_limited(given: dict[str, Any], exact: dict[str, str]) -> None:
    """A quota that requires a limit of the serving pod requires it of this one too."""
    resources = container({**SAMPLES["shortest"], "resources": given})["resources"]
    assert resources["limits"] == {"memory": "512Mi", **exact}
    assert resources["requests"] == {"cpu": "50m", "memory": "128Mi", **exact}


def test_what_injects_into_the_serving_pod_injects_into_this_one() -> None:
    """A token of Vault, the proxy of a mesh, an identity of the cloud; but no queue, and no selector of a Service."""
    given = {
        "annotations": {
            "vault.hashicorp.com/agent-inject": "true",
            "container.apparmor.security.beta.kubernetes.io/server": "unconfined",
        },
        "labels": {
            "sidecar.istio.io/inject": "false",
            "azure.workload.identity/use": "true",
            "kueue.x-k8s.io/queue-name": "gpus",
            "app": "chat",
        },
    }
    plain, made = pod(SAMPLES["shortest"]), pod({**SAMPLES["shortest"], "podTemplate": given})
    assert made["metadata"]["annotations"] == {"vault.hashicorp.com/agent-inject": "true"}
    added = dict(made["metadata"]["labels"].items() - plain["metadata"]["labels"].items())
    assert added.keys() == {"sidecar.istio.io/inject", "azure.workload.identity/use", names.INSPECTION_LABEL}
    assert made["metadata"]["name"] != plain["metadata"]["name"], "what is injected can change what is read"
    assert "annotations" not in plain["metadata"]


def test_a_claim_is_mounted_read_only_for_the_same_group_as_the_servers() -> None:
    spec = pod(SAMPLES["claim"])["spec"]
    assert spec["securityContext"]["fsGroup"] == 1000
    assert {"name": "model", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}} in spec["volumes"]
    assert container(SAMPLES["claim"])["args"] == ["--folder=/model/llama/7b", "--display-name=pvc://models/llama/7b"]


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


def test_another_token_image_or_model_is_another_pod() -> None:
    base = SAMPLES["shortest"]
    token = {"model": {**base["model"], "tokenSecretRef": {"name": "hf"}}}
    found = [pod(base), pod(token), pod({"model": {"uri": "hf://org/other"}})]
    found.append(inspect_pod(llm(base), "registry.example/operator:2", "", DEFAULTS))
    assert len({one["metadata"]["name"] for one in found}) == 4


def test_what_it_does_not_read_is_the_same_pod() -> None:
    base = SAMPLES["shortest"]
    changed = base | {"replicas": 3, "engine": {"maxModelLen": 1024}, "scheduling": {"runtimeClassName": "nvidia"}}
    assert pod(base) == pod(changed)


def with_template(**additions: Any) -> dict[str, Any]:
    return SAMPLES["shortest"] | {"podTemplate": additions}


def mounted(spec: dict[str, Any], bound: frozenset[str] = frozenset()) -> list[str]:
    found = inspect_pod(llm(spec), "registry.example/operator:1", "", DEFAULTS, bound)["spec"]
    volumes = [volume["name"] for volume in found["volumes"]]
    assert volumes == [mount["name"] for mount in found["containers"][0]["volumeMounts"]]
    return volumes[1:]


@pytest.mark.parametrize("name", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_a_token_of_the_pod_template_is_passed_on(name: str) -> None:
    entry = {"name": name, "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token"}}}
    assert entry in container(with_template(env=[entry]))["env"]


SECRET = {"name": "hf", "secret": {"secretName": "hf"}}
CLAIM = {"name": "data", "persistentVolumeClaim": {"claimName": "cache"}}


def test_a_token_file_of_a_secret_is_mounted() -> None:
    env = [{"name": "HF_TOKEN_PATH", "value": "/secrets/hf/token"}]
    spec = with_template(env=env, volumes=[SECRET], volumeMounts=[{"name": "hf", "mountPath": "/secrets/hf"}])
    assert mounted(spec) == ["hf"]
    assert env[0] in container(spec)["env"]


@pytest.mark.parametrize(
    ("env", "mount", "path"),
    [
        ([], {"mountPath": "/cache/huggingface/token", "subPath": "token"}, "/cache/huggingface/token"),
        ([{"name": "HF_HOME", "value": "/hf"}], {"mountPath": "/hf"}, "/hf/token"),
        (
            [{"name": "ROOT", "value": "/hf"}, {"name": "HF_HOME", "value": "$(ROOT)/home"}],
            {"mountPath": "/hf/home"},
            "/hf/home/token",
        ),
    ],
)
def test_a_cached_token_is_read_from_where_the_server_reads_it(
    env: list[dict[str, Any]], mount: dict[str, Any], path: str
) -> None:
    spec = with_template(env=env, volumes=[SECRET], volumeMounts=[{"name": "hf", **mount}])
    assert mounted(spec) == ["hf"]
    found = {entry["name"]: entry["value"] for entry in container(spec)["env"]}
    assert found["HF_TOKEN_PATH"] == path
    assert found["HF_HOME"] == "/tmp/huggingface"


def test_a_cached_token_is_not_needed_beside_another_one() -> None:
    spec = with_template(volumes=[CLAIM], volumeMounts=[{"name": "data", "mountPath": "/cache/huggingface"}])
    assert mounted(spec, frozenset({"cache"})) == ["data"]
    spec["model"] = {**spec["model"], "tokenSecretRef": {"name": "hf"}}
    assert mounted(spec, frozenset({"cache"})) == []


def test_a_claim_with_a_token_is_mounted_read_only_once_it_is_bound() -> None:
    env = [{"name": "HF_TOKEN_PATH", "value": "/data/token"}]
    spec = with_template(env=env, volumes=[CLAIM], volumeMounts=[{"name": "data", "mountPath": "/data"}])
    assert claims_of_files(llm(spec), DEFAULTS) == {"cache"}
    assert mounted(spec) == []
    assert mounted(spec, frozenset({"cache"})) == ["data"]
    found = inspect_pod(llm(spec), "registry.example/operator:1", "", DEFAULTS, frozenset({"cache"}))
    assert found["spec"]["containers"][0]["volumeMounts"][1]["readOnly"] is True
    assert found["metadata"]["labels"] != pod(spec)["metadata"]["labels"], "another pod, which is tried at once"


def test_a_claim_for_the_cache_alone_is_not_mounted() -> None:
    env = [{"name": "HF_HUB_CACHE", "value": "/data/hub"}]
    spec = with_template(env=env, volumes=[CLAIM], volumeMounts=[{"name": "data", "mountPath": "/data"}])
    assert claims_of_files(llm(spec), DEFAULTS) == frozenset()


VOLUMES = [{"name": "ca", "configMap": {"name": "company-ca"}}, SECRET, {"name": "scratch", "emptyDir": {}}, CLAIM]
MOUNTS = [
    {"name": "ca", "mountPath": "/company"},
    {"name": "hf", "mountPath": "/secrets"},
    {"name": "scratch", "mountPath": "/scratch"},
    {"name": "data", "mountPath": "/data"},
]


@pytest.mark.parametrize(
    "additions",
    [
        {"envFrom": [{"configMapRef": {"name": "certificates"}}]},
        {"env": [{"name": "SSL_CERT_FILE", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "y"}}}]},
        {"env": [{"name": "REQUESTS_CA_BUNDLE", "value": "$(OF_ENV_FROM)/ca.crt"}]},
    ],
)
def test_a_file_whose_path_is_not_known_may_be_in_each_config_map_and_secret(additions: dict[str, Any]) -> None:
    spec = with_template(**additions, volumes=VOLUMES, volumeMounts=MOUNTS)
    assert mounted(spec, frozenset({"cache"})) == ["ca", "hf"]
    assert container(spec).get("envFrom", []) == additions.get("envFrom", [])


@pytest.mark.parametrize(
    ("variable", "value", "where"),
    [
        ("SSL_CERT_FILE", "/company/ca.crt", "/company/ca.crt"),
        ("SSL_CERT_DIR", "/usr/certs:/company", "/company"),
        ("SSL_CERT_DIR", "/certs", "/certs/ca.crt"),
        ("CURL_CA_BUNDLE", "/company/ca.crt", "/company"),
        ("HTTPS_PROXY", "http://127.0.0.1:3128", "/etc/ssl/certs/ca-certificates.crt"),
    ],
)
def test_certificates_are_mounted(variable: str, value: str, where: str) -> None:
    env = [{"name": variable, "value": value}]
    spec = with_template(env=env, volumes=VOLUMES, volumeMounts=[{"name": "ca", "mountPath": where}])
    found = pod(spec)["spec"]["containers"][0]
    assert [mount["name"] for mount in found["volumeMounts"]] == ["tmp", "ca"]


def test_variables_to_which_others_refer_are_passed_on_in_order() -> None:
    env = [
        {"name": "BASE", "value": "/company"},
        {"name": "OTHER", "value": "x"},
        {"name": "CERTIFICATES", "value": "$(BASE)/certificates"},
        {"name": "SSL_CERT_FILE", "value": "$(CERTIFICATES)/ca.crt"},
        {"name": "HF_TOKEN_PATH", "value": "$(HF_HOME)/secret"},
    ]
    mounts = [{"name": "ca", "mountPath": "/company", "subPathExpr": "$(PART)"}]
    part = {"name": "PART", "value": "a"}
    found = container(with_template(env=[part, *env], volumes=VOLUMES, volumeMounts=mounts))["env"]
    last = {"name": "HF_TOKEN_PATH", "value": "/cache/huggingface/secret"}
    assert found[-5:] == [part, env[0], env[2], env[3], last]


def test_it_runs_where_the_serving_pods_may_run_and_takes_no_gpu_settings() -> None:
    spec = pod(SAMPLES["every-field"])["spec"]
    assert spec["nodeSelector"] == {"pool": "gpu"}
    assert set(spec["affinity"]) == {"nodeAffinity"}
    assert {"key": "pool", "value": "gpu", "effect": "NoSchedule"} in spec["tolerations"]
    assert not {"runtimeClassName", "schedulerName", "priorityClassName", "topologySpreadConstraints"} & set(spec)


@pytest.mark.parametrize("field", ["nodeSelector", "affinity", "tolerations"])
def test_another_placement_is_another_pod(field: str) -> None:
    base = SAMPLES["shortest"]
    changed = base | {"scheduling": {field: SAMPLES["every-field"]["scheduling"][field]}}
    assert pod(base)["metadata"]["name"] != pod(changed)["metadata"]["name"]


def test_a_claims_model_mounts_nothing_for_the_hub() -> None:
    additions = {"envFrom": [{"configMapRef": {"name": "x"}}], "volumes": VOLUMES, "volumeMounts": MOUNTS}
    spec = SAMPLES["claim"] | {"podTemplate": additions}
    assert mounted(spec, frozenset({"cache"})) == ["model"]
