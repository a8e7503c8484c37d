"""Names on the nodes after a restart of the Docker daemon.

A node asks its gateway, and rules on the node send that to Docker's resolver: kind's entry point made them from those
of Docker. A daemon that starts again listens on other ports and writes new rules of its own; those of kind then lead
nowhere, and with them every image pull and every name outside the cluster.
"""

from __future__ import annotations

import re

from e2e.cluster.engine import Engine

RESOLVER = "127.0.0.11/32"
CHAINS = ("-A DOCKER_OUTPUT ", "-A DOCKER_POSTROUTING ")


def repair(saved: str) -> str:
    """What `iptables-restore --noflush` has to be given for the nat table `saved`; empty when the rules are sound."""
    gateway = re.search(rf"^-A OUTPUT -d (?!{re.escape(RESOLVER)})(\S+)/32 -j DOCKER_OUTPUT$", saved, re.MULTILINE)
    rules = [line for line in saved.splitlines() if line.startswith(CHAINS)]
    dockers = [rule for rule in rules if f"-d {RESOLVER}" in rule or "--to-source :53" in rule]
    if gateway is None or not dockers:
        return ""
    address = gateway.group(1)
    wanted = [
        rule.replace(f"-d {RESOLVER}", f"-d {address}/32").replace("--to-source :53", f"--to-source {address}:53")
        for rule in dockers
    ]
    kinds = [rule for rule in rules if rule not in dockers]
    changes = [rule.replace("-A", "-D", 1) for rule in kinds if rule not in wanted]
    changes += [rule for rule in wanted if rule not in kinds]
    return "\n".join(["*nat", *changes, "COMMIT", ""]) if changes else ""


def mend(engine: Engine, node: str) -> None:
    """Make `node` resolve names again, if it does not."""
    changes = repair(engine.docker("exec", node, "iptables-save", "-t", "nat"))
    if changes:
        engine.docker("exec", "--interactive", node, "iptables-restore", "--noflush", stdin=changes)
