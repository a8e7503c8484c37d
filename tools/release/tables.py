"""Checks of every table of the catalog that depends on the vLLM version of a release."""

import ast
import json
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from packaging.version import Version

from tools.engine_arguments.__main__ import TABLE, make
from tools.engine_arguments.resolve import Resolver
from tools.engine_arguments.sources import fetch
from tools.release.findings import Finding
from tools.release.matrix import SourceUnreachableError, fetch_text
from triton_vllm_operator.catalog import (
    advisories,
    argument_table,
    engine_rules,
    model_types,
    openai_arguments,
    quantization,
    releases,
)
from triton_vllm_operator.catalog.argument_policy import policy
from triton_vllm_operator.catalog.renamed_arguments import renamed_arguments
from triton_vllm_operator.catalog.versions import parse_vllm_version

ROOT = Path(__file__).parents[2]
PYPI = "https://pypi.org/pypi/vllm/{version}/json"

RULE_MODULES = (
    "vllm.config.cache",
    "vllm.config.model",
    "vllm.config.vllm",
    "vllm.engine.arg_utils",
    "vllm.envs",
    "vllm.v1.core.kv_cache_utils",
    "vllm.v1.kv_cache_interface",
    "vllm.v1.sample.ops.topk_topp_sampler",
    "vllm.v1.worker.gpu.model_runner",
    "vllm.v1.worker.gpu.sample.sampler",
    "vllm.v1.worker.workspace",
)
"""Modules of vLLM that data/engine_rules.json was read from."""


def add_arguments(version: str) -> Iterator[Finding]:
    """Writes arguments.json, and what is read with it, again if it lacks the version.

    Reads vLLM's sources, with pip where they are not cached.
    """
    table = "arguments.json"
    if version in json.loads(TABLE.read_text(encoding="utf-8"))["versions"]:
        yield Finding(table, "unchanged", f"has vLLM {version}")
        return
    try:
        for path, text in make().items():
            path.write_text(text, encoding="utf-8")
    except RuntimeError as error:
        yield Finding(table, "not found", f"the sources of vLLM {version}: {str(error).strip().splitlines()[-1]}")
        return
    yield Finding(table, "added", f"vLLM {version}: read the diff, one line for each form that changed")


def check_renamed(version: str) -> Iterator[Finding]:
    """Arguments that the version no longer supports and that have no entry about their replacement."""
    if version not in argument_table.versions():
        yield Finding("renamed_arguments.yaml", "not found", f"arguments.json lacks vLLM {version}")
        return
    removed = argument_table.load(version).last_known.keys() - argument_table.load(version).arguments.keys()
    known = {one.argument for one in renamed_arguments()} | policy().owned.keys() | policy().unsafe.keys()
    if missing := sorted(removed - known):
        yield Finding("renamed_arguments.yaml", "to do", f"say what replaces {', '.join(missing)}")
    else:
        yield Finding("renamed_arguments.yaml", "checked", f"covers all {len(removed)} arguments removed by {version}")


def check_quantization(version: str) -> Iterator[Finding]:
    """Quantization methods that left the engine since the version before."""
    table, versions = "quantization.py", argument_table.versions()
    before = [one for one in versions if parse_vllm_version(one) < parse_vllm_version(version)]
    if version not in versions or not before:
        yield Finding(table, "not found", f"arguments.json lacks vLLM {version} or a version before it")
        return
    old, new = (argument_table.load(one).arguments["quantization"].choices for one in (before[-1], version))
    if missing := sorted(set(old) - set(new) - quantization.REMOVED_IN.keys()):
        yield Finding(table, "to do", f"add to REMOVED_IN, if vLLM {version} rejects them: {', '.join(missing)}")
    else:
        yield Finding(table, "checked", f"no method was removed since vLLM {before[-1]} that REMOVED_IN lacks")


def check_engine_rules(version: str) -> Iterator[Finding]:
    """Modules that the rules were read from and that changed since the newest version with rules."""
    table, newest = "engine_rules.json", engine_rules.newest_known()
    if parse_vllm_version(version) <= Version(newest):
        yield Finding(table, "checked", f"rules were read up to vLLM {newest}")
        return
    try:
        old, new = fetch(newest), fetch(version)
    except RuntimeError as error:
        yield Finding(table, "not found", str(error).strip().splitlines()[-1])
        return
    if changed := [module for module in RULE_MODULES if old.read(module) != new.read(module)]:
        yield Finding(table, "to do", f"compare with vLLM {newest}, then set newest: {', '.join(changed)}")
    else:
        yield Finding(table, "to do", f"nothing changed since vLLM {newest}: set newest to {version}")


def check_model_types(version: str) -> Iterator[Finding]:
    """Model types in vLLM's own registry that the list lacks. (Those of Transformers need an environment with it.)"""
    table = "model_types.json"
    try:
        registry = registered_model_types(version)
    except RuntimeError as error:
        yield Finding(table, "not found", str(error).strip().splitlines()[-1])
        return
    command = "python -m tools.model_types PYTHON, with one that has this vLLM"
    if missing := sorted(registry - model_types.known_model_types()):
        yield Finding(table, "to do", f"run {command}: it lacks {', '.join(missing)}")
    elif not registry:
        yield Finding(table, "not found", f"the registry in vLLM {version} is written in an unknown way: run {command}")
    else:
        yield Finding(table, "checked", f"has all {len(registry)} types of vLLM's registry; Transformers' not checked")


def registered_model_types(version: str) -> set[str]:
    """Keys of `_CONFIG_REGISTRY` in the sources of a version."""
    tree = Resolver(fetch(version)).tree("vllm.transformers_utils.config")
    for node in tree.body if tree else ():
        target = node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(node, ast.AnnAssign) and getattr(target, "id", "") == "_CONFIG_REGISTRY":
            if isinstance(node.value, ast.Call):
                return {keyword.arg for keyword in node.value.keywords if keyword.arg}
            if isinstance(node.value, ast.Dict):
                return {str(key.value) for key in node.value.keys if isinstance(key, ast.Constant)}
    return set()


def check_families(version: str) -> Iterator[Finding]:
    """The planner's families of models are compared with vLLM's classes by a test that needs the engine."""
    yield Finding("capacity/model/families", "to do", f"run make test-oracle with vLLM {version}")


def check_server_flags(release: releases.Release) -> Iterator[Finding]:
    """The flags of tritonserver: only the program itself lists them."""
    image = release.image or "the image"
    text = f"compare with the output of tritonserver --help in {image}; a new flag has since: {release.server_code}"
    yield Finding("server_flags.yaml", "to do", text)


def check_openai_arguments(release: releases.Release) -> Iterator[Finding]:
    """The arguments of the OpenAI server, which only the operator's own image has."""
    table, version = "openai_arguments.yaml", openai_arguments.table().version
    if release.line != "own" or version == release.vllm:
        yield Finding(table, "checked", f"is that of vLLM {version}, in the operator's own image")
    else:
        yield Finding(table, "to do", f"is that of vLLM {version}: write that of {release.vllm}, run make test-oracle")


def check_driver(release: releases.Release) -> Iterator[Finding]:
    """The minimum driver of the release's CUDA."""
    table = "releases.yaml"
    if release.cuda is None:
        yield Finding(table, "not found", f"no source names the CUDA of release {release.release}: drivers unchecked")
        return
    major = int(release.cuda.partition(".")[0])
    if (minimum := releases.load().minimum_driver.get(major)) is None:
        yield Finding(table, "to do", f"minimumDriver lacks CUDA {major}: see sources.cudaCompatibility")
    else:
        yield Finding(table, "checked", f"CUDA {major} needs driver {minimum}")


def check_own_image(release: releases.Release) -> Iterator[Finding]:
    """The vLLM that our own image installs."""
    if release.line != "own":
        return
    pinned = (ROOT / "images/triton-vllm/requirements/cuda/engine.txt").read_text(encoding="utf-8").splitlines()[0]
    state = "checked" if pinned == f"vllm=={release.vllm}" else "to do"
    yield Finding("images/triton-vllm", state, f"requirements/cuda/engine.txt pins {pinned}")  # type: ignore[arg-type]


def check_vulnerabilities(version: str) -> Iterator[Finding]:
    """Advisories that PyPI has for the version and the table has not."""
    table = "advisories.yaml"
    try:
        listed = json.loads(fetch_text(PYPI.format(version=version))).get("vulnerabilities", [])
    except (SourceUnreachableError, ValueError) as error:
        yield Finding(table, "not found", f"the advisories of PyPI for vLLM {version}: {error}")
        return
    known = {row.id for row in advisories.load().vllm}
    if missing := sorted(one["id"] for one in listed if not {one["id"], *one.get("aliases", ())} & known):
        yield Finding(table, "to do", f"add {', '.join(missing)} of vLLM {version}")
    else:
        yield Finding(table, "checked", f"has all {len(listed)} advisories of PyPI for vLLM {version}")


def check_age(today: date) -> Iterator[Finding]:
    """How long ago the sources of the CVEs were read."""
    table = advisories.load()
    age = (today - table.checked).days
    text = f"checked {age} days ago, at most {table.max_age_days} are allowed"
    if 0 <= age <= table.max_age_days:
        yield Finding("advisories.yaml", "checked", text)
        return
    yield Finding("advisories.yaml", "to do", f"{text}: read the sources again, then set checked")
    for name, url in table.sources.items():
        yield Finding("advisories.yaml", "to do", f"{name}: {url}")
    bulletins = sorted({(row.year, row.bulletin) for row in table.triton if row.bulletin and row.year})
    read = ", ".join(f"{year}/{bulletin}" for year, bulletin in bulletins)
    yield Finding("advisories.yaml", "to do", f"bulletins of NVIDIA that were read: {read}")


def check_mentions(release: releases.Release) -> Iterator[Finding]:
    """Files that name the release that was NVIDIA's newest with a known engine before this one."""
    others = [row.release for row in releases.load().usable("nvidia") if row.release != release.release]
    if release.line != "nvidia" or release.vllm is None or release.release < max(others):
        return
    command = [
        "git",
        "grep",
        "-lF",
        max(others),
        "--",
        "*.md",
        "*.yaml",
        "*.py",
        ":!*/catalog/data/*",
        ":!CHANGELOG.md",
    ]
    named = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if named:
        yield Finding("documents and tests", "to do", f"these name {max(others)}: {', '.join(named)}")


def check_tables(release: releases.Release) -> Iterator[Finding]:
    """Every check for a release of the catalog, in the order in which one follows from another."""
    version = release.arguments_version
    yield from check_driver(release)
    yield from check_server_flags(release)
    yield from check_openai_arguments(release)
    yield from check_own_image(release)
    if version is None or release.vllm is None:
        text = f"no source names the vLLM version of release {release.release}: give --vllm when one does"
        yield Finding("all other tables", "not found", text)
        return
    yield from add_arguments(version)
    for check in (check_renamed, check_quantization, check_engine_rules, check_model_types, check_families):
        yield from check(version)
    yield from check_vulnerabilities(release.vllm)
    yield from check_mentions(release)
