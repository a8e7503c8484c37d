"""Repairs name resolution on the nodes after a restart of the Docker daemon.

A node's resolver is its gateway, and iptables rules on the node redirect that to Docker's resolver: kind's entrypoint
derives them from those of Docker. A daemon that restarts listens on other ports and writes new rules of its own. kind's
then redirect to closed ports, and every image pull and every name outside the cluster fails.
"""

from __future__ import annotations

import re

from e2e.cluster.docker.daemon import Docker

RESOLVER = "127.0.0.11/32"
CHAINS = ("-A DOCKER_OUTPUT ", "-A DOCKER_POSTROUTING ")


def changes(saved: str) -> str:
    """Input of `iptables-restore --noflush` that repairs the nat table `saved`; empty if it is correct."""
    gateway = re.search(rf"^-A OUTPUT -d (?!{re.escape(RESOLVER)})(\S+)/32 -j DOCKER_OUTPUT$", saved, re.MULTILINE)
    rules = [line for line in saved.splitlines() if line.startswith(CHAINS)]
    dockers = [rule for rule in rules if f"-d {RESOLVER}" in rule or "--to-source :53" in rule]
    if gateway is None or not dockers:
        return ""
    address = gateway.group(1)
    correct = [
        rule.replace(f"-d {RESOLVER}", f"-d {address}/32").replace("--to-source :53", f"--to-source {address}:53")
        for rule in dockers
    ]
    kinds = [rule for rule in rules if rule not in dockers]
    removed = [rule.replace("-A", "-D", 1) for rule in kinds if rule not in correct]
    added = [rule for rule in correct if rule not in kinds]
    return "\n".join(["*nat", *removed, *added, "COMMIT", ""]) if removed or added else ""


def repair(docker: Docker, node: str) -> None:
    """Make `node` resolve names again, if it does not."""
    needed = changes(docker.output("exec", node, "iptables-save", "-t", "nat"))
    if needed:
        docker.output("exec", "--interactive", node, "iptables-restore", "--noflush", stdin=needed)
