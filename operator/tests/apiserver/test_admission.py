"""What the API server itself refuses, by the schema and the CEL rules of the CRD, and what it says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.apiserver.controlplane import ControlPlane
from tests.apiserver.view import llm
from triton_vllm_operator.api import kinds

pytestmark = pytest.mark.every_version

GOOD = "hf://org/model"
SAMPLES = sorted((Path(__file__).parents[3] / "samples").glob("*.yaml"))
# What is wrong -> (spec, field in the message, what is allowed as the message says it).
BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "no model": ({"model": None}, "spec.model", "Required value"),
    "no uri": ({"model": {"name": "m"}}, "spec.model.uri", "Required value"),
    "http uri": ({"model": {"uri": "https://huggingface.co/org/model"}}, "spec.model.uri", "hf://ORG/REPO[@REVISION]"),
    "uri without org": ({"model": {"uri": "hf://model"}}, "spec.model.uri", "hf://ORG/REPO[@REVISION]"),
    "uri with three parts": ({"model": {"uri": "hf://a/b/c"}}, "spec.model.uri", "hf://ORG/REPO[@REVISION]"),
    "path that climbs": ({"model": {"uri": "pvc://claim/../etc"}}, "spec.model.uri", "must not contain '..'"),
    "claim in capitals": ({"model": {"uri": "pvc://Claim"}}, "spec.model.uri", "pvc://CLAIM[/PATH]"),
    "host path": ({"model": {"uri": "/models/llama"}}, "spec.model.uri", "pvc://CLAIM[/PATH]"),
    "long uri": ({"model": {"uri": "pvc://claim/" + "a" * 600}}, "spec.model.uri", "512"),
    "token for a claim": (
        {"model": {"uri": "pvc://claim", "tokenSecretRef": {"name": "hub"}}},
        "spec.model",
        "tokenSecretRef requires a hf:// uri",
    ),
    "revision twice": (
        {"model": {"uri": f"{GOOD}@v1", "revision": "v2"}},
        "spec.model",
        "Set the revision in one place",
    ),
    "revision of a claim": (
        {"model": {"uri": "pvc://claim", "revision": "v2"}},
        "spec.model",
        "revision requires a hf:// uri",
    ),
    "model name with a slash": ({"model": {"uri": GOOD, "name": "a/b"}}, "spec.model.name", "letters, digits"),
    "model name that climbs": ({"model": {"uri": GOOD, "name": "a..b"}}, "spec.model.name", "no '..'"),
    "long model name": ({"model": {"uri": GOOD, "name": "a" * 64}}, "spec.model.name", "63"),
    "memory 0": ({"engine": {"gpuMemoryUtilization": 0}}, "spec.engine.gpuMemoryUtilization", "greater than 0"),
    "memory 1.5": ({"engine": {"gpuMemoryUtilization": 1.5}}, "spec.engine.gpuMemoryUtilization", "or equal to 1"),
    "memory as text": ({"engine": {"gpuMemoryUtilization": "90%"}}, "spec.engine.gpuMemoryUtilization", "number"),
    "no GPU": ({"engine": {"tensorParallelSize": 0}}, "spec.engine.tensorParallelSize", "or equal to 1"),
    "65 stages": ({"engine": {"pipelineParallelSize": 65}}, "spec.engine.pipelineParallelSize", "or equal to 64"),
    "half a GPU": ({"engine": {"tensorParallelSize": 0.5}}, "spec.engine.tensorParallelSize", "integer"),
    "length 0": ({"engine": {"maxModelLen": 0}}, "spec.engine.maxModelLen", "or equal to 4"),
    "batch below sequences": (
        {"engine": {"maxNumBatchedTokens": 8, "maxNumSeqs": 16}},
        "spec.engine",
        "maxNumBatchedTokens must be at least maxNumSeqs",
    ),
    "unknown dtype": ({"engine": {"dtype": "int3"}}, "spec.engine.dtype", '"bfloat16"'),
    "class without a load balancer": (
        {"service": {"loadBalancerClass": "internal"}},
        "spec.service",
        "need type: LoadBalancer",
    ),
    "no port for clients": (
        {"service": {"ports": {"http": False, "grpc": False}}},
        "spec",
        "Set service.ports.http or service.ports.grpc, or enable server.openAI",
    ),
    "sidecar with the server's name": (
        {"podTemplate": {"sidecars": [{"name": "server", "image": "i"}]}},
        "spec.podTemplate.sidecars[0]",
        "belongs to the operator",
    ),
    "unknown field": ({"engine": {"maxModelLength": 8}}, "spec.engine.maxModelLength", "unknown field"),
    "switch as text": ({"engine": {"enforceEager": "yes"}}, "spec.engine.enforceEager", "boolean"),
    "temperature 3": (
        {"sampling": {"defaults": {"temperature": 3}}},
        "spec.sampling.defaults.temperature",
        "or equal to 2",
    ),
    "probability 0": ({"sampling": {"defaults": {"topP": 0}}}, "spec.sampling.defaults.topP", "greater than 0"),
    "sampling by vLLM's name": ({"sampling": {"defaults": {"top_p": 1}}}, "spec.sampling.defaults.top_p", "unknown"),
    "empty stop": ({"sampling": {"defaults": {"stop": [""]}}}, "spec.sampling.defaults.stop[0]", "at least 1"),
    "shortest without longest": (
        {"sampling": {"defaults": {"minTokens": 5}}},
        "spec.sampling",
        "minTokens requires maxTokens",
    ),
    "shortest above the longest of the defaults": (
        {"sampling": {"defaults": {"maxTokens": 4}, "profiles": [{"name": "a", "minTokens": 5}]}},
        "spec.sampling",
        "in the profile or in the defaults",
    ),
    "profile without a name": ({"sampling": {"profiles": [{"topK": 1}]}}, "profiles[0].name", "Required value"),
    "profile in capitals": ({"sampling": {"profiles": [{"name": "A"}]}}, "profiles[0].name", "a-z0-9"),
    "profile twice": (
        {"sampling": {"profiles": [{"name": "a"}, {"name": "a"}]}},
        "spec.sampling.profiles[1]",
        "Duplicate value",
    ),
    "time 0": ({"server": {"requestTimeoutSeconds": 0}}, "spec.server.requestTimeoutSeconds", "or equal to 1"),
    "startup check of nothing": (
        {"server": {"startupChecks": [{"name": "a", "prompt": "?"}]}},
        "spec.server.startupChecks[0]",
        "requires pattern, maxSeconds or minTokensPerSecond",
    ),
    "startup check twice": (
        {"server": {"startupChecks": [{"name": "a", "prompt": "?", "pattern": "x"}] * 2}},
        "spec.server.startupChecks[1]",
        "Duplicate value",
    ),
    "limit -1": ({"server": {"limits": {"maxN": -1}}}, "spec.server.limits.maxN", "or equal to 1"),
    "key without a Secret": (
        {"server": {"openAI": {"enabled": True, "apiKeySecretRef": {"key": "a"}}}},
        "spec.server.openAI.apiKeySecretRef.name",
        "Required value",
    ),
    "release": ({"server": {"release": "25.13"}}, "spec.server.release", "vllm-[0-9]+"),
    "image with a space": ({"server": {"image": "a b"}}, "spec.server.image", "\\S+"),
    "log level": ({"server": {"logLevel": "DEBUG"}}, "spec.server.logLevel", '"Verbose"'),
    "flag without dashes": ({"server": {"extraArgs": ["model-repository"]}}, "spec.server.extraArgs[0]", "^--[a-z]"),
    "drain for a day": ({"server": {"drainSeconds": 86400}}, "spec.server.drainSeconds", "or equal to 3600"),
    "replicas -1": ({"replicas": -1}, "spec.replicas", "or equal to 0"),
    "memory nonsense": ({"resources": {"memory": "a lot"}}, "spec.resources.memory", "Ki|Mi|Gi"),
    "memory below zero": ({"resources": {"memory": "-1Gi"}}, "spec.resources.memory", "Ki|Mi|Gi"),
    "resource name": ({"resources": {"gpu": {"resourceName": "gpu"}}}, "spec.resources.gpu.resourceName", "/"),
    "host path volume": (
        {"podTemplate": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}},
        "spec.podTemplate.volumes[0].hostPath",
        "unknown field",
    ),
    "two sources": (
        {"podTemplate": {"volumes": [{"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}}]}},
        "spec.podTemplate.volumes[0]",
        "exactly one of emptyDir, configMap, secret",
    ),
    "no source": ({"podTemplate": {"volumes": [{"name": "v"}]}}, "spec.podTemplate.volumes[0]", "exactly one of"),
    "volume of ours": (
        {"podTemplate": {"volumes": [{"name": "shm", "emptyDir": {}}]}},
        "spec.podTemplate.volumes[0]",
        "belong to the operator",
    ),
    "label of ours": (
        {"podTemplate": {"labels": {"serving.triton-vllm.dev/llmdeployment": "other"}}},
        "spec.podTemplate.labels",
        "belong to the operator",
    ),
    "annotation of ours": (
        {"podTemplate": {"annotations": {"serving.triton-vllm.dev/config-hash": "0"}}},
        "spec.podTemplate.annotations",
        "belong to the operator",
    ),
    "service type": ({"service": {"type": "ExternalName"}}, "spec.service.type", '"LoadBalancer"'),
    "budget -1": (
        {"service": {"disruptionBudget": {"maxUnavailable": -1}}},
        "spec.service.disruptionBudget.maxUnavailable",
        "or equal to 0",
    ),
}
BAD_NAMES = ("1model", "my.model", "a" * 55)


def create(plane: ControlPlane, obj: dict[str, Any]) -> tuple[int, str]:
    """HTTP status and message of the API server for a new object, which is not stored."""
    path = f"{kinds.LLM_DEPLOYMENT.path('default')}?fieldValidation=Strict&dryRun=All"
    code, answer = plane.request("POST", path, obj)
    return code, str(answer.get("message", ""))


@pytest.mark.parametrize("case", BAD)
def test_a_bad_spec_is_rejected_with_its_field_and_what_is_allowed(plane: ControlPlane, case: str) -> None:
    spec, field, allowed = BAD[case]
    code, message = create(plane, llm("bad", **spec))
    assert code in (400, 422)
    assert field in message
    assert allowed in message


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_no_service_can_have_is_rejected(plane: ControlPlane, name: str) -> None:
    code, message = create(plane, llm(name))
    assert (code, "metadata.name becomes the name of a Service" in message) == (422, True)


def test_kubectl_shows_the_message_of_the_api_server(plane: ControlPlane, namespace: str) -> None:
    spec, field, allowed = BAD["memory 1.5"]
    with pytest.raises(subprocess.CalledProcessError) as rejected:
        plane.kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(llm("bad", **spec)))
    assert field in rejected.value.stderr
    assert allowed in rejected.value.stderr


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_is_accepted(plane: ControlPlane, sample: Path) -> None:
    found = [one for one in yaml.safe_load_all(sample.read_text()) if one["kind"] == "LLMDeployment"]
    assert [create(plane, one) for one in found] == [(201, "")] * len(found)


def test_the_longest_name_is_accepted(plane: ControlPlane) -> None:
    assert create(plane, llm("a" * 54)) == (201, "")


SAMPLING = {"defaults": {"maxTokens": 9}, "profiles": [{"name": "a", "minTokens": 9}, {"name": "b", "minTokens": 0}]}


def test_the_limits_of_a_length_may_come_from_the_profile_and_the_defaults(plane: ControlPlane) -> None:
    assert create(plane, llm("lengths", sampling=SAMPLING)) == (201, "")


def test_kubectl_explains_the_fields_of_requests(plane: ControlPlane) -> None:
    output = " ".join(plane.kubectl("explain", "llmdeployments.spec.server.openAI").split())  # kubectl breaks lines
    for words in ("apiKeySecretRef", "bearer token", "enabled", "port 9000", "extraArgs", "tool_call_parser"):
        assert words in output
    output = " ".join(plane.kubectl("explain", "llmdeployments.spec.sampling.defaults.temperature").split())
    assert "0 is greedy: always the most likely token." in output


def test_the_crd_is_established_without_complaint(plane: ControlPlane) -> None:
    crd = json.loads(plane.kubectl("get", "crd", "llmdeployments.serving.triton-vllm.dev", "-o", "json"))
    conditions = {c["type"]: c["status"] for c in crd["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert conditions["NamesAccepted"] == "True"
    assert conditions.get("NonStructuralSchema", "False") == "False"
