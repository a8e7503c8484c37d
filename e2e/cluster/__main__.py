"""`python3 -m e2e.cluster up | down | env | binaries | image NAME...`: see `make help`."""

from __future__ import annotations

import argparse
import shlex
import sys

from devtools.progress import say
from e2e.cluster import Cluster, shell, steps
from e2e.cluster.images import binaries


def show_env(cluster: Cluster) -> None:
    """Print shell exports for `eval`."""
    for name, value in cluster.env().items():
        quoted = f'{shlex.quote(value)}:"$PATH"' if name == "PATH" else shlex.quote(value)
        say(f"export {name}={quoted}")


def run(arguments: argparse.Namespace) -> None:
    if arguments.action == "binaries":
        built = binaries.build_for_tests(keep_build_cache=arguments.keep_build_cache)
        say(f"built {', '.join(built)}" if built else "already built")
        return
    cluster = Cluster()
    if arguments.action == "up":
        cluster.up(arguments.names)
        say(f"export KUBECONFIG={cluster.kubeconfig}")
        binaries.clear_build_cache()
    elif arguments.action == "down":
        cluster.down()
    elif arguments.action == "env":
        show_env(cluster)
    else:
        for name in arguments.names:
            say(cluster.build_and_push(name))


def main() -> int:
    parser = argparse.ArgumentParser(prog="e2e.cluster", description="The kind cluster of the end-to-end tests.")
    parser.add_argument("action", choices=["up", "down", "env", "binaries", "image"])
    parser.add_argument("--keep-build-cache", action="store_true", help="keep Go's caches for later builds (binaries)")
    parser.add_argument("names", nargs="*", help="images to build and push (up, image)")
    try:
        run(parser.parse_args())
    except (shell.RequirementNotMet, shell.CommandFailed, steps.StepFailed) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
