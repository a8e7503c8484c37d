"""OCI runtime in front of runc for a machine that cannot grant every privilege.

A privileged container asks for CAP_SYS_RESOURCE, for a lower OOM score than its parent's and for high resource
limits. Where the machine itself lacks that capability runc refuses all of it, and with it kind, which lives on
privileged containers. This runtime removes those requests from the container's configuration, then becomes runc.

It runs as a script of its own (`daemon.write_wrapper`): standard library only, no import of this package.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

DROPPED = "CAP_SYS_RESOURCE"


def option(arguments: list[str], *names: str) -> str | None:
    """Value of the first of `names` in `arguments`, given as `--name value` or `--name=value`."""
    for index, word in enumerate(arguments):
        if word in names and index + 1 < len(arguments):
            return arguments[index + 1]
        for name in names:
            if word.startswith(f"{name}="):
                return word.split("=", 1)[1]
    return None


def limited(rlimit: dict[str, Any], hard: int) -> dict[str, Any]:
    """`rlimit` of an OCI process with no value above this machine's `hard` limit."""
    if hard == resource.RLIM_INFINITY:
        return rlimit
    return {**rlimit, "hard": min(rlimit["hard"], hard), "soft": min(rlimit["soft"], hard)}


def granted(process: dict[str, Any], oom_score_adj: int, hard_limits: dict[str, int]) -> dict[str, Any]:
    """OCI `process` without the requests that this machine cannot grant.

    `oom_score_adj` is the caller's own: without the capability it cannot be lowered. `hard_limits` holds the
    caller's hard limits by name (RLIMIT_NOFILE).
    """
    fixed = dict(process)
    if fixed.get("capabilities"):
        fixed["capabilities"] = {
            kind: [name for name in names or [] if name != DROPPED] for kind, names in fixed["capabilities"].items()
        }
    if (fixed.get("oomScoreAdj") or 0) < oom_score_adj:
        fixed.pop("oomScoreAdj", None)
    if fixed.get("rlimits"):
        fixed["rlimits"] = [
            limited(one, hard_limits.get(one["type"], resource.RLIM_INFINITY)) for one in fixed["rlimits"]
        ]
    return fixed


def configuration(arguments: list[str]) -> tuple[Path, str | None] | None:
    """File to fix and the key of the process in it: the bundle's for create and run, the process's own for exec."""
    if "create" in arguments or "run" in arguments:
        return Path(option(arguments, "--bundle", "-b") or ".") / "config.json", "process"
    process = option(arguments, "--process", "-p")
    if "exec" in arguments and process:
        return Path(process), None
    return None


def fix(file: Path, key: str | None) -> None:
    content = json.loads(file.read_text())
    oom_score_adj = int(Path("/proc/self/oom_score_adj").read_text())
    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    limits = {name: resource.getrlimit(getattr(resource, name))[1] for name in names}
    if key:
        content[key] = granted(content[key], oom_score_adj, limits)
    else:
        content = granted(content, oom_score_adj, limits)
    file.write_text(json.dumps(content))


def main() -> None:
    arguments = sys.argv[1:]
    found = configuration(arguments)
    if found:
        fix(*found)
    runc = shutil.which("runc", path="/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin") or "runc"
    os.execv(runc, [runc, *arguments])


if __name__ == "__main__":
    main()
