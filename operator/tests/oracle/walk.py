"""Walks vLLM's registry: which architectures are planned as the engine's own code answers.

`python -m tests.oracle.walk --write` asks the engines about every architecture and writes what it finds to
`catalog/data/architectures.json`, by which the planner decides what it plans, and to the table in the documentation.
Answers are kept in a file as they come, and what is in it is not asked again: a walk can be stopped, and goes on where
it ended. With names of architectures it asks for those only, and prints what it finds of them.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import random
import runpy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import Version

from tests.oracle.answers import WALK, KeptAnswers
from tests.oracle.conftest import ENVIRONMENT, VARIANTS
from tests.oracle.engine import ORACLE, answers_of_shape
from tests.oracle.families import FAMILIES, MORE_ARCHITECTURES
from tests.oracle.real_configs import CONFIGS, FIELDS
from tests.oracle.test_kv import same
from tests.oracle.test_weights import NOT_FROM_CONFIG, SINCE
from tools.documents import DOCS, table, write
from triton_vllm_operator import catalog
from triton_vllm_operator.capacity import ShapeError, model
from triton_vllm_operator.capacity.memory.weights import Parallelism, stage_weights
from triton_vllm_operator.capacity.model.config import ModelConfig
from triton_vllm_operator.capacity.model.from_config import derive_shape
from triton_vllm_operator.capacity.model.safetensors import TensorInfo
from triton_vllm_operator.capacity.model.shape import ModelShape
from triton_vllm_operator.catalog.versions import parse_vllm_version

LESS, MORE = 0.001, 0.005
"""Share of the engine's weights by which ours may be less and more: buffers, and parts of encoders that are cut."""


DATA = Path(catalog.__file__).with_name("data") / "architectures.json"
ABOUT = (
    "Architectures whose plan equals the engine's, by comparison with vLLM's own code on the default configuration of "
    "each class. Written by python -m tests.oracle.walk --write."
)
PROOFS = ("", "headers", "config")
NOT_COMPARED = "not compared"
NO_CONFIG = "no configuration of its own to compare with"
NOT_BUILT = "the engine does not build its default configuration"
UNCOMPARED = (NOT_COMPARED, NO_CONFIG, NOT_BUILT)
GENERATING = ("text_generation", "multimodal", "transformers_supported", "transformers_backend")
"""Kinds of architectures that generate text by themselves."""
OTHER_KINDS = {"speculative_decoding": "a draft model, which is not served alone"}
"""Why the other kinds are not planned, where they do not embed or classify."""
EMBEDS = "embeds or classifies"
_SEEDS = 30
"""Draws after which every architecture of a generated family has come."""
LIST: dict[str, Any] = {"list": True}
"""The case that asks for the names in a registry."""
PER_CASE = 1800
"""Seconds for one architecture."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the comparison of one architecture found.

    Attributes:
        proof: one of `PROOFS`; "" where there is no plan.
        why: what differs, or why there is nothing to compare.
        detail: the first difference in numbers.
    """

    architecture: str
    model_type: str
    proof: str
    why: str = ""
    detail: str = ""


def cases_of(architecture: str) -> Iterator[dict[str, Any]]:
    """The cases of one architecture: the default configuration of its class, and those of published models."""
    yield {"architecture": architecture, "fields": FIELDS.get(architecture, {})}
    yield from ({"architecture": architecture, "config": config} for config in CONFIGS.get(architecture, ()))


def judge(answer: dict[str, Any]) -> Finding:
    """Compare one answer with the plan."""
    name = answer["architecture"]
    if "error" in answer:
        why = NO_CONFIG if answer["error"].startswith(LookupError.__name__) else NOT_BUILT
        return Finding(name, "", "", why, answer["error"])
    model_type = ModelConfig.parse(answer["config"]).model_type
    tensors = [TensorInfo(tensor, dtype, tuple(shape)) for tensor, dtype, shape in answer["tensors"]]
    try:
        defaults = answer.get("defaults", {}).get(model_type)
        by_config = derive_shape(answer["config"], defaults=defaults)
        by_headers = derive_shape(answer["config"], tensors, defaults) if tensors else None
    except ShapeError as error:
        return Finding(name, model_type, "", "not known to the planner", str(error))
    if different := _kv_difference(answer, by_config):
        return Finding(name, model_type, "", "KV cache differs", different)
    return Finding(name, model_type, *_weights_proof(answer, by_config, by_headers))


def _weights_proof(
    answer: dict[str, Any], by_config: ModelShape, by_headers: ModelShape | None
) -> tuple[str, str, str]:
    """The proof, what differs, and the difference."""
    different = _weights_difference(answer, by_headers) if by_headers is not None else ""
    if different:
        return "", "weights differ", different
    different = _weights_difference(answer, by_config)
    if not different and not by_config.multimodal:
        return "config", "", ""
    if by_headers is None:
        return "", NOT_COMPARED, different or "there are no headers to compare"
    return "headers", "weights do not follow from config.json", different


def _kv_difference(answer: dict[str, Any], shape: ModelShape) -> str:
    for found in _built(answer):
        ours = answers_of_shape(shape, {**found, "kv_dtype": "auto", "mtp": 0}, answer["version"])
        for asked, theirs, us in zip(found["questions"], found["kv"], ours, strict=True):
            if asked["no_hybrid"] and needs_hybrid_manager(shape):
                continue
            if not same(theirs, us, found["pp"]):
                return f"KV cache on {found['tp']} x {found['pp']} ranks: vLLM {theirs}, planned {us}"[:300]
    return ""


def needs_hybrid_manager(shape: ModelShape) -> bool:
    """Whether the engine refuses the model without its hybrid KV cache manager."""
    return shape.is_hybrid or shape.is_encoder_decoder


def _weights_difference(answer: dict[str, Any], shape: ModelShape) -> str:
    for found in _built(answer):
        ours = stage_weights(shape, Parallelism(found["tp"], found["pp"]))
        for us, theirs in zip(ours, found["weights"], strict=True):
            if not theirs * (1 - LESS) <= us <= theirs * (1 + MORE):
                return f"weights on {found['tp']} x {found['pp']} ranks: vLLM {theirs}, planned {us} bytes"
    return ""


def _built(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [found for found in answer["variants"] if "error" not in found]


def counted(answer: dict[str, Any]) -> bool:
    """Whether the version's class is the one that the planner describes."""
    since = SINCE.get(answer.get("config", {}).get("model_type", ""))
    return since is None or parse_vllm_version(answer["version"]) >= since


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """One finding per architecture and model type: the least that any version and configuration proves.

    What could not be compared proves nothing, and contradicts nothing.
    """
    found: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        before = found.setdefault((finding.architecture, finding.model_type), finding)
        if finding.why in UNCOMPARED:
            continue
        if before.why in UNCOMPARED or PROOFS.index(finding.proof) < PROOFS.index(before.proof):
            found[finding.architecture, finding.model_type] = finding
    return sorted(found.values(), key=lambda one: (one.architecture, one.model_type))


def of_generated_cases() -> Iterator[Finding]:
    """What `test_kv` and `test_weights` prove: the models that `families` generates."""
    generated = {**FAMILIES, **MORE_ARCHITECTURES}
    for name in sorted(generated.keys() - NOT_FROM_CONFIG):
        for seed in range(_SEEDS):
            config = generated[name](random.Random(seed))
            yield Finding(config["architectures"][0], ModelConfig.parse(config).model_type, "config")


def fields_read() -> frozenset[str]:
    """Names of the fields of config.json that the planner reads."""
    files = Path(model.__file__).parent.rglob("*.py")
    nodes = (node for path in files for node in ast.walk(ast.parse(path.read_text())))
    return frozenset(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def document(
    findings: Sequence[Finding], answers: Sequence[dict[str, Any]], registry: Mapping[str, str]
) -> dict[str, Any]:
    """The content of `architectures.json`; the registry has the kind of each architecture."""
    planned: dict[str, dict[str, str]] = {}
    for one in merged([*of_generated_cases(), *findings]):
        if one.proof and registry.get(one.architecture, GENERATING[0]) in GENERATING:
            planned.setdefault(one.architecture, {})[one.model_type] = one.proof
    why = {one.architecture: one.why for one in findings if not one.proof}
    why |= {name: OTHER_KINDS.get(kind, EMBEDS) for name, kind in registry.items() if kind not in GENERATING}
    types = {model_type for proofs in planned.values() for model_type in proofs}
    read = fields_read() - {"model_type", "architectures", "dtype"}
    given = {kind: fields for answer in answers for kind, fields in answer.get("defaults", {}).items()}
    defaults = {
        kind: {k: v for k, v in sorted(given[kind].items()) if k in read} for kind in sorted(types & set(given))
    }
    return {
        "about": ABOUT,
        "versions": sorted({answer["version"].split("+")[0] for answer in answers if "version" in answer}),
        "registered": len(registry),
        "planned": planned,
        "one_stage": sorted({answer["architecture"] for answer in answers if answer.get("one_stage")} & set(planned)),
        "unknown": {name: why.get(name, NOT_COMPARED) for name in sorted(registry) if name not in planned},
        "defaults": {kind: fields for kind, fields in defaults.items() if fields},
    }


def compared(answers: Iterable[dict[str, Any]], versions: Iterable[str]) -> dict[str, list[str]]:
    """The versions with which each architecture was compared: all of them where `families` generates its models."""
    found: dict[str, set[str]] = {}
    for answer in answers:
        if "error" not in answer:
            found.setdefault(answer["architecture"], set()).add(answer["version"].split("+")[0])
    for one in of_generated_cases():
        since = SINCE.get(one.model_type, Version("0"))
        found[one.architecture] = {version for version in versions if parse_vllm_version(version) >= since}
    return {name: sorted(of) for name, of in found.items()}


def page(content: dict[str, Any], versions_of: Mapping[str, Sequence[str]]) -> str:
    """The tables of the documentation."""
    planned, unknown = content["planned"], content["unknown"]
    rows = [
        (
            name,
            ", ".join(proofs),
            "config.json" if set(proofs.values()) == {"config"} else "safetensors headers",
            ", ".join(versions_of[name]),
        )
        for name, proofs in planned.items()
    ]
    return (
        f"Planned: {len(planned)} of the {content['registered']} architectures that vLLM {content['versions'][-1]} "
        f"registers. Compared with vLLM {' and '.join(content['versions'])}.\n\n"
        + table(("architecture", "model type of the text model", "weights follow from", "equal to vLLM"), rows)
        + f"\nNot planned (`ArchitectureUnknown`, {len(unknown)}):\n\n"
        + table(("architecture", "why"), list(unknown.items()))
    )


def answers_file(folder: Path) -> Path:
    """Where the answers to today's questions are kept: other questions have another file."""
    digest = hashlib.sha256(WALK.read_bytes() + ORACLE.read_bytes()).hexdigest()[:12]
    return folder / f"oracle-walk-{digest}.jsonl"


def _walk(variant: str, kept: KeptAnswers, names: Sequence[str], failed: bool) -> list[str]:
    """Ask one version about these architectures, or all that it registers; the names that it registers."""
    python = str(runpy.run_path(str(ENVIRONMENT))["ensure"](variant))
    kept.ask(python, variant, [LIST], PER_CASE)
    registered = sorted((kept.get(variant, LIST) or {})["list"])
    asked = [name for name in names or registered if name in registered]
    kept.ask(python, variant, [case for name in asked for case in cases_of(name)], PER_CASE, failed=failed)
    return registered


def _answered(kept: KeptAnswers, names: Iterable[str]) -> list[dict[str, Any]]:
    """The kept answers of all versions about these architectures, of each case the oldest version first.

    Where one version lists no tensors of a checkpoint, those that another lists are of the same checkpoint.
    """
    found: list[dict[str, Any]] = []
    for case in (case for name in names for case in cases_of(name)):
        answers = [answer for variant in reversed(VARIANTS) if (answer := kept.get(variant, case)) is not None]
        tensors: list[Any] = next((answer["tensors"] for answer in reversed(answers) if answer.get("tensors")), [])
        found += [{**answer, "tensors": answer.get("tensors") or tensors} for answer in answers if counted(answer)]
    return found


def main() -> None:
    """Walk, print what is found, and write it on request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("architectures", nargs="*", help="default: every one of the registry")
    parser.add_argument("--answers", type=Path, help="file that answers are kept in; default: one in the cache folder")
    parser.add_argument("--write", action="store_true", help="write the data file and the table, from all kept answers")
    parser.add_argument("--failed", action="store_true", help="ask again what was answered with an error")
    parser.add_argument("--kept", action="store_true", help="ask nothing: judge the answers that are kept")
    options = parser.parse_args()
    cache: Path = runpy.run_path(str(ENVIRONMENT))["cache_root"]()
    kept = KeptAnswers(options.answers or answers_file(cache))
    if not options.kept:
        with ThreadPoolExecutor(len(VARIANTS)) as pool:
            list(pool.map(lambda variant: _walk(variant, kept, options.architectures, options.failed), VARIANTS))
    registry: dict[str, str] = (kept.get(VARIANTS[0], LIST) or {"list": {}})["list"]
    for one in merged(map(judge, _answered(kept, options.architectures or registry))):
        print(f"{one.architecture:44} {one.model_type:22} {one.proof or '-':8} {one.why} {one.detail[:240]}")
    if options.write:
        answers = _answered(kept, registry)
        content = document(merged(map(judge, answers)), answers, registry)
        DATA.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
        write(DOCS / "architectures.md", "make oracle-walk", page(content, compared(answers, content["versions"])))


if __name__ == "__main__":
    main()
