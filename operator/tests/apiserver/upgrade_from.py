"""An operator of another revision is replaced by this one: no child is written and no pod restarts.

Not part of the default tests, because it needs that revision in the checkout: `make test-upgrade FROM=REVISION`. Real:
both operators, the API server and its controllers. Stand-ins: the kubelet, and the probe that every pod answers.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.apiserver.controlplane import ControlPlane
from tests.apiserver.fixtures import StartOperator
from tests.apiserver.kubelet import kubelet
from tests.apiserver.operators import PROVEN, eventually
from tests.apiserver.planned import ONE_GPU
from tests.apiserver.view import Object, View, llm
from tests.desired.samples import SAMPLES
from triton_vllm_operator.desired.children import CHILD_KINDS

ROOT = Path(__file__).parents[3]
REVISION = os.environ.get("FROM", "")
IMAGE = ("--operator-image", "registry.example/operator:1")
QUIET_S = 10.0
SETTLED_S = 60.0
STATUS = {"llmdeployments/status", "events"}


@pytest.fixture(scope="session")
def old_sources(tmp_path_factory: pytest.TempPathFactory) -> str:
    """PYTHONPATH of the operator and its tests at the revision that FROM names."""
    assert REVISION, "FROM is not set: make test-upgrade FROM=v0.1.0"
    tree = tmp_path_factory.mktemp("old")
    archive = subprocess.run(["git", "archive", REVISION], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive, check=True)
    return os.pathsep.join(str(tree / folder) for folder in ("operator", "operator/src", "."))


def deployments() -> dict[str, Object]:
    """Specs of every golden sample, and of what the planner decides and does not decide."""
    found: dict[str, Any] = {name: llm(name, **spec) for name, spec in SAMPLES.items() if name != "every-field"}
    return found | {
        "planned": llm("planned"),
        "one-gpu": llm("one-gpu", engine=ONE_GPU, planning={"mode": "Advise"}),
        "many": llm("many", replicas=3),
        "none": llm("none", replicas=0),
    }


def snapshot(view: View) -> dict[tuple[str, str], tuple[str, int]]:
    """(kind, name) -> (uid, generation) of every child and pod."""
    items = [item for kind in CHILD_KINDS for item in view.all_of(kind)]
    pods = [{"kind": "Pod", **pod} for pod in view.pods()]
    return {
        (item["kind"], item["metadata"]["name"]): (item["metadata"]["uid"], item["metadata"].get("generation", 0))
        for item in (*items, *pods)
    }


def test_an_upgraded_operator_writes_no_child_and_restarts_no_pod(
    plane: ControlPlane, view: View, start_operator: StartOperator, old_sources: str
) -> None:
    with kubelet(plane, view.namespace):
        old = start_operator(*IMAGE, program=PROVEN, sources=old_sources)
        eventually("the old operator leads", lambda: old.leads() and old.ready())
        for obj in deployments().values():
            view.apply(obj)

        def unsettled() -> dict[str, Object]:
            found = {name: view.summary(name) for name in deployments()}
            return {name: one for name, one in found.items() if one.get("reason") not in ("Serving", "ScaledToZero")}

        limit = time.monotonic() + SETTLED_S
        while left := unsettled():
            assert time.monotonic() < limit, [(n, one.get("reason"), one.get("message")) for n, one in left.items()]
            time.sleep(0.5)
        time.sleep(QUIET_S)
        before = snapshot(view)
        assert old.stop() == 0
        since = len(plane.audit())
        new = start_operator(*IMAGE, program=PROVEN)
        done = 'triton_vllm_operator_reconcile_seconds_count{result="success"}'
        eventually("every LLMDeployment is reconciled", lambda: new.metric(done) >= len(deployments()))
        for name in deployments():
            view.kubectl("annotate", "llm", name, "touched=yes")
        time.sleep(QUIET_S)
        # Where the old operator recorded none, the new one records the revision that is deployed.
        recorded = (*STATUS, "controllerrevisions")
        written = [write for write in view.writes(since) if write[1] not in recorded]
        assert sorted(written) == sorted(("patch", "llmdeployments", name) for name in deployments())
        assert snapshot(view) == before
