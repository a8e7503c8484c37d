"""Options of `plan`, and the planner's inputs that they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml
from pydantic import ValidationError

from triton_vllm_operator.api import quantity
from triton_vllm_operator.api.spec import EngineSpec
from triton_vllm_operator.api.spec.resources import ResourcesSpec
from triton_vllm_operator.capacity import GPUClass, gpu_by_product, gpu_of_memory
from triton_vllm_operator.catalog import engine_rules, releases
from triton_vllm_operator.catalog.engine_rules import EngineVersionError
from triton_vllm_operator.catalog.versions import parse_vllm_version
from triton_vllm_operator.cli.common.deployments import MAX_GPUS
from triton_vllm_operator.cli.common.errors import InputError


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """Options of the command line; None or empty where one was not given."""

    gpu: str | None = None
    gpu_memory_gib: float | None = None
    compute_capability: str | None = None
    gpus: int | None = None
    release: str | None = None
    engine_version: str | None = None
    changes: Sequence[str] = ()


def engine_version(options: PlanOptions) -> tuple[str, releases.Release | None]:
    """The vLLM version (of --engine-version, --release or the newest release), and the row of the release table."""
    if options.release is not None and options.engine_version is not None:
        raise InputError("give --release or --engine-version, not both")
    if options.engine_version is not None:
        return _supported(options.engine_version), None
    table = releases.load()
    row = table.newest if options.release is None else table.find(options.release)
    if row is None:
        known = ", ".join(row.release for row in [*table.usable("nvidia"), *table.usable("own")][:6])
        raise InputError(f"release {options.release!r:.40} is unknown. Known releases are {known} and others")
    if row.vllm is None:
        raise InputError(f"the vLLM version of release {row.release} is not published; give --engine-version")
    return row.vllm, row


def _supported(version: str) -> str:
    """The version in canonical form.

    Raises:
        InputError: the version is invalid or not supported.
    """
    try:
        engine_rules.rules_for(version)
    except EngineVersionError as error:
        raise InputError(f"{error.reason}: {error}") from None
    return str(parse_vllm_version(version))


def gpu_class(options: PlanOptions) -> GPUClass:
    """The GPU class of `--gpu` or `--gpu-memory-gib`, with `--gpus` of them per node."""
    if (options.gpu is None) == (options.gpu_memory_gib is None):
        raise InputError("give one of --gpu PRODUCT and --gpu-memory-gib N")
    found = gpu_by_product(options.gpu) if options.gpu is not None else gpu_of_memory(options.gpu_memory_gib or 0.0)
    if options.compute_capability is not None:
        found = replace(found, compute_capability=_capability(options.compute_capability))
    return replace(found, per_node=options.gpus or 0)


def _capability(text: str) -> tuple[int, int]:
    major, dot, minor = text.partition(".")
    if not (dot and major.isdigit() and minor.isdigit() and len(text) < 8):
        raise InputError(f"invalid --compute-capability {text!r:.20}: must be MAJOR.MINOR, such as 9.0")
    return int(major), int(minor)


def engine_of(options: PlanOptions) -> EngineSpec:
    """The `engine` block of `--set` (fields of `spec.engine`). `--gpus` sets the tensor parallel size."""
    fields = fields_of(options.changes, "engine")
    gpus = _checked_gpus(options)
    if gpus is not None and "tensorParallelSize" not in fields:
        fields["tensorParallelSize"] = _share(gpus, fields.get("pipelineParallelSize", 1))
    engine = engine_spec(fields)
    check_gpus(engine, options)
    return engine


def check_gpus(engine: EngineSpec, options: PlanOptions) -> None:
    """Check that the parallel sizes need no more GPUs than `--gpus`.

    Raises:
        InputError: they need more.
    """
    gpus, tensor, stages = _checked_gpus(options), engine.tensor_parallel_size or 1, engine.pipeline_parallel_size
    if gpus is not None and tensor * stages > gpus:
        raise InputError(
            f"tensorParallelSize {tensor} x pipelineParallelSize {stages} needs {tensor * stages} GPUs; "
            f"--gpus gives {gpus}"
        )


def _checked_gpus(options: PlanOptions) -> int | None:
    if options.gpus is not None and not 1 <= options.gpus <= MAX_GPUS:
        raise InputError(f"invalid --gpus {options.gpus}: must be between 1 and {MAX_GPUS}")
    return options.gpus


def _share(gpus: int, stages: Any) -> int:
    if not isinstance(stages, int) or isinstance(stages, bool) or stages < 1 or gpus % stages:
        raise InputError(f"--gpus {gpus} is not a multiple of engine.pipelineParallelSize {stages!r:.20}")
    return gpus // stages


def fields_of(changes: Sequence[str], block: str) -> dict[str, Any]:
    """A block of a spec, `engine` or `resources`, for changes such as `engine.maxModelLen=8192`. Values are YAML."""
    found: dict[str, Any] = {}
    for change in changes:
        path, equals, text = change.partition("=")
        parts = path.split(".")
        extra = len(parts) == 3 and parts[:2] == ["engine", "extraArgs"]
        if not equals or parts[0] not in ("engine", "resources") or not (len(parts) == 2 or extra):
            raise InputError(
                f"invalid --set {change[:80]!r}: must be engine.FIELD=VALUE, engine.extraArgs.NAME=VALUE or "
                "resources.FIELD=VALUE, such as engine.maxModelLen=8192"
            )
        if parts[0] == block:
            (found.setdefault("extraArgs", {}) if extra else found)[parts[-1]] = _value(change, text)
    return found


def resources_of(options: PlanOptions) -> ResourcesSpec:
    """The `resources` block of `--set`. GPUs are given by options of their own.

    Raises:
        InputError: a field is unknown or invalid; the text names it.
    """
    fields = fields_of(options.changes, "resources")
    if "gpu" in fields:
        raise InputError("invalid --set resources.gpu: give --gpu or --gpu-memory-gib")
    try:
        resources = ResourcesSpec.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(["resources", *(str(part) for part in first["loc"])])
        raise InputError(f"invalid --set {where}: {first['msg']}") from None
    for name, value in fields.items():
        try:
            quantity.parse(value)
        except ValueError as error:
            raise InputError(f"invalid --set resources.{name}: {error}") from None
    return resources


def _value(change: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        raise InputError(f"invalid --set {change[:80]!r}: the value is not YAML") from None


def engine_spec(fields: dict[str, Any]) -> EngineSpec:
    """Validate the `engine` block of a spec.

    Raises:
        InputError: a field is unknown or invalid; the text names it.
    """
    try:
        return EngineSpec.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(["engine", *(str(part) for part in first["loc"])])
        if first["type"] == "extra_forbidden":
            raise InputError(
                f"unknown field --set {where}. Other engine arguments go in engine.extraArgs under vLLM's own name"
            ) from None
        raise InputError(f"invalid --set {where}: {first['msg']}") from None
