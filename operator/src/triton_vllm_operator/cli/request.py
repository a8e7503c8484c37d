"""What ``plan`` is asked: options of the command line to the planner's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml
from pydantic import ValidationError

from triton_vllm_operator.api.spec import EngineSpec
from triton_vllm_operator.capacity import EngineSettings, GPUClass, gpu_by_product, gpu_of_memory
from triton_vllm_operator.catalog import engine_rules, releases
from triton_vllm_operator.catalog.engine_rules import EngineVersionError
from triton_vllm_operator.catalog.versions import parse_vllm_version
from triton_vllm_operator.cli.errors import InputProblem
from triton_vllm_operator.plan.engine_settings import engine_settings

#: Most GPUs that one replica may be asked for.
MAX_GPUS = 1024


@dataclass(frozen=True, slots=True)
class Options:
    """Options as they were given; None or empty where they were not."""

    gpu: str | None = None
    gpu_memory_gib: float | None = None
    compute_capability: str | None = None
    gpus: int | None = None
    release: str | None = None
    engine_version: str | None = None
    changes: Sequence[str] = ()


def engine_of(options: Options) -> tuple[str, releases.Release | None]:
    """The vLLM version: given, that of the release, or that of the newest release in the table; and the release."""
    if options.release is not None and options.engine_version is not None:
        raise InputProblem("give --release or --engine-version, not both")
    if options.engine_version is not None:
        return _known_engine(options.engine_version), None
    table = releases.load()
    row = table.newest if options.release is None else table.find(options.release)
    if row is None:
        known = ", ".join(row.release for row in [*table.usable("nvidia"), *table.usable("own")][:6])
        raise InputProblem(f"release {options.release!r:.40} is not in the table; known are {known} and others")
    if row.vllm is None:
        raise InputProblem(f"no source names the vLLM version of release {row.release}; give --engine-version")
    return row.vllm, row


def _known_engine(version: str) -> str:
    """The version without a leading v and without its local part. Errors: InputProblem where it has no rules."""
    try:
        engine_rules.rules_for(version)
    except EngineVersionError as error:
        raise InputProblem(f"{error.reason}: {error}") from None
    return str(parse_vllm_version(version))


def gpu_of(options: Options) -> GPUClass:
    """The GPU class of ``--gpu`` or ``--gpu-memory-gib``; ``--gpus`` is how many of them one node has."""
    if (options.gpu is None) == (options.gpu_memory_gib is None):
        raise InputProblem("give one of --gpu PRODUCT and --gpu-memory-gib N")
    found = gpu_by_product(options.gpu) if options.gpu is not None else gpu_of_memory(options.gpu_memory_gib or 0.0)
    if options.compute_capability is not None:
        found = replace(found, compute_capability=_capability(options.compute_capability))
    return replace(found, per_node=options.gpus or 0)


def _capability(text: str) -> tuple[int, int]:
    major, dot, minor = text.partition(".")
    if not (dot and major.isdigit() and minor.isdigit() and len(text) < 8):
        raise InputProblem(f"--compute-capability {text!r:.20} is not MAJOR.MINOR, such as 9.0")
    return int(major), int(minor)


def settings_of(options: Options) -> EngineSettings:
    """Engine settings of ``--set`` in the words of ``spec.engine``; the parallel size follows ``--gpus``."""
    fields = engine_fields(options.changes)
    gpus = _checked_gpus(options)
    if gpus is not None and "tensorParallelSize" not in fields:
        fields["tensorParallelSize"] = _share(gpus, fields.get("pipelineParallelSize", 1))
    engine = checked(fields)
    within(engine, options)
    return engine_settings(engine, engine_of(options)[0])


def within(engine: EngineSpec, options: Options) -> None:
    """Errors: InputProblem where the parallel sizes that the engine is told need more GPUs than ``--gpus``."""
    gpus, tensor, stages = _checked_gpus(options), engine.tensor_parallel_size or 1, engine.pipeline_parallel_size
    if gpus is not None and tensor * stages > gpus:
        raise InputProblem(
            f"tensorParallelSize {tensor} x pipelineParallelSize {stages} needs {tensor * stages} GPUs; "
            f"--gpus gives {gpus}"
        )


def _checked_gpus(options: Options) -> int | None:
    if options.gpus is not None and not 1 <= options.gpus <= MAX_GPUS:
        raise InputProblem(f"--gpus {options.gpus} is not between 1 and {MAX_GPUS}")
    return options.gpus


def _share(gpus: int, stages: Any) -> int:
    if not isinstance(stages, int) or isinstance(stages, bool) or stages < 1 or gpus % stages:
        raise InputProblem(f"--gpus {gpus} is not a multiple of engine.pipelineParallelSize {stages!r:.20}")
    return gpus // stages


def engine_fields(changes: Sequence[str]) -> dict[str, Any]:
    """``engine.maxModelLen=8192`` and the like, as the ``engine`` block of a spec. Values are read as YAML."""
    engine: dict[str, Any] = {}
    for change in changes:
        path, equals, text = change.partition("=")
        parts = path.split(".")
        extra = len(parts) == 3 and parts[1] == "extraArgs"
        if not equals or parts[0] != "engine" or not (len(parts) == 2 or extra):
            raise InputProblem(
                f"--set {change[:80]!r} is not engine.FIELD=VALUE or engine.extraArgs.NAME=VALUE, "
                "such as engine.maxModelLen=8192"
            )
        holder = engine.setdefault("extraArgs", {}) if extra else engine
        holder[parts[-1]] = _value(change, text)
    return engine


def _value(change: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        raise InputProblem(f"--set {change[:80]!r}: the value is not YAML") from None


def checked(fields: dict[str, Any]) -> EngineSpec:
    """The ``engine`` block of a spec. Errors: InputProblem with the field."""
    try:
        return EngineSpec.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(["engine", *(str(part) for part in first["loc"])])
        if first["type"] == "extra_forbidden":
            raise InputProblem(f"--set {where}: there is no such field; other engine arguments go in engine.extraArgs "
                               "under vLLM's own name") from None  # fmt: skip
        raise InputProblem(f"--set {where}: {first['msg']}") from None
