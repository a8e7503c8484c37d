"""Reconcile step: children that have lost their LLMDeployment get the new one of the same name, and go on serving.

It comes before all others: the garbage collector deletes what names an owner that does not exist, and an LLMDeployment
whose spec is rejected or whose pods are held back keeps its children too.
"""

from __future__ import annotations

import logging

from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Key, Object
from triton_vllm_operator.controller.cluster import ClusterView
from triton_vllm_operator.desired.children import OWNED_KINDS
from triton_vllm_operator.desired.objects import owner_reference
from triton_vllm_operator.kube.errors import Conflict
from triton_vllm_operator.plan import adoption

log = logging.getLogger(__name__)


async def adopt_children(cluster: ClusterView, obj: Object) -> None:
    """Make an LLMDeployment the owner of the children of a former one of its name. Their content does not change.

    Raises:
        Conflict: the LLMDeployment or a child has changed since it was read.
    """
    meta = obj["metadata"]
    key, uid = Key(meta["namespace"], meta["name"]), meta["uid"]
    live = [child for kind in OWNED_KINDS for child in cluster.children(kind, key)]
    orphans = [child for child in live if adoption.is_orphan(child, key.name, uid)]
    if not orphans:
        return
    # A child of an LLMDeployment that has just been deleted would be deleted with it.
    now = await cluster.client.find(kinds.LLM_DEPLOYMENT, *key)
    if now is None or now["metadata"]["uid"] != uid or "deletionTimestamp" in now["metadata"]:
        raise Conflict(f"LLMDeployment {key} was deleted while it was reconciled")
    for orphan in orphans:
        log.info("%s: adopt %s, whose LLMDeployment does not exist any more", key, kinds.ref_of(orphan))
        await cluster.merge(orphan, adoption.adoption(orphan, owner_reference(key.name, uid)))
