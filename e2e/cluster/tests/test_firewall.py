"""What our Docker daemon leaves in the kernel is taken back; what others made stays."""

from __future__ import annotations

from e2e.cluster.machine import firewall

FILTER = """\
-P INPUT ACCEPT
-P FORWARD DROP
-N DOCKER
-N DOCKER-USER
-N KUBE-FORWARD
-A INPUT -s 10.0.0.1/32 -j ACCEPT
-A FORWARD -j DOCKER-USER
-A FORWARD -m comment --comment "to the docker chain" -j DOCKER
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A DOCKER -d 10.66.0.2/32 -j ACCEPT
-A DOCKER-USER -j RETURN
"""


def applied(rules: str, commands: list[list[str]]) -> list[str]:
    """What iptables -S says after the commands, each of which iptables must accept."""
    lines = rules.splitlines()
    for flag, chain, *rest in commands:
        if flag == "-D":
            comment = ["-m", "comment", "--comment", f'"{rest[3]}"', *rest[4:]] if "--comment" in rest else rest
            lines.remove(" ".join(["-A", chain, *comment]))
        elif flag == "-F":
            lines = [line for line in lines if not line.startswith(f"-A {chain} ")]
        else:
            assert flag == "-X"
            assert not [line for line in lines if line.startswith(f"-A {chain} ") or line.endswith(f"-j {chain}")]
            lines.remove(f"-N {chain}")
    return lines


def test_dockers_chains_and_the_rules_that_lead_to_them_go_and_nothing_else() -> None:
    left = applied(FILTER, firewall.removal("filter", FILTER))
    assert left == [line for line in FILTER.splitlines() if "docker" not in line.lower()]


def test_a_machine_without_dockers_chains_is_left_alone() -> None:
    assert firewall.removal("filter", "-P INPUT ACCEPT\n-N KUBE\n-A INPUT -j KUBE\n") == []


def test_an_nft_table_is_empty_when_its_chains_are_and_let_everything_pass() -> None:
    chain = "type filter hook forward priority filter; policy accept;"
    assert firewall.nft_table_empty(f"table ip filter {{\n\tchain FORWARD {{\n\t\t{chain}\n\t}}\n}}\n")
    assert firewall.nft_table_empty("table ip nat {\n\tchain DOCKER {\n\t}\n}\n")


def test_an_nft_table_with_a_rule_or_a_policy_is_kept() -> None:
    drop = "type filter hook forward priority filter; policy drop;"
    assert not firewall.nft_table_empty(f"table ip filter {{\n\tchain FORWARD {{\n\t\t{drop}\n\t}}\n}}\n")
    assert not firewall.nft_table_empty("table ip t {\n\tchain c {\n\t\tip saddr 10.0.0.1 accept\n\t}\n}\n")
    assert not firewall.nft_table_empty("table ip t {\n\tset s {\n\t\ttype ipv4_addr\n\t}\n}\n")
