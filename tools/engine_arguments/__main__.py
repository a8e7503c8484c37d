"""`python -m tools.engine_arguments` writes arguments.json, nested_arguments.json and environment.json of catalog/data.

`--check` compares and changes nothing.

Versions are those of catalog/data/releases.yaml and EXTRA. What the cache lacks is downloaded with pip (about 0.5 GB
once, 0.1 GB kept).
"""

import argparse
import difflib
import sys
from pathlib import Path

from tools.engine_arguments.arguments import read_arguments
from tools.engine_arguments.environment import read_variables
from tools.engine_arguments.nested import read_nested
from tools.engine_arguments.quantization import read_methods
from tools.engine_arguments.resolve import Resolver
from tools.engine_arguments.sources import fetch
from tools.engine_arguments.table import fold, fold_names, to_text
from triton_vllm_operator import catalog
from triton_vllm_operator.catalog import engine_rules, releases
from triton_vllm_operator.catalog.versions import parse_vllm_version

DATA = Path(__file__).parents[2] / "operator/src/triton_vllm_operator/catalog/data"
TABLE = DATA / "arguments.json"
NESTED = DATA / "nested_arguments.json"
ENVIRONMENT = DATA / "environment.json"

# Versions in no image of the table: one with measured memory figures, and the newest, to plan for.
EXTRA = ("0.25.1", "0.33.0")


def require_own_catalog() -> None:
    """Ends the program where Python imports the catalog of another checkout than the one that it would write."""
    imported = Path(catalog.__file__).parent / "data"
    if imported.resolve() != DATA.resolve():
        raise SystemExit(
            f"the catalog is imported from {imported}: set PYTHONPATH to operator/src of {DATA.parents[4]}"
        )


def versions() -> list[str]:
    """Every version whose arguments some release has, oldest first."""
    of_releases = {row.arguments_version for row in releases.load().releases if row.arguments_version}
    return sorted(of_releases | set(EXTRA), key=parse_vllm_version)


def make() -> dict[Path, str]:
    """The text of each table, by its file.

    Objects and variables are read of the versions that the planner has rules for.
    """
    resolvers = {version: Resolver(fetch(version)) for version in versions()}
    arguments = {version: read_arguments(resolver) for version, resolver in resolvers.items()}
    methods = {version: read_methods(resolver) for version, resolver in resolvers.items()}
    planned = {version: resolver for version, resolver in resolvers.items() if engine_rules.has_rules(version)}
    nested = {version: read_nested(resolver) for version, resolver in planned.items()}
    variables = {version: read_variables(resolver.sources) for version, resolver in planned.items()}
    return {
        TABLE: to_text(fold(arguments, methods)),
        NESTED: to_text(fold_names(nested, "fields")),
        ENVIRONMENT: to_text(fold_names(variables, "variables")),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.engine_arguments", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the committed tables; 1 when one differs")
    options = parser.parse_args()
    require_own_catalog()
    made = make()
    if not options.check:
        for path, text in made.items():
            path.write_text(text, encoding="utf-8")
        return 0
    kept = {path: path.read_text(encoding="utf-8") for path in made}
    for path, text in made.items():
        lines = kept[path].splitlines(True), text.splitlines(True)
        sys.stdout.writelines(difflib.unified_diff(*lines, f"committed {path.name}", "sources"))
    return int(kept != made)


if __name__ == "__main__":
    sys.exit(main())
