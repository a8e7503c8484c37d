"""What one custom resource becomes. The golden files show it whole; these tests say why it must be so."""

import json
import re
from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.desired.build import DEFAULTS, GOLDEN, IMAGE, STOCK, built, llm
from tests.desired.samples import SAMPLES
from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.autoconfig import AutoConfig
from triton_vllm_operator.desired import pod, repository
from triton_vllm_operator.desired.children import CHILD_KINDS, CHILDREN, OWNED_KINDS, WATCHED_KINDS, children
from triton_vllm_operator.desired.engine_args import engine_args, model_json
from triton_vllm_operator.desired.model_config import config_pbtxt, messages
from triton_vllm_operator.desired.services import endpoints

SHORTEST = SAMPLES["shortest"]


def child(kind: str, spec: dict[str, Any], name: str = "llama") -> dict[str, Any]:
    return next(o for o in children(llm(spec), IMAGE, DEFAULTS) if o["kind"] == kind and o["metadata"]["name"] == name)


def template(spec: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = child("Deployment", spec)["spec"]["template"]
    return found


def server(spec: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = template(spec)["spec"]["containers"][0]
    return found


@pytest.mark.parametrize("name", SAMPLES)
def test_children_equal_the_golden_file(name: str) -> None:
    assert built(name) == (GOLDEN / f"{name}.yaml").read_text(), "see tests/desired/build.py"


def test_what_pods_mount_is_applied_before_the_pods() -> None:
    assert [o["kind"] for o in children(llm(SHORTEST), IMAGE, DEFAULTS)] == [
        "ConfigMap", "Service", "Service", "PodDisruptionBudget", "Deployment",
    ]  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_every_row_of_the_registry_builds_an_object_of_its_kind(name: str) -> None:
    parsed = llm(SAMPLES[name])
    rows = [row for row in CHILDREN if row.when(parsed)]
    made = children(parsed, IMAGE, DEFAULTS)
    assert [(o["apiVersion"], o["kind"]) for o in made] == [(row.kind.api_version, row.kind.kind) for row in rows]


def test_each_kind_is_watched_once_with_the_pods() -> None:
    assert len(CHILD_KINDS) == len(set(CHILD_KINDS))
    assert {row.kind for row in CHILDREN} == set(CHILD_KINDS)
    assert (*CHILD_KINDS, kinds.REVISION) == OWNED_KINDS
    assert (*OWNED_KINDS, kinds.POD) == WATCHED_KINDS


AUTOSCALED = {"autoscaling": {"minReplicas": 2, "maxReplicas": 5, "target": {"inFlightPerReplica": 8}}}


@pytest.mark.parametrize(
    ("spec", "scaled", "expected"),
    [
        ({}, 4, 3),
        (AUTOSCALED, None, 3),
        (AUTOSCALED, 4, 4),
        (AUTOSCALED, 1, 2),
        (AUTOSCALED, 9, 5),
        ({**AUTOSCALED, "replicas": 0}, None, 2),
    ],
)
def test_the_number_of_pods_is_that_of_the_spec_or_of_autoscaling(
    spec: dict[str, object], scaled: int | None, expected: int
) -> None:
    parsed = llm({**SHORTEST, "replicas": 3, **spec})
    parsed = parsed if scaled is None else parsed.with_scaled(scaled)
    made = next(one for one in children(parsed, IMAGE, DEFAULTS) if one["kind"] == "Deployment")
    assert parsed.replicas == made["spec"]["replicas"] == expected


def test_every_child_is_owned_and_labelled() -> None:
    for obj in children(llm(SAMPLES["every-field"]), IMAGE, DEFAULTS):
        [owner] = obj["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["controller"]) == ("LLMDeployment", "llama", True)
        assert names.labels("llama").items() <= obj["metadata"]["labels"].items()


def test_config_pbtxt_is_the_minimal_contract() -> None:
    text = config_pbtxt({"REPORT_CUSTOM_METRICS": "true"})
    config = text_format.Parse(text, messages().ModelConfig())
    [group] = config.instance_group
    assert (config.backend, group.count, group.kind) == ("vllm", 1, messages().ModelInstanceGroup.KIND_MODEL)
    assert config.parameters["REPORT_CUSTOM_METRICS"].string_value == "true"
    assert {field.name for field, _ in config.ListFields()} == {"backend", "instance_group", "parameters"}


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_no_text_can_leave_its_place_in_config_pbtxt(parameters: dict[str, str]) -> None:
    config = text_format.Parse(config_pbtxt(parameters), messages().ModelConfig())
    assert {k: v.string_value for k, v in config.parameters.items()} == parameters


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1), json_values, max_size=5))
def test_no_text_can_leave_its_place_in_model_json(extra: dict[str, Any]) -> None:
    found = json.loads(model_json(llm(SHORTEST | {"engine": {"extraArgs": extra}})))
    typed = engine_args(llm(SHORTEST))
    assert found == extra | typed


def test_every_engine_field_reaches_the_engine_under_vllms_name() -> None:
    args = engine_args(llm(SAMPLES["every-field"]))
    wanted = SAMPLES["every-field"]["engine"]
    for name, value in wanted.items():
        if name != "extraArgs":
            assert args[re.sub("[A-Z]", lambda m: "_" + m.group().lower(), name)] == value
    assert args["enable_log_requests"] is True
    assert args["revision"] == SAMPLES["every-field"]["model"]["revision"]


def test_absent_engine_fields_are_left_to_vllm() -> None:
    assert engine_args(llm(SHORTEST)) == {
        "model": "meta-llama/Llama-2-7b-chat-hf",
        "served_model_name": "llama",
        "gpu_memory_utilization": 0.9,
        "tensor_parallel_size": 1,
        "pipeline_parallel_size": 1,
    }


def test_what_was_chosen_is_written_out_and_recorded_without_touching_what_the_spec_says() -> None:
    chosen = AutoConfig(basis="0" * 16, tensor_parallel_size=4, max_model_len=8192, max_num_seqs=256)
    made = llm({"model": {"uri": "hf://org/model"}, "engine": {"maxModelLen": 1024}}).with_chosen(chosen)
    written = engine_args(made)
    assert (written["tensor_parallel_size"], written["max_model_len"], written["max_num_seqs"]) == (4, 1024, 256)
    assert made.gpus_per_pod == 4
    [deployment] = [obj for obj in children(made, IMAGE, DEFAULTS) if obj["kind"] == "Deployment"]
    assert json.loads(deployment["metadata"]["annotations"][names.CHOSEN_ANNOTATION]) == chosen.to_json()
    assert names.CHOSEN_ANNOTATION not in deployment["spec"]["template"]["metadata"]["annotations"]


def test_a_record_alone_restarts_no_pod() -> None:
    plain = llm(SHORTEST)
    recorded = plain.with_chosen(AutoConfig(basis="0" * 16))
    templates = [
        next(obj for obj in children(one, IMAGE, DEFAULTS) if obj["kind"] == "Deployment")["spec"]
        for one in (plain, recorded)
    ]
    assert templates[0] == templates[1]


def test_a_revision_in_the_uri_is_pinned() -> None:
    args = engine_args(llm({"model": {"uri": "hf://org/repo@v1.0"}}))
    assert (args["model"], args["revision"]) == ("org/repo", "v1.0")


def test_gpus_are_tensor_times_pipeline_parallel_size() -> None:
    limits = server(SAMPLES["claim"])["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "4"


def test_shared_memory_counts_in_the_memory_limit() -> None:
    spec = SHORTEST | {"resources": {"memory": "6Gi", "sharedMemory": "512Mi"}}
    assert server(spec)["resources"]["limits"]["memory"] == "6656Mi"


def test_a_claim_is_mounted_read_only_at_its_path() -> None:
    [mount] = [m for m in server(SAMPLES["claim"])["volumeMounts"] if m["name"] == "model"]
    assert mount == {"name": "model", "mountPath": "/model", "readOnly": True, "subPath": "llama/7b"}
    assert engine_args(llm(SAMPLES["claim"]))["model"] == "/model"


def test_the_repository_lies_where_triton_looks_and_holds_nothing_else() -> None:
    mounts = [m for m in server(SAMPLES["claim"])["volumeMounts"] if m["name"] == "repository"]
    assert {m["subPath"]: m["mountPath"] for m in mounts} == {
        "config.pbtxt": "/models/Llama.7B/config.pbtxt",
        "model.json": "/models/Llama.7B/1/model.json",
    }


def files(spec: dict[str, Any]) -> dict[str, Any]:
    """JSON files of the repository beside the engine's."""
    data = next(o for o in children(llm(spec), IMAGE, DEFAULTS) if o["kind"] == "ConfigMap")["data"]
    return {name: json.loads(text) for name, text in data.items() if name not in ("config.pbtxt", "model.json")}


def test_what_requests_get_is_written_by_vllms_names() -> None:
    found = files(SAMPLES["every-field"])
    assert set(found) == {"sampling.json", "openai.json", "limits.json", "startup_checks.json"}
    assert found["sampling.json"]["profiles"] == {"exact": {"temperature": 0.0}, "brief": {"max_tokens": 16}}
    assert found["sampling.json"]["defaults"]["repetition_penalty"] == 1.1
    assert found["sampling.json"]["defaults"]["stop"] == ["END", 'a "quote"']
    assert found["openai.json"] == {"enable_auto_tool_choice": True, "tool_call_parser": "hermes"}
    assert found["limits.json"]["request_timeout_seconds"] == 90
    assert found["limits.json"]["max_images"] == 0
    assert found["startup_checks.json"] == {
        "sum": {"prompt": "2+2=", "max_tokens": 2, "pattern": "4", "max_seconds": 5},
        "speed": {"prompt": "Once upon a time", "max_tokens": 16, "min_tokens_per_second": 20.5},
    }
    mounts = {m.get("subPath"): m["mountPath"] for m in server(SAMPLES["every-field"])["volumeMounts"]}
    assert {name: mounts[name] for name in found} == {name: f"/models/llama/1/{name}" for name in found}


def test_what_is_not_said_makes_no_file() -> None:
    off = {"sampling": {"defaults": {}, "profiles": []}, "server": {"openAI": {"enabled": False}, "limits": {}}}
    assert files(SHORTEST) == files(SHORTEST | off) == {}
    assert template(SHORTEST) == template(SHORTEST | off)


def test_openai_is_published_only_where_it_is_on() -> None:
    on = SHORTEST | {"server": {"openAI": {"enabled": True}}}
    assert files(on) == {"openai.json": {}}
    [port] = [port for port in child("Service", on)["spec"]["ports"] if port["name"] == "openai"]
    assert (port["port"], port["targetPort"]) == (9000, "health")
    assert endpoints(llm(on)).open_ai == "http://llama.team.svc:9000/v1"
    assert endpoints(llm(SHORTEST)).open_ai is None


def test_hosts_of_media_are_an_argument_of_the_engine() -> None:
    given = SHORTEST | {"server": {"openAI": {"mediaDomains": ["images.example.com"]}}}
    assert engine_args(llm(given))["allowed_media_domains"] == ["images.example.com"]
    assert "allowed_media_domains" not in engine_args(llm(SHORTEST))


def test_aliases_are_further_served_names() -> None:
    given = SHORTEST | {"server": {"openAI": {"modelAliases": ["org/llama"]}}}
    assert engine_args(llm(given))["served_model_name"] == ["llama", "org/llama"]
    assert engine_args(llm(SHORTEST))["served_model_name"] == "llama"


@pytest.mark.parametrize("entry", ["10.0.0.1/8", "example.com:80", "a..b", "999.1.1.1/8"])
def test_what_is_not_a_host_of_media_is_refused(entry: str) -> None:
    spec = SHORTEST | {"server": {"openAI": {"mediaDomains": [entry]}}}
    with pytest.raises(ValidationError, match="mediaDomains"):
        llm(spec)


def test_the_key_of_openai_comes_from_the_users_secret_and_only_where_it_is_asked_for() -> None:
    on = SAMPLES["every-field"]
    [entry] = [e for e in server(on)["env"] if e["name"] == "VLLM_API_KEY"]
    assert entry["valueFrom"] == {"secretKeyRef": {"name": "clients", "key": "api-key"}}
    off = on | {"server": on["server"] | {"openAI": {**on["server"]["openAI"], "enabled": False}}}
    assert "VLLM_API_KEY" not in [e["name"] for e in server(off)["env"]]


@pytest.mark.parametrize(
    "change",
    [
        {"sampling": {"defaults": {"temperature": 0.5}}},
        {"sampling": {"profiles": [{"name": "exact", "temperature": 0}]}},
        {"server": {"openAI": {"enabled": True}}},
        {"server": {"requestTimeoutSeconds": 5}},
        {"server": {"startupChecks": [{"name": "a", "prompt": "?", "pattern": "x"}]}},
        {"engine": {"maxModelLen": 100}},
        {"model": {"uri": "hf://a/b"}},
        {"model": SHORTEST["model"] | {"name": "x"}},
    ],
)
def test_a_changed_configuration_rolls_the_pods(change: dict[str, Any]) -> None:
    before, after = template(SHORTEST), template(SHORTEST | change)
    key = names.CONFIG_HASH_ANNOTATION
    assert before["metadata"]["annotations"][key] != after["metadata"]["annotations"][key]


def test_scaling_does_not_roll_the_pods() -> None:
    assert template(SHORTEST) == template(SHORTEST | {"replicas": 5})


def test_the_users_environment_wins_and_keeps_its_order() -> None:
    env = server(SAMPLES["every-field"])["env"]
    assert env[-2:] == SAMPLES["every-field"]["podTemplate"]["env"]
    assert len({e["name"] for e in env}) == len(env)


def test_the_token_comes_from_the_users_secret_and_is_nowhere_else() -> None:
    [entry] = [e for e in server(SAMPLES["every-field"])["env"] if e["name"] == "HF_TOKEN"]
    assert entry["valueFrom"] == {"secretKeyRef": {"name": "huggingface", "key": "hf"}}


def test_the_grace_period_covers_endpoint_removal_drain_and_stop() -> None:
    spec = SHORTEST | {"server": {"drainSeconds": 100}}
    assert template(spec)["spec"]["terminationGracePeriodSeconds"] == 5 + 100 + 15
    assert "--exit-timeout-secs=100" in server(spec)["args"]


def test_nothing_but_the_startup_probe_judges_a_loading_pod() -> None:
    container = server(SHORTEST)
    probe = container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 30 * 60
    assert {"readinessProbe", "livenessProbe"} <= container.keys()


def test_readiness_means_tokens_where_the_image_can_tell() -> None:
    wanted = llm(SHORTEST)
    ours, stock = (pod.pod_spec(wanted, image, DEFAULTS, "x")["containers"][0] for image in (IMAGE, STOCK))
    assert ours["readinessProbe"]["httpGet"] == {"path": "/health/ready", "port": "health"}
    assert {"name": "health", "containerPort": 9000, "protocol": "TCP"} in ours["ports"]
    assert stock["readinessProbe"]["httpGet"] == {"path": "/v2/models/llama/ready", "port": "http"}
    assert "health" not in [port["name"] for port in stock["ports"]]
    for probe in (ours["readinessProbe"], stock["readinessProbe"]):
        assert probe["periodSeconds"] * probe["failureThreshold"] <= 10


def test_nvidias_image_gets_a_process_1_that_obeys_sigterm() -> None:
    wanted = llm(SHORTEST)
    stock = pod.pod_spec(wanted, STOCK, DEFAULTS, "x")
    assert (stock["shareProcessNamespace"], stock["containers"][0]["command"]) == (True, ["tritonserver"])
    assert "shareProcessNamespace" not in pod.pod_spec(wanted, IMAGE, DEFAULTS, "x")


def test_pods_never_get_a_service_account_token() -> None:
    assert template(SAMPLES["every-field"])["spec"]["automountServiceAccountToken"] is False


def test_pods_tolerate_the_taint_of_their_gpus() -> None:
    tolerations = template(SAMPLES["every-field"])["spec"]["tolerations"]
    assert tolerations == [
        {"key": "nvidia.com/gpu", "operator": "Exists"},
        *SAMPLES["every-field"]["scheduling"]["tolerations"],
    ]


def test_the_users_pod_labels_do_not_replace_the_operators() -> None:
    labels = template(SAMPLES["every-field"])["metadata"]["labels"]
    assert labels["team"] == "search"
    assert names.selector("llama").items() <= labels.items()


def test_ports_that_are_off_are_not_published() -> None:
    assert [p["name"] for p in child("Service", SAMPLES["every-field"])["spec"]["ports"]] == ["http", "openai"]
    assert [p["name"] for p in child("Service", SHORTEST)["spec"]["ports"]] == ["http", "grpc", "metrics"]


def test_no_disruption_budget_when_it_is_off() -> None:
    spec = SHORTEST | {"service": {"disruptionBudget": {"enabled": False}}}
    assert not [o for o in children(llm(spec), IMAGE, DEFAULTS) if o["kind"] == "PodDisruptionBudget"]


def test_child_names_fit_the_longest_name() -> None:
    name = "a" * names.NAME_MAX_LENGTH
    for obj in children(llm(SHORTEST, name), IMAGE, DEFAULTS):
        assert len(obj["metadata"]["name"]) <= 63


def test_the_hash_of_a_child_changes_with_the_child_only() -> None:
    key = names.APPLIED_HASH_ANNOTATION
    one, same = child("Service", SHORTEST), child("Service", SHORTEST | {"replicas": 2})
    other = child("Service", SHORTEST | {"service": {"type": "NodePort"}})
    assert one["metadata"]["annotations"][key] == same["metadata"]["annotations"][key]
    assert one["metadata"]["annotations"][key] != other["metadata"]["annotations"][key]


def test_the_name_of_the_repository_follows_its_content() -> None:
    wanted = llm(SHORTEST)
    assert repository.config_map(wanted)["metadata"]["name"] == f"llama-{repository.content_hash(wanted)}"
    assert repository.config_map(wanted)["immutable"] is True


@pytest.mark.parametrize("name", SAMPLES)
def test_a_rollout_fails_no_earlier_than_the_startup_probe(name: str) -> None:
    [deployment] = [child for child in children(llm(SAMPLES[name]), IMAGE, DEFAULTS) if child["kind"] == "Deployment"]
    probe = deployment["spec"]["template"]["spec"]["containers"][0]["startupProbe"]
    budget = probe["periodSeconds"] * probe["failureThreshold"]
    slack = deployment["spec"]["progressDeadlineSeconds"] - budget - deployment["spec"]["minReadySeconds"]
    assert slack >= 10 * 60, "a new node and the image's pull come first"
