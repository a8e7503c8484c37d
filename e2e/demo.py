"""`make demo`: from nothing to the first answer, with the progress of each step."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from devtools.progress import duration, say
from e2e import environment
from e2e.cluster import shell, steps
from e2e.cluster.images import binaries
from e2e.hub import manifests

NAMESPACE = "demo"
NAME = "tiny-llama"
SAMPLE = Path(__file__).parent / "samples" / f"{NAME}.yaml"
URL = f"http://{NAME}:8000/v2/models/{NAME}/generate"
QUESTION = {"text_input": "The quick brown fox", "parameters": {"max_tokens": 64, "temperature": 0}}

# The client has a real HTTP client and nothing else of ours.
ASK = """\
import json, sys, urllib.request
request = urllib.request.Request(sys.argv[1], sys.argv[2].encode(), {"Content-Type": "application/json"})
print(urllib.request.urlopen(request, timeout=60).read().decode())
"""


def client_pod(image: str, url: str, body: str) -> dict[str, object]:
    """A pod that sends one request and ends; it starts again while the cluster's DNS does not know the name yet."""
    pod = manifests.script_pod(image, ["python3", "-c", ASK, url, body])
    pod["volumes"] = [v for v in pod["volumes"] if v["name"] != "scripts"]
    for container in pod["containers"]:
        container["volumeMounts"] = [m for m in container["volumeMounts"] if m["name"] != "scripts"]
    meta = {"name": "client", "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {**pod, "restartPolicy": "OnFailure"}}


def ask(env: environment.Environment) -> str:
    """Send the question from a fresh pod inside the cluster; the body of the answer."""
    env.kubectl("delete", "pod", "client", "-n", NAMESPACE, "--ignore-not-found", "--grace-period=0", "--force")
    env.apply(client_pod(env.serving_image, URL, json.dumps(QUESTION)))
    done = "--for=jsonpath={.status.phase}=Succeeded"
    env.kubectl("wait", done, "pod/client", "-n", NAMESPACE, "--timeout=2m", timeout=130)
    return env.kubectl("logs", "client", "-n", NAMESPACE).strip()


def serve_sample(env: environment.Environment) -> None:
    """Apply the sample and wait until it has produced a token; CommandFailed with its own reason when it does not."""
    env.apply(manifests.namespace(NAMESPACE))
    env.kubectl("apply", "-n", NAMESPACE, "-f", str(SAMPLE))
    try:
        env.kubectl("wait", "--for=condition=Ready", f"llm/{NAME}", "-n", NAMESPACE, "--timeout=8m", timeout=500)
    except shell.CommandFailed as failed:
        path = '{.status.conditions[?(@.type=="Ready")].message}'
        failed.cause += "\n" + env.kubectl("get", "llm", NAME, "-n", NAMESPACE, "-o", f"jsonpath={path}")
        raise


def show(env: environment.Environment, answer: str) -> None:
    """The row of the deployment, the request, the answer, and what to try next."""
    say("\n" + env.kubectl("get", "llm", "-n", NAMESPACE, "-o", "wide"))
    say(f"POST {URL}\n{json.dumps(QUESTION)}\n\n{answer}\n\ntext: {json.loads(answer)['text_output']!r}\n")
    say(
        "Try next:\n"
        '  eval "$(make -s env)"              # KUBECONFIG, kubectl, kubectl llm and helm for this shell\n'
        f"  kubectl -n {NAMESPACE} get llm,pods\n"
        f"  kubectl -n {NAMESPACE} scale llm/{NAME} --replicas=2\n"
        f"  kubectl -n {NAMESPACE} describe llm/{NAME}\n"
        "  kubectl explain llm.spec.engine\n"
        "  make down                          # removes the cluster, keeps the caches"
    )


def main() -> int:
    """Exit 1 with the step, the cause and the log where it fails."""
    began = time.monotonic()
    try:
        env = environment.prepare()
        say("chart installed, model hub ready; applying the sample")
        serve_sample(env)
        show(env, ask(env))
        say(f"caches of Go: {binaries.clear_build_cache()}")
    except (shell.RequirementNotMet, shell.CommandFailed, steps.StepFailed) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    say(f"\ndone in {duration(time.monotonic() - began)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
