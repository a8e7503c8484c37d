"""Installations that platforms ask for: sub-charts, OpenShift, host network, namespaces only, monitors."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from contract import ports
from tests.chart.helm import CHART, NAMESPACE, Helm, Rendered
from triton_vllm_operator.api import names

NAMESPACED: dict[str, Any] = {
    "namespaces": ["team-a"],
    "rbac": {"clusterRole": False},
    "webhook": {"enabled": False},
    "crds": {"enabled": False},
}
CLUSTER_WIDE = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "ValidatingWebhookConfiguration"}


def test_a_parent_chart_may_switch_it_on_with_a_condition(helm: Helm) -> None:
    assert helm.template({"enabled": True}).objects == helm.template().objects


def test_a_chart_beside_it_cannot_replace_its_named_templates(helm: Helm, tmp_path: Path) -> None:
    """All charts of a parent share the names of templates, and one that is switched off defines its own too."""
    beside = tmp_path / "charts" / "beside"
    (beside / "templates").mkdir(parents=True)
    versions = "apiVersion: v2\nversion: 1.0.0\nname: "
    (beside / "Chart.yaml").write_text(f"{versions}beside")
    generic = ("name", "fullname", "labels", "selector", "image", "rules", "childRules", "validate", "webhook", "chart")
    taken = [f'{{{{- define "operator.{name}" }}}}taken{{{{- end }}}}' for name in generic]
    (beside / "templates" / "_helpers.tpl").write_text("\n".join(taken))
    shutil.copytree(CHART, tmp_path / "charts" / CHART.name)
    ours = f"{{name: {CHART.name}, version: {yaml.safe_load((CHART / 'Chart.yaml').read_text())['version']}}}"
    parts = f"dependencies: [{{name: beside, version: 1.0.0, condition: beside.enabled}}, {ours}]"
    (tmp_path / "Chart.yaml").write_text(f"{versions}parent\n{parts}")
    done = helm.run("template", "models", str(tmp_path), "--set=beside.enabled=false", f"--namespace={NAMESPACE}")
    assert done.returncode == 0, done.stderr
    alone = helm.run("template", "models", str(CHART), f"--namespace={NAMESPACE}")
    found = [[obj for obj in yaml.safe_load_all(one.stdout) if obj] for one in (done, alone)]
    assert found[0] == found[1]


def test_every_named_template_has_the_name_of_the_chart() -> None:
    defined = [re.findall(r'define "([^"]+)"', file.read_text()) for file in (CHART / "templates").iterdir()]
    assert [name for names_ in defined for name in names_ if not name.startswith(f"{CHART.name}.")] == []


class NoDuplicates(yaml.SafeLoader):
    """YAML as Flux's post-renderer reads it."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"{node.start_mark}: {[key for key in keys if keys.count(key) > 1]}"
        return super().construct_mapping(node, deep)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"commonLabels": {"team": "a"}, "podLabels": {"team": "b"}},
        {
            "commonLabels": {"team": "a"},
            "metrics": {
                "serviceMonitor": {"enabled": True, "labels": {"team": "b"}},
                "podMonitor": {"enabled": True, "labels": {"team": "b"}},
            },
        },
    ],
)
def test_no_key_is_rendered_twice_and_the_nearer_label_counts(helm: Helm, values: dict[str, Any]) -> None:
    done = helm.run("template", "a", str(CHART), f"--namespace={NAMESPACE}", values=values)
    objects = [obj for obj in yaml.load_all(done.stdout, NoDuplicates) if obj]
    found = {obj["kind"]: obj["metadata"]["labels"].get("team") for obj in objects if obj["kind"].endswith("Monitor")}
    assert set(found.values()) <= {"b"}
    pod = next(obj["spec"]["template"] for obj in objects if obj["kind"] == "Deployment")
    assert pod["metadata"]["labels"].get("team") == values.get("podLabels", values.get("commonLabels", {})).get("team")


@pytest.mark.parametrize(
    "value", ["commonLabels", "podLabels", "metrics.serviceMonitor.labels", "metrics.podMonitor.labels"]
)
def test_a_label_that_the_chart_sets_itself_is_rejected_by_its_name(helm: Helm, value: str) -> None:
    values: dict[str, Any] = {"app.kubernetes.io/instance": "mine"}
    for key in reversed(value.split(".")):
        values = {key: values}
    said = helm.refusal(values)
    assert f"{value} has the label app.kubernetes.io/instance, which the chart sets itself: remove it." in said


def test_a_version_with_a_digest_makes_valid_labels(helm: Helm, tmp_path: Path) -> None:
    """Flux adds +DIGEST to the version of a chart, and an image's version may have one too."""
    copy = tmp_path / CHART.name
    shutil.copytree(CHART, copy)
    about = yaml.safe_load((copy / "Chart.yaml").read_text())
    about |= {"version": f"{about['version']}+{'a' * 40}.1", "appVersion": f"{about['appVersion']}+b"}
    (copy / "Chart.yaml").write_text(yaml.safe_dump(about))
    done = helm.run("template", "a", str(copy), f"--namespace={NAMESPACE}")
    objects = [obj for obj in yaml.safe_load_all(done.stdout) if obj]
    labels = [value for obj in objects for value in (obj["metadata"].get("labels") or {}).values()]
    assert any(value.endswith("_b") for value in labels)
    for value in labels:
        assert len(value) <= 63
        assert re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?", value), value


def test_on_openshift_dns_is_reached_at_the_port_of_its_pods(helm: Helm) -> None:
    def dns(*options: str) -> list[set[int]]:
        values = {"networkPolicy": {"enabled": True, "models": {"namespaces": ["a"]}}}
        rules = [policy["spec"]["egress"][0] for policy in helm.template(values, *options).of("NetworkPolicy")]
        return [{port["port"] for port in rule["ports"]} for rule in rules]

    assert dns() == [{53}, {53}]
    assert dns("--api-versions=security.openshift.io/v1") == [{53, 5353}, {53, 5353}]


def test_pull_secrets_of_a_parent_chart_are_added_once_in_either_form(helm: Helm) -> None:
    values = {"imagePullSecrets": [{"name": "own"}], "global": {"imagePullSecrets": ["text", {"name": "own"}]}}
    rendered = helm.template(values)
    for pod in (rendered.pod["spec"], rendered.one("Pod")["spec"]):
        assert pod["imagePullSecrets"] == [{"name": "own"}, {"name": "text"}]
    assert "imagePullSecrets" not in helm.template({"global": {}}).pod["spec"]


def test_a_namespaced_installation_has_nothing_outside_of_namespaces(helm: Helm) -> None:
    rendered = helm.template(NAMESPACED)
    assert not CLUSTER_WIDE & {obj["kind"] for obj in rendered.objects}
    assert {role["metadata"]["namespace"] for role in rendered.of("Role")} == {"team-a", NAMESPACE}


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"namespaces": []}, "list the namespaces"),
        ({"webhook": {"enabled": True}}, "set webhook.enabled=false"),
        ({"crds": {"enabled": True}}, "set crds.enabled=false"),
        ({"metrics": {"service": False, "serviceMonitor": {"enabled": True}}}, "set metrics.service=true"),
        ({"webhook": {"enabled": True, "port": 8080}, "rbac": {}}, "change one of them"),
    ],
)
def test_values_that_contradict_each_other_are_rejected_with_what_to_set(
    helm: Helm, change: dict[str, Any], advice: str
) -> None:
    assert advice in helm.refusal({**NAMESPACED, **change})


def test_releases_of_one_name_in_two_namespaces_share_no_object(helm: Helm) -> None:
    def outside(namespace: str) -> set[tuple[str, str]]:
        values = {"namespaces": [f"of-{namespace}"], "crds": {"enabled": False}}
        objects = helm.template(values, namespace=namespace).objects
        return {(obj["kind"], obj["metadata"]["name"]) for obj in objects if obj["kind"] in CLUSTER_WIDE}

    assert len(outside("a")) == 5
    assert outside("a").isdisjoint(outside("b"))


def test_on_openshift_the_user_and_group_are_left_to_its_scc(helm: Helm) -> None:
    rendered = helm.template({}, "--api-versions=security.openshift.io/v1")
    for pod in (rendered.pod["spec"], rendered.one("Pod")["spec"]):
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(pod["securityContext"])
        assert pod["securityContext"]["runAsNonRoot"] is True


def test_in_the_host_network_names_of_services_are_still_found(helm: Helm) -> None:
    pod = helm.template({"hostNetwork": True}).pod["spec"]
    assert (pod["hostNetwork"], pod["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")
    assert not {"hostNetwork", "dnsPolicy"} & set(helm.template().pod["spec"])


def test_users_with_the_clusters_roles_can_work_with_llmdeployments(helm: Helm) -> None:
    def verbs(role: str) -> set[str]:
        label = f"rbac.authorization.k8s.io/aggregate-to-{role}"
        roles = [one for one in helm.template().of("ClusterRole") if one["metadata"]["labels"].get(label) == "true"]
        rules = [rule for one in roles for rule in one["rules"] if names.PLURAL in rule["resources"]]
        return {verb for rule in rules for verb in rule["verbs"]}

    assert verbs("view") == {"get", "list", "watch"}
    assert (
        verbs("edit") == verbs("admin") == verbs("view") | {"create", "update", "patch", "delete", "deletecollection"}
    )


def test_the_network_policy_names_ports_that_the_pods_have(helm: Helm) -> None:
    rendered = helm.template({"networkPolicy": {"enabled": True}})
    policy = rendered.one("NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= rendered.pod["metadata"]["labels"].items()
    opened = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    assert opened == {port["name"] for port in rendered.container["ports"]}
    (models,) = [rule for rule in policy["egress"] if "to" in rule]
    (peer,) = models["to"]
    assert peer["podSelector"]["matchLabels"].items() <= names.labels("a").items()
    asked = {ports.HTTP, ports.METRICS, ports.HEALTH}  # for a token, the metrics, and the engine's report
    assert {port["port"] for port in models["ports"]} == asked


def test_pods_name_no_user_where_the_namespace_assigns_it(helm: Helm) -> None:
    def assigned(user: str, *options: str) -> bool:
        return "--assigned-user" in helm.template({"serving": {"user": user}}, *options).container["args"]

    openshift = "--api-versions=security.openshift.io/v1"
    assert [assigned("", openshift), assigned(""), assigned("assigned")] == [True, False, True]
    assert not assigned("fixed", openshift)


def test_the_policy_of_model_pods_lets_out_to_dns_and_the_internet_only(helm: Helm) -> None:
    extra = {"to": [{"podSelector": {}}], "ports": [{"port": 8080, "protocol": "TCP"}]}
    rendered = helm.template({"networkPolicy": {"models": {"namespaces": ["a", "b"], "egress": [extra]}}})
    policies = rendered.of("NetworkPolicy")
    assert [one["metadata"]["namespace"] for one in policies] == ["a", "b"]
    policy = policies[0]["spec"]
    for labels in (names.labels("x"), names.inspection_labels("x", "y")):
        assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == {8000, 8001, 8002, 9000}
    dns, internet, further = policy["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert further == extra
    v4, v6 = (peer["ipBlock"] for peer in internet["to"])
    excepted = [ipaddress.ip_network(each) for each in v4["except"]]
    for inner in ("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "224.0.0.1"):
        assert any(ipaddress.ip_address(inner) in network for network in excepted)
    assert v6["cidr"] == "2000::/3"


def test_the_monitors_select_the_operators_service_and_the_serving_pods(helm: Helm) -> None:
    rendered = helm.template({"metrics": {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}})
    selected = rendered.one("ServiceMonitor")["spec"]["selector"]["matchLabels"].items()
    (found,) = [one for one in rendered.of("Service") if selected <= one["metadata"]["labels"].items()]
    assert found["spec"]["ports"][0]["name"] == rendered.one("ServiceMonitor")["spec"]["endpoints"][0]["port"]
    models = rendered.one("PodMonitor")["spec"]["selector"]
    assert models["matchLabels"].items() <= names.labels("a").items()
    assert {one["key"] for one in models["matchExpressions"]} <= set(names.labels("a"))
    assert not {one["key"] for one in models["matchExpressions"]} & set(names.inspection_labels("a", "x"))


class Answers(BaseHTTPRequestHandler):
    """The operator's readiness and a model: its answer is the class attribute."""

    text = "tokens"

    def do_GET(self) -> None:
        self._answer(b"ok")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert body["text_input"]
        self._answer(json.dumps({"text_output": self.text}).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200 if self.path in ("/readyz", "/generate") else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Do not log."""


@pytest.fixture
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def run_helm_test(rendered: Rendered, ready: str, generate: str) -> subprocess.CompletedProcess[str]:
    """The program of the test pod as `helm test` runs it."""
    (container,) = rendered.one("Pod")["spec"]["containers"]
    (program,) = container["args"]
    environment = {**os.environ, "READY_URL": ready, "GENERATE_URL": generate}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_helm_test_asks_for_readiness_and_a_token(helm: Helm, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = helm.template({"test": {"generateURL": "http://qwen:8000/v2/models/qwen/generate"}})
    done = run_helm_test(rendered, f"{address}/readyz", f"{address}/generate")
    assert done.returncode == 0, done.stderr
    assert "'tokens'" in done.stdout
    assert run_helm_test(rendered, f"{address}/healthz", "").returncode != 0, "the operator is not ready"
    monkeypatch.setattr(Answers, "text", "")
    empty = run_helm_test(rendered, "", f"{address}/generate")
    assert empty.returncode != 0
    assert "answered without text" in empty.stderr


def test_helm_test_asks_the_operators_own_service(helm: Helm) -> None:
    rendered = helm.template({"metrics": {"port": 8088}})
    (container,) = rendered.one("Pod")["spec"]["containers"]
    url = next(one["value"] for one in container["env"] if one["name"] == "READY_URL")
    (service,) = [one for one in rendered.of("Service") if one["metadata"]["name"].endswith("-metrics")]
    assert url == f"http://{service['metadata']['name']}.{NAMESPACE}:{service['spec']['ports'][0]['port']}/readyz"
    assert helm.template({"metrics": {"service": False}}).of("Pod") == []


def test_the_names_can_be_chosen(helm: Helm) -> None:
    assert helm.template({"fullnameOverride": "llm"}).one("Deployment")["metadata"]["name"] == "llm"
    named = helm.template({"nameOverride": "models"})
    assert named.one("Deployment")["metadata"]["name"] == "triton-vllm-operator-models"
    done = helm.run("template", "x" * 53, str(CHART), "--set=nameOverride=" + "y" * 53, "--namespace=n")
    assert all(
        len(obj["metadata"]["name"]) <= 63
        for obj in yaml.safe_load_all(done.stdout)
        if obj and obj["kind"] == "Service"
    )
