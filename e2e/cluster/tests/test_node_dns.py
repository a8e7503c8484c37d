"""The rules that send a node's questions to Docker's resolver."""

from __future__ import annotations

from e2e.cluster.kind import node_dns

KINDS = """\
-A PREROUTING -d 10.102.0.1/32 -j DOCKER_OUTPUT
-A OUTPUT -d 10.102.0.1/32 -j DOCKER_OUTPUT
-A POSTROUTING -d 10.102.0.1/32 -j DOCKER_POSTROUTING
-A DOCKER_OUTPUT -d 10.102.0.1/32 -p tcp -m tcp --dport 53 -j DNAT --to-destination 127.0.0.11:36913
-A DOCKER_OUTPUT -d 10.102.0.1/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.11:38001
-A DOCKER_POSTROUTING -s 127.0.0.11/32 -p tcp -m tcp --sport 36913 -j SNAT --to-source 10.102.0.1:53
-A DOCKER_POSTROUTING -s 127.0.0.11/32 -p udp -m udp --sport 38001 -j SNAT --to-source 10.102.0.1:53
"""
# What a daemon adds that has started again.
DOCKERS = """\
-A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT
-A POSTROUTING -d 127.0.0.11/32 -j DOCKER_POSTROUTING
-A DOCKER_OUTPUT -d 127.0.0.11/32 -p tcp -m tcp --dport 53 -j DNAT --to-destination 127.0.0.11:43647
-A DOCKER_OUTPUT -d 127.0.0.11/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.11:48607
-A DOCKER_POSTROUTING -s 127.0.0.11/32 -p tcp -m tcp --sport 43647 -j SNAT --to-source :53
-A DOCKER_POSTROUTING -s 127.0.0.11/32 -p udp -m udp --sport 48607 -j SNAT --to-source :53
"""


def applied(saved: str, changes: str) -> str:
    """The table after iptables-restore: each -D takes one rule away, each -A adds one."""
    rules = saved.splitlines()
    for line in changes.splitlines()[1:-1]:
        if line.startswith("-D"):
            rules.remove(line.replace("-D", "-A", 1))
        else:
            rules.append(line)
    return "\n".join(rules) + "\n"


def test_sound_rules_stay() -> None:
    assert node_dns.changes(KINDS) == ""
    assert node_dns.changes("") == ""
    assert node_dns.changes(DOCKERS) == "", "a container that kind did not touch"


def test_the_gateway_leads_to_the_new_ports_and_not_to_the_old_ones() -> None:
    mended = applied(KINDS + DOCKERS, node_dns.changes(KINDS + DOCKERS))
    assert "-d 10.102.0.1/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.11:48607" in mended
    assert "-p tcp -m tcp --sport 43647 -j SNAT --to-source 10.102.0.1:53" in mended
    assert "36913" not in mended
    assert "38001" not in mended
    assert DOCKERS.splitlines()[2] in mended, "Docker's own rules stay"
    assert node_dns.changes(mended) == ""
