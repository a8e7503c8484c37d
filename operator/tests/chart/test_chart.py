"""What the chart installs, for the values that users set."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml

from tests.chart.helm import CHART, NAMESPACE, Helm, Rendered
from triton_vllm_operator.api import names
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.controller.settings import Settings
from triton_vllm_operator.desired.children import CHILD_KINDS
from triton_vllm_operator.desired.services import service
from triton_vllm_operator.webhook.handler import ANSWER_S, PATH

CRD = CHART.parents[1] / "crds" / "llmdeployments.yaml"
EVERY_VALUE: dict[str, Any] = {
    "replicas": 2,
    "image": {"repository": "registry.example/operator", "tag": "1.2", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "pull"}],
    "global": {"imagePullSecrets": ["pull-of-parent"]},
    "serving": {
        "image": "registry.example/triton-vllm:vllm-0.32.0",
        "imagePullPolicy": "Always",
        "imagePullSecrets": ["pull-serving"],
        "env": {"HF_ENDPOINT": "http://hub.models", "ODD": 'a "b" = $c: {{d}}'},
    },
    "planning": {"enabled": False},
    "webhook": {"enabled": False, "port": 10250},
    "namespaces": ["team-a", "team-b"],
    "crds": {"annotations": {"argocd.argoproj.io/sync-wave": "-1"}},
    "serviceAccount": {"annotations": {"note": "x"}},
    "log": {"format": "text", "level": "DEBUG"},
    "resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
    "nodeSelector": {"pool": "system"},
    "tolerations": [{"key": "system", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "priorityClassName": "system-cluster-critical",
    "podLabels": {"team": "platform"},
    "podAnnotations": {"upgraded": "once"},
    "metrics": {"service": False, "port": 8088, "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
    "rbac": {"create": True, "clusterRole": True, "aggregate": False},
    "nameOverride": "llm",
    "fullnameOverride": "llm-operator",
    "commonLabels": {"cost-center": "42"},
    "podSecurityContext": {"runAsUser": 1234},
    "securityContext": {"privileged": False},
    "extraArgs": ["--no-leader-election"],
    "extraEnv": [{"name": "NO_PROXY", "value": "10.0.0.0/8"}],
    "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ssl/own", "readOnly": True}],
    "hostNetwork": True,
    "dnsPolicy": "Default",
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
    "podDisruptionBudget": {"enabled": True, "maxUnavailable": "50%"},
    "networkPolicy": {
        "enabled": True,
        "apiServerPorts": [8443],
        "models": {"namespaces": ["a"], "internet": False, "egress": [{"ports": [{"port": 80, "protocol": "TCP"}]}]},
    },
    "services": {"ipFamilyPolicy": "PreferDualStack"},
    "test": {"generateURL": "http://qwen:8000/v2/models/qwen/generate"},
}
NEEDS: dict[str, dict[str, Any]] = {
    "rbac.create": {"rbac": {"create": False}},
    "rbac.clusterRole": {
        "rbac": {"clusterRole": False}, "namespaces": ["a"], "webhook": {"enabled": False}, "crds": {"enabled": False},
    },
    "podDisruptionBudget.maxUnavailable": {"podDisruptionBudget": {"enabled": True, "maxUnavailable": "50%"}},
    "networkPolicy.apiServerPorts": {"networkPolicy": {"enabled": True, "apiServerPorts": [8443]}},
    "networkPolicy.models.internet": {"networkPolicy": {"models": {"namespaces": ["a"], "internet": False}}},
    "networkPolicy.models.egress": {
        "networkPolicy": {"models": {"namespaces": ["a"], "egress": [{"ports": [{"port": 80}]}]}},
    },
}  # fmt: skip
"""Values that change something only together with others."""


def test_lint_has_nothing_to_say(helm: Helm) -> None:
    for values in ({}, EVERY_VALUE):
        done = helm.run("lint", "--strict", str(CHART), values=values)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_object_is_in_the_releases_namespace_or_has_none(helm: Helm) -> None:
    rendered = helm.template()
    assert sorted(obj["kind"] for obj in rendered.objects) == [
        "ClusterRole", "ClusterRole", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Deployment",
        "Pod", "Role", "RoleBinding", "Service", "Service", "ServiceAccount", "ValidatingWebhookConfiguration",
    ]  # fmt: skip
    assert {obj["metadata"].get("namespace", NAMESPACE) for obj in rendered.objects} == {NAMESPACE}


def test_every_object_carries_the_releases_labels(helm: Helm) -> None:
    wanted = {"app.kubernetes.io/name": "triton-vllm-operator", "app.kubernetes.io/managed-by": "Helm"}
    for obj in helm.template().objects:
        if obj["kind"] not in ("CustomResourceDefinition", "Pod"):
            assert wanted.items() <= obj["metadata"]["labels"].items(), obj["kind"]


def test_the_deployment_and_the_services_select_the_operators_pods(helm: Helm) -> None:
    rendered = helm.template({"podLabels": {"team": "platform"}})
    labels = rendered.pod["metadata"]["labels"]
    assert rendered.one("Deployment")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert "app.kubernetes.io/version" not in rendered.one("Deployment")["spec"]["selector"]["matchLabels"]
    for found in rendered.of("Service"):
        assert found["spec"]["selector"].items() <= labels.items()
        (port,) = found["spec"]["ports"]
        assert port["targetPort"] in {port["name"] for port in rendered.container["ports"]}


def hook(rendered: Rendered) -> dict[str, Any]:
    """The one webhook of the configuration."""
    (found,) = rendered.one("ValidatingWebhookConfiguration")["webhooks"]
    assert isinstance(found, dict)
    return found


def test_a_webhook_that_is_down_or_slow_blocks_nothing(helm: Helm) -> None:
    found = hook(helm.template())
    assert found["failurePolicy"] == "Ignore"
    assert ANSWER_S < found["timeoutSeconds"] <= 5
    assert found["sideEffects"] == "None"


def test_the_webhook_is_asked_about_specs_of_our_kind_only(helm: Helm) -> None:
    found = hook(helm.template())
    (rule,) = found["rules"]
    assert (rule["apiGroups"], rule["resources"]) == ([names.GROUP], [names.PLURAL])
    assert rule["operations"] == ["CREATE", "UPDATE"]
    assert "namespaceSelector" not in found
    (limited,) = hook(helm.template({"namespaces": ["team-a", "team-b"]}))["namespaceSelector"]["matchExpressions"]
    assert (limited["operator"], limited["values"]) == ("In", ["team-a", "team-b"])


def test_the_webhooks_certificate_is_for_the_name_by_which_it_is_called_and_left_to_the_operator(helm: Helm) -> None:
    rendered = helm.template({"webhook": {"port": 10250}})
    client = hook(rendered)["clientConfig"]
    (published,) = [one for one in rendered.of("Service") if one["metadata"]["name"] == client["service"]["name"]]
    settings = Settings.from_arguments(rendered.container["args"]).webhook
    assert settings is not None
    assert settings.hosts == (f"{client['service']['name']}.{NAMESPACE}.svc",)
    assert published["spec"]["ports"][0]["port"] == client["service"]["port"]
    assert {port["name"]: port["containerPort"] for port in rendered.container["ports"]}["webhook"] == settings.port
    assert settings.configuration == rendered.one("ValidatingWebhookConfiguration")["metadata"]["name"]
    assert client["service"]["path"] == PATH
    assert "caBundle" not in client


def test_the_operator_may_write_no_webhook_configuration_but_its_own(helm: Helm) -> None:
    def rights(values: dict[str, Any]) -> list[dict[str, Any]]:
        rules = helm.template(values).cluster_role["rules"]
        return [rule for rule in rules if rule["apiGroups"] == ["admissionregistration.k8s.io"]]

    (rule,) = rights({})
    assert (rule["resourceNames"], rule["verbs"]) == (["triton-vllm-operator"], ["get", "patch"])
    assert rights({"webhook": {"enabled": False}}) == []


def test_without_the_webhook_nothing_of_it_is_left(helm: Helm) -> None:
    rendered = helm.template({"webhook": {"enabled": False}})
    assert rendered.of("ValidatingWebhookConfiguration") == []
    assert [one["metadata"]["name"] for one in rendered.of("Service")] == ["triton-vllm-operator-metrics"]
    assert [port["name"] for port in rendered.container["ports"]] == ["http"]
    assert Settings.from_arguments(rendered.container["args"]).webhook is None


def test_two_replicas_are_one_value_away_and_kept_on_two_nodes(helm: Helm) -> None:
    assert helm.template().one("Deployment")["spec"]["replicas"] == 1
    assert "topologySpreadConstraints" not in helm.template().pod["spec"]
    two = helm.template({"replicas": 2})
    assert two.one("Deployment")["spec"]["replicas"] == 2
    (spread,) = two.pod["spec"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["labelSelector"]["matchLabels"].items() <= two.pod["metadata"]["labels"].items()


def test_the_crd_is_the_generated_one_and_is_kept(helm: Helm) -> None:
    crd = helm.template().one("CustomResourceDefinition")
    assert crd["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert crd == yaml.safe_load(CRD.read_text())


def test_the_crd_is_a_template_so_that_an_upgrade_changes_it() -> None:
    assert (CHART / "templates" / "crd.yaml").exists()
    assert not (CHART / "crds").exists()  # helm installs what is there once and never upgrades it


def test_the_crd_can_be_left_out_or_given_up(helm: Helm) -> None:
    assert helm.template({"crds": {"enabled": False}}).of("CustomResourceDefinition") == []
    given_up = helm.template({"crds": {"keep": False}}).one("CustomResourceDefinition")
    assert not given_up["metadata"].get("annotations")
    annotated = helm.template(EVERY_VALUE).one("CustomResourceDefinition")["metadata"]["annotations"]
    assert annotated == {"helm.sh/resource-policy": "keep", **EVERY_VALUE["crds"]["annotations"]}


def test_every_value_changes_something(helm: Helm) -> None:
    """Each one alone: a value that is read nowhere is a promise that is not kept."""
    default = helm.template().objects
    for name, value in EVERY_VALUE.items():
        if not isinstance(value, dict):
            assert helm.template({name: value}).objects != default, name
            continue
        for key, inner in value.items():
            given = {name: {key: inner}} if isinstance(inner, (dict, str, bool, list)) else {name: value}
            given = NEEDS.get(f"{name}.{key}", given)
            assert helm.template(given).objects != default, f"{name}.{key}"
    documented = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(documented) == set(EVERY_VALUE)


def test_a_digest_wins_over_the_tag(helm: Helm) -> None:
    digest = "sha256:" + "0" * 64
    image = {"repository": "r.example/operator", "tag": "1.2", "digest": digest}
    assert helm.template({"image": image}).container["image"] == f"r.example/operator@{digest}"
    assert helm.template({"image": {"repository": "r.example/operator"}}).container["image"].endswith(":0.1.0")


def test_the_operator_understands_its_arguments(helm: Helm) -> None:
    arguments = helm.template(EVERY_VALUE).container["args"]
    settings = Settings.from_arguments(arguments)
    assert settings.namespaces == ("team-a", "team-b")
    assert (settings.log_format, settings.log_level, settings.lease_name) == ("text", "DEBUG", "llm-operator")
    defaults = settings.pods.defaults
    assert defaults.env == EVERY_VALUE["serving"]["env"]
    assert defaults.image_pull_policy == "Always"
    assert defaults.image_pull_secrets == ("pull-serving",)
    assert settings.pods.serving_image == EVERY_VALUE["serving"]["image"]
    assert settings.pods.operator_image is None


def test_the_pods_that_read_models_have_the_operators_own_image(helm: Helm) -> None:
    values = {name: EVERY_VALUE[name] for name in ("image", "serving")}
    container = helm.template(values).container
    pods = Settings.from_arguments(container["args"]).pods
    assert (pods.operator_image, pods.operator_image_pull_policy) == (container["image"], "Always")
    assert pods.defaults.env == EVERY_VALUE["serving"]["env"]


@pytest.mark.parametrize("enabled", [True, False])
def test_pods_may_be_made_only_where_models_are_read(helm: Helm, enabled: bool) -> None:
    rendered = helm.template({"planning": {"enabled": enabled}})
    rules = [rule for role in rendered.of("ClusterRole") for rule in role["rules"] if "pods" in rule["resources"]]
    assert ("create" in {verb for rule in rules for verb in rule["verbs"]}) is enabled
    assert not {"get", "patch", "update"} & {verb for rule in rules for verb in rule["verbs"]}
    assert Settings.from_arguments(helm.template().container["args"]).namespaces == ()


def test_probes_and_metrics_ask_the_port_that_the_operator_opens(helm: Helm) -> None:
    container = helm.template().container
    port = next(port for port in container["ports"] if port["name"] == "http")
    assert port["containerPort"] == Settings.from_arguments(container["args"]).http_port
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": port["name"]}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": port["name"]}


def test_a_long_release_name_still_gives_valid_names(helm: Helm) -> None:
    for release in ("x" * 53, "llm", "my-triton-vllm-operator"):
        done = helm.run("template", release, str(CHART), "--namespace=n")
        assert done.returncode == 0, done.stderr
        names = [obj["metadata"]["name"] for obj in yaml.safe_load_all(done.stdout) if obj]
        assert all(len(name) <= 63 for name in names if "." not in name), names


def test_the_notes_give_a_model_to_serve_a_way_to_wait_and_a_request_that_fits(helm: Helm) -> None:
    notes = helm.notes()
    resource = yaml.safe_load(re.split(r"<<EOF\n|\n  EOF", notes)[1])
    resource["metadata"].update(namespace="default", uid="u")
    llm = LLMDeployment.parse(resource)
    assert f"kubectl wait --for=condition=Ready llm/{llm.name} " in notes
    url = next(word for line in notes.splitlines() for word in line.split() if word.startswith("http://"))
    published = {port["name"]: port["port"] for port in service(llm)["spec"]["ports"]}
    assert url == f"http://{service(llm)['metadata']['name']}:{published['http']}/v2/models/{llm.model_name}/generate"
    assert "text_input" in notes
    assert "helm uninstall` keeps the CRD" in notes


def test_the_notes_are_about_a_namespace_that_is_served(helm: Helm) -> None:
    notes = helm.notes({"namespaces": ["team-a", "team-b"], "crds": {"keep": False}})
    assert "serves team-a, team-b." in notes
    commands = [shlex.split(line) for line in notes.splitlines() if line.strip().startswith("kubectl ")]
    assert len(commands) == 3
    assert all("team-a" in command for command in commands)
    assert "keeps the CRD" not in notes


@pytest.mark.parametrize("values", [{}, {"namespaces": ["team-a"]}], ids=["cluster", "namespaces"])
def test_no_rule_grants_everything_or_reads_secrets(helm: Helm, values: dict[str, Any]) -> None:
    rendered = helm.template(values)
    rules = [rule for kind in ("ClusterRole", "Role") for role in rendered.of(kind) for rule in role["rules"]]
    for rule in rules:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert not {"secrets", "pods/exec", "serviceaccounts", "roles"} & set(rule["resources"])


@pytest.mark.parametrize("values", [{}, {"namespaces": ["team-a"]}], ids=["cluster", "namespaces"])
def test_the_operator_may_do_with_every_child_what_it_does(helm: Helm, values: dict[str, Any]) -> None:
    role = helm.template(values)
    found = role.of("Role" if values else "ClusterRole")
    granted = {
        (group, resource, verb)
        for rule in (rule for one in found for rule in one["rules"])
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    verbs = ("get", "list", "watch", "create", "patch", "delete")
    assert {(kind.group, kind.plural, verb) for kind in CHILD_KINDS for verb in verbs} <= granted


def test_for_some_namespaces_only_nodes_and_their_gpus_are_read_of_the_whole_cluster(helm: Helm) -> None:
    rendered = helm.template({"namespaces": ["team-a", "team-b"], "webhook": {"enabled": False}})
    assert rendered.cluster_role["rules"] == [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]},
        {"apiGroups": ["resource.k8s.io"], "resources": ["resourceslices"], "verbs": ["list"]},
    ]
    assert {role["metadata"]["namespace"] for role in rendered.of("Role")} == {"team-a", "team-b", NAMESPACE}
