"""An operator with the real shell and the smallest reconcile: one ConfigMap for each LLMDeployment, and a status.

`python -m tests.apiserver.toy --kubeconfig ...` takes the options of the real command.
"""

from __future__ import annotations

import sys

from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Key, Object
from triton_vllm_operator.api.names import INSTANCE_LABEL
from triton_vllm_operator.controller.cluster import ClusterView
from triton_vllm_operator.controller.main import start
from triton_vllm_operator.controller.queue import Result
from triton_vllm_operator.controller.settings import Settings


def config_map(llm: Object) -> Object:
    meta = llm["metadata"]
    owner = {"apiVersion": llm["apiVersion"], "kind": llm["kind"], "name": meta["name"], "uid": meta["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "namespace": meta["namespace"],
            "name": f"{meta['name']}-toy",
            "labels": {INSTANCE_LABEL: meta["name"]},
            "ownerReferences": [{**owner, "controller": True}],
        },
        "data": {"uri": llm["spec"]["model"]["uri"]},
    }


async def reconcile(cluster: ClusterView, key: Key) -> Result:
    llm = await cluster.client.find(kinds.LLM_DEPLOYMENT, key.namespace, key.name)
    if llm is None:
        return Result("Gone", gone=True)
    desired, live = config_map(llm), cluster.children(kinds.CONFIG_MAP, key)
    if [found["data"] for found in live] != [desired["data"]]:
        await cluster.apply(desired, uid=live[0]["metadata"]["uid"] if live else None)
    return Result()


if __name__ == "__main__":
    start(reconcile, Settings.from_arguments(sys.argv[1:]))
