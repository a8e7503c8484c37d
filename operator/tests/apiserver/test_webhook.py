"""The webhook on a real API server: what `kubectl apply` says, what passes, and that nothing depends on it."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.images import binaries
from tests.apiserver.fixtures import StartOperator
from tests.apiserver.gpus import node_there
from tests.apiserver.inspections import IMAGE, fake_result, inspection
from tests.apiserver.operators import PROVEN, OperatorProcess, eventually
from tests.apiserver.planned import LARGE
from tests.apiserver.view import View, llm
from tests.apiserver.webhooks import Answer, Installed, installed, send
from tests.builders.deployments import H100, node
from tests.catalog.samples import GOLDEN
from tests.chart.helm import Helm
from triton_vllm_operator.api import kinds

Object = dict[str, Any]
MISSPELT = {"extraArgs": {"enable_lroa": True}}
TEXT = next(
    line.strip() for line in GOLDEN.read_text(encoding="utf-8").splitlines() if "does not support enable_lroa" in line
)
MERGE = "application/merge-patch+json"


@pytest.fixture
def hook(view: View) -> Iterator[Installed]:
    with installed(view.plane, view.namespace) as made:
        yield made


@pytest.fixture
def operator(hook: Installed, start_operator: StartOperator) -> OperatorProcess:
    """A running operator that serves the webhook, known to the API server."""
    started = start_operator(*hook.options, program=PROVEN)
    answers(hook, started)
    return started


def answers(hook: Installed, started: OperatorProcess) -> None:
    """Until the API server asks the webhook and believes its certificate."""
    eventually("leads and is caught up", lambda: started.leads() and started.ready())
    eventually("the webhook refuses", lambda: post(hook, "probe", "?dryRun=All", engine=MISSPELT).code == 422)


def post(hook: Installed, name: str, query: str = "", **spec: Any) -> Answer:
    return send(hook.plane, "POST", f"{kinds.LLM_DEPLOYMENT.path(hook.namespace)}{query}", llm(name, **spec))


def patch(view: View, name: str, change: Object, subresource: str | None = None) -> Answer:
    path = kinds.LLM_DEPLOYMENT.path(view.namespace, name, subresource)
    return send(view.plane, "PATCH", path, change, MERGE)


def refused(view: View, obj: Object, *options: str) -> str:
    """What kubectl apply prints for an object that is not taken."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        view.kubectl("apply", *options, "-f", "-", stdin=json.dumps(obj))
    return str(caught.value.stderr)


# ---------------------------------------------------------------------------------------------- messages


def test_kubectl_apply_shows_what_can_never_work_and_nothing_is_stored(view: View, operator: OperatorProcess) -> None:
    message = refused(view, llm("a", engine=MISSPELT))
    assert f"ArgumentMisspelt: {TEXT}" in message
    assert "llmdeployments.serving.triton-vllm.dev" in message
    assert view.get("llm", "a") is None
    assert TEXT in refused(view, llm("a", engine=MISSPELT), "--server-side")


def test_the_schema_speaks_before_the_webhook(view: View, operator: OperatorProcess) -> None:
    message = refused(view, llm("a", engine={**MISSPELT, "maxModelLen": 0}))
    assert "spec.engine.maxModelLen" in message
    assert TEXT not in message


def test_warnings_are_shown_and_do_not_stop(hook: Installed, view: View, operator: OperatorProcess) -> None:
    answer = post(hook, "a", server={"release": "26.07"})
    assert answer.code == 201
    assert [warning.split(":")[0] for warning in answer.warnings] == ["ReleaseOutdated"]
    command = [str(view.plane.programs["kubectl"]), "--kubeconfig", str(view.plane.kubeconfig), "-n", view.namespace]
    body = json.dumps(llm("b", server={"release": "26.07"}))
    done = subprocess.run([*command, "apply", "-f", "-"], input=body, capture_output=True, text=True, check=True)
    assert done.stderr.startswith("Warning: ReleaseOutdated: ")


def test_helm_upgrade_shows_the_same(view: View, operator: OperatorProcess, tmp_path: Path) -> None:
    chart = tmp_path / "team-models"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: team-models\nversion: 0.1.0\n")
    template = json.dumps({**llm("a"), "spec": "SPEC"}).replace('"SPEC"', "{{ toJson .Values.spec }}")
    (chart / "templates" / "llm.yaml").write_text(template)
    helm = Helm(binaries.build(binaries.HELM)["helm"], tmp_path)
    where = (f"--kubeconfig={view.plane.kubeconfig}", f"--namespace={view.namespace}")

    def upgrade(**spec: Any) -> subprocess.CompletedProcess[str]:
        values = {"spec": llm("a", **spec)["spec"]}
        return helm.run("upgrade", "--install", "team", str(chart), *where, values=values)

    warned = upgrade(server={"release": "26.07"})
    assert warned.returncode == 0, warned.stderr
    assert "ReleaseOutdated: " in warned.stderr
    result = upgrade(engine=MISSPELT)
    assert result.returncode != 0
    assert f"ArgumentMisspelt: {TEXT}" in result.stderr
    assert helm.run("uninstall", "team", *where).returncode == 0


def test_a_dry_run_gets_the_same_answer_and_leaves_no_trace(
    hook: Installed, view: View, operator: OperatorProcess
) -> None:
    since = len(view.plane.audit())
    dry = post(hook, "a", "?dryRun=All", engine=MISSPELT)
    assert post(hook, "a", engine=MISSPELT) == dry
    assert TEXT in dry.message
    good = post(hook, "b", "?dryRun=All", server={"release": "26.07"})
    assert (good.code, len(good.warnings)) == (201, 1)
    time.sleep(2)  # what a side effect would take
    assert view.writes(since) == [("create", "llmdeployments", "b")], "the dry run itself, as the audit log has it"
    assert view.get("llm", "b") is None
    assert view.all_of(kinds.EVENT) == []


def test_a_namespace_can_allow_a_release(hook: Installed, view: View, operator: OperatorProcess) -> None:
    server = {"release": "25.12"}
    assert "ReleaseNeedsOptOut: " in post(hook, "a", server=server).message
    allow = "serving.triton-vllm.dev/allow-vulnerable-images=true"
    view.plane.kubectl("annotate", "namespace", view.namespace, allow)
    answer = post(hook, "a", server=server)
    assert answer.code == 201
    assert answer.warnings[0].startswith("ReleaseOptedOut: ")


# --------------------------------------------------------------------------------- what must never be rejected


def test_an_operator_that_is_down_blocks_nothing_and_says_the_same_when_it_is_back(
    hook: Installed, view: View, operator: OperatorProcess, start_operator: StartOperator
) -> None:
    rejected = post(hook, "a", "?dryRun=All", engine=MISSPELT).message
    operator.kill()
    began = time.monotonic()
    assert post(hook, "a", engine=MISSPELT).code == 201
    assert time.monotonic() - began < 5
    again = start_operator(*hook.options, program=PROVEN)
    answers(hook, again)
    ready = view.wait_reason("a", "ArgumentMisspelt")
    assert rejected.endswith(f" {ready['reason']}: {ready['message']}")
    assert view.condition("a", "Stalled")["message"] == ready["message"]


def test_what_slipped_through_can_be_mended_scaled_labelled_and_deleted(
    hook: Installed, view: View, start_operator: StartOperator
) -> None:
    assert post(hook, "a", engine={"extraArgs": {"enable_lroa": True, "xyzzy": 1}}).code == 201
    answers(hook, start_operator(*hook.options, program=PROVEN))
    assert patch(view, "a", {"metadata": {"labels": {"x": "y"}, "finalizers": ["test.example/hold"]}}).warnings == ()
    assert patch(view, "a", {"spec": {"replicas": 2}}, "scale").code == 200
    half = patch(view, "a", {"spec": {"engine": {"extraArgs": {"xyzzy": None}}}})
    assert (half.code, [warning.split(":")[0] for warning in half.warnings]) == (200, ["ArgumentMisspelt"])
    worse = patch(view, "a", {"spec": {"engine": {"extraArgs": {"plugh": 1}}}})
    assert worse.code == 422
    assert "plugh" in worse.message
    view.kubectl("delete", "llm", "a", "--wait=false")
    # An API server whose cache does not show the deletion yet asks about the object before it, then again about the one
    # that goes: the second answer counts, and the client is shown the warnings of both.
    values = itertools.count(2)

    def held() -> Answer:
        return patch(view, "a", {"spec": {"engine": {"extraArgs": {"plugh": next(values)}}}})

    assert held().code == 200
    eventually("an object that goes is not judged", lambda: held() == Answer(200, "", ()))
    assert patch(view, "a", {"metadata": {"finalizers": None}}).code == 200
    eventually("it goes", lambda: view.get("llm", "a") is None)


# ------------------------------------------------------------------------------------------------- the plan


@pytest.fixture
def planner(hook: Installed, start_operator: StartOperator, gpus: None) -> OperatorProcess:
    """As `operator`, and it reads models."""
    started = start_operator(*IMAGE, *hook.options, program=PROVEN)
    answers(hook, started)
    return started


@pytest.fixture
def gpus(view: View) -> Iterator[None]:
    """One node of eight H100."""
    with node_there(view.plane, f"gpu-{view.namespace}", node(H100)):
        yield


def test_a_model_that_was_read_and_would_no_longer_fit_is_rejected(view: View, planner: OperatorProcess) -> None:
    view.apply(llm("a", engine={"tensorParallelSize": 4}))
    fake_result(view, inspection(view), LARGE)
    view.wait_children()
    eventually("planned", lambda: view.condition("a", "Fits").get("status") in ("True", "Unknown"))
    answer = patch(view, "a", {"spec": {"engine": {"tensorParallelSize": 1}}})
    assert answer.code == 422
    assert "DoesNotFit: On NVIDIA-H100-80GB-HBM3: " in answer.message
    assert "The smallest change that fits" in answer.message
    advised = patch(view, "a", {"spec": {"engine": {"tensorParallelSize": 1}, "planning": {"mode": "Advise"}}})
    assert advised.code == 200
    assert advised.warnings[0].startswith("DoesNotFit: ")


def test_a_model_that_did_not_fit_can_be_changed_step_by_step(view: View, planner: OperatorProcess) -> None:
    view.apply(llm("a", engine={"tensorParallelSize": 1}))
    fake_result(view, inspection(view), LARGE)
    view.wait_reason("a", "DoesNotFit")
    step = patch(view, "a", {"spec": {"engine": {"maxModelLen": 1024}}})
    assert step.code == 200
    assert step.warnings[0].startswith("DoesNotFit: ")
    assert patch(view, "a", {"spec": {"engine": {"tensorParallelSize": 4}}}).code == 200


def test_a_model_that_has_not_been_read_is_accepted_without_a_warning(
    hook: Installed, view: View, planner: OperatorProcess
) -> None:
    answer = post(hook, "a", engine={"tensorParallelSize": 1})
    assert (answer.code, answer.warnings) == (201, ())
    fake_result(view, inspection(view), LARGE)
    view.wait_reason("a", "DoesNotFit")


# ------------------------------------------------------------------------------------------- the certificate


def works(hook: Installed) -> bool:
    return post(hook, "probe", "?dryRun=All", engine=MISSPELT).code == 422


@pytest.mark.slow
def test_the_certificate_is_renewed_again_and_again_while_every_request_is_checked(
    hook: Installed, view: View, start_operator: StartOperator
) -> None:
    """A lifetime of 30 s: renewed after 20 s, shown after one more, the old one out of the bundle after another."""
    short = ("--webhook-certificate-hours", str(30 / 3600))
    started = start_operator(*hook.options, *short, program=PROVEN)
    answers(hook, started)
    seen: dict[int, float] = {}
    until = time.monotonic() + 120
    asked = 0
    while len(seen) < 3 or time.monotonic() < max(seen.values()) + 5:
        assert time.monotonic() < until
        serials = hook.serials()
        assert 1 <= len(serials) <= 2
        seen.update({serial: time.monotonic() for serial in serials if serial not in seen})
        assert works(hook), f"request {asked} was not checked"
        asked += 1
        time.sleep(0.1)
    assert asked > 50
    assert started.metric("triton_vllm_operator_webhook_certificate_expiry_seconds") > time.time()


def test_two_replicas_serve_under_one_bundle_and_a_restart_leaves_nothing_behind(
    hook: Installed, view: View, operator: OperatorProcess, start_operator: StartOperator
) -> None:
    [first] = hook.serials()
    port = hook.port + 1
    options = [str(port) if option == str(hook.port) else option for option in hook.options]
    follower = start_operator(*options, program=PROVEN)
    eventually("the follower has added its own", lambda: len(hook.serials()) == 2)
    assert first in hook.serials()
    eventually("it is ready", follower.ready)
    assert not follower.leads()
    assert works(hook)
    url = f"https://127.0.0.1:{port}/validate"
    change = [{"op": "replace", "path": "/webhooks/0/clientConfig/url", "value": url}]
    code, answer = hook.plane.request("PATCH", hook.path, change, "application/json-patch+json")
    assert code == 200, answer
    operator.kill()
    eventually("the follower answers", lambda: works(hook))
    follower.kill()
    follower.start()
    answers(hook, follower)
    assert len(hook.serials()) == 2, "the restarted one has replaced its own"


def test_a_bundle_that_somebody_emptied_is_filled_again(
    hook: Installed, view: View, start_operator: StartOperator
) -> None:
    answers(hook, start_operator(*hook.options, "--webhook-certificate-hours", "0.02", program=PROVEN))
    hook.empty()
    eventually("filled", lambda: len(hook.serials()) == 1)
    eventually("asked again", lambda: works(hook))


def test_without_its_configuration_the_operator_is_ready_and_works(
    view: View, hook: Installed, start_operator: StartOperator
) -> None:
    hook.plane.request("DELETE", hook.path)
    started = start_operator(*hook.options, program=PROVEN)
    eventually("leads and is caught up", lambda: started.leads() and started.ready())
    view.apply(llm("a"))
    view.wait_children()
    assert hook.plane.request("GET", hook.path)[0] == 404, "it is never made"
    assert started.counted("triton_vllm_operator_webhook_registered") == 0.0
