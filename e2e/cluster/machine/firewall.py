"""Saves the network settings of the kernel before a Docker daemon changes them, and restores them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

from e2e.cluster import shell

TABLES = ("filter", "nat")
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def save(file: Path) -> None:
    """Write the settings to `file` before the first start of the daemon; later calls keep the file."""
    if file.exists():
        return
    state = {
        "forward_policy": _forward_policy(),
        "forwarding": FORWARDING.read_text().strip(),
        "nft_tables": _nft_tables(),
    }
    file.write_text(json.dumps(state))


def restore(file: Path) -> None:
    """Remove Docker's chains and rules, and restore what `save` has written."""
    if not file.exists():
        return
    before = json.loads(file.read_text())
    for table in TABLES:
        for command in removal(table, shell.output(["iptables", "-t", table, "-S"])):
            shell.output(["iptables", "-t", table, *command])
    shell.output(["iptables", "-P", "FORWARD", before["forward_policy"]])
    FORWARDING.write_text(before["forwarding"])
    for name in _nft_tables():
        if name not in before["nft_tables"] and nft_table_empty(shell.output(["nft", "list", "table", *name.split()])):
            shell.output(["nft", "delete", "table", *name.split()])


def removal(table: str, rules: str) -> list[list[str]]:
    """iptables arguments that remove Docker's chains and the rules that lead to them from `iptables -S` output."""
    lines = [shlex.split(line) for line in rules.splitlines()]
    chains = [words[1] for words in lines if words[0] == "-N" and words[1].startswith("DOCKER")]
    leading = [words for words in lines if words[0] == "-A" and words[1] not in chains and set(words) & set(chains)]
    return [
        *(["-D", *words[1:]] for words in leading),
        *(["-F", chain] for chain in chains),
        *(["-X", chain] for chain in chains),
    ]


def nft_table_empty(listing: str) -> bool:
    """Whether an nft table holds nothing but empty base chains with an accepting policy."""
    body = [line.strip() for line in listing.splitlines()[1:-1] if line.strip()]
    harmless = re.compile(r"^(chain \w+ \{|\}|type \w+ hook \w+ priority [\w+ -]+; policy accept;|#.*)$")
    return all(harmless.match(line) for line in body)


def _forward_policy() -> str:
    found = re.search(r"^-P FORWARD (\w+)", shell.output(["iptables", "-S", "FORWARD"]), re.MULTILINE)
    return found[1] if found else "ACCEPT"


def _nft_tables() -> list[str]:
    """Names of nft tables with their family (`ip nat`); empty without the nft program."""
    if not shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin"):
        return []
    listing = shell.output(["nft", "list", "tables"])
    return [line.removeprefix("table ").strip() for line in listing.splitlines()]
