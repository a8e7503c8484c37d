"""Translation of a model of a Triton repository to an LLMDeployment, with a note on each field. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic.alias_generators import to_camel

from contract import files
from contract.files import CONFIG, ENGINE
from contract.tensors import NAMES as TENSORS
from triton_vllm_operator.api import names
from triton_vllm_operator.api.model_source import FORMS, HubSource, is_repository
from triton_vllm_operator.catalog import argument_table, arguments
from triton_vllm_operator.catalog.argument_policy import policy
from triton_vllm_operator.catalog.argument_translation import Outcome, Translation, translate
from triton_vllm_operator.catalog.spelling import canonical
from triton_vllm_operator.cli.common.errors import InputError
from triton_vllm_operator.cli.import_ import request_files
from triton_vllm_operator.cli.import_.repository import TritonModel

_PREFIX: Final = "vllm_"
_LORA: Final = ("enable_lora", "max_loras", "max_lora_rank", "max_cpu_loras", "lora_dtype", "fully_sharded_loras")
_FILES: Final = {
    files.LORA: "spec has no field for adapters: {keys}",
}
_PARAMETERS: Final = {
    files.METRICS_PARAMETER: "the operator always enables vLLM's metrics",
    "ENABLE_VLLM_HEALTH_CHECK": "readiness in the operator's image always requires a generated token",
    "GPU_DEVICE_IDS": "Kubernetes assigns the GPUs of a pod; their number is tensorParallelSize x pipelineParallelSize",
}
_SETTINGS: Final = {
    "dynamic_batching": "vLLM uses continuous batching; maxNumSeqs and maxNumBatchedTokens limit it",
    "sequence_batching": "vLLM uses continuous batching",
    "model_transaction_policy": "the backend enables decoupled responses itself",
    "version_policy": "a pod serves one version",
    "model_warmup": "a pod is ready when its engine has generated a token",
    "response_cache": "Triton's cache does not support decoupled models; use enablePrefixCaching",
}


@dataclass(frozen=True, slots=True)
class Target:
    """Options of the translation.

    Attributes:
        name: metadata.name; None for one derived from the model's name.
        uri: spec.model.uri, where the repository names a path; None for the model of model.json.
        server: spec.server.
        arguments_version: vLLM version whose arguments apply.
    """

    name: str | None
    uri: str | None
    server: Mapping[str, str]
    arguments_version: str


@dataclass(frozen=True, slots=True)
class Note:
    """Outcome for one field of one file."""

    file: str
    field: str
    outcome: Outcome
    text: str


@dataclass(frozen=True, slots=True)
class Imported:
    """An LLMDeployment, with a note on each field of the files."""

    obj: dict[str, Any]
    notes: tuple[Note, ...]


def is_vllm(model: TritonModel) -> bool:
    """Whether the model uses the vLLM backend. `platform: "vllm"` is invalid, and common."""
    return "vllm" in (model.config.backend, model.config.platform)


def translated(model: TritonModel, target: Target) -> Imported:
    """Translate one model.

    Raises:
        InputError: the files do not identify the model that is served.
    """
    given = _arguments(model, target.arguments_version)
    place, located = _location(model, given, target.uri)
    fates = _fates(given, target.arguments_version)
    engine = {name: value for fate in fates for name, value in fate.values.items()}
    replicas, scaled = _replicas(model, engine)
    name, named = _name(model, target.name)
    settings = request_files.read(model.files)
    server = {**target.server, **settings.server}
    spec: dict[str, Any] = {
        "model": {**place, **({"name": model.name} if name != model.name and model.name else {})},
        **({"engine": _engine_block(engine)} if engine else {}),
        **({"sampling": settings.sampling} if settings.sampling else {}),
        **({"server": server} if server else {}),
        **({"replicas": replicas} if replicas != 1 else {}),
    }
    obj = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": name}, "spec": spec}
    notes = [Note(given.file, given.field(fate.name), fate.outcome, fate.text) for fate in fates]
    notes += [Note(f"{model.version}/{one.file}", one.key, one.outcome, one.text) for one in settings.notes]
    return Imported(obj, (*named, *_config_notes(model), *scaled, *given.notes, *located, *notes, *_file_notes(model)))


# ------------------------------------------------------------------------------------------- name and place


def _name(model: TritonModel, option: str | None) -> tuple[str, list[Note]]:
    """metadata.name, and a note where it is not the model's name, which then is spec.model.name."""
    plain = re.sub(r"[^a-z0-9]+", "-", model.name.lower()).strip("-")
    found = option or re.sub(r"^[^a-z]+", "", plain)[: names.NAME_MAX_LENGTH].strip("-")
    if not found:
        raise InputError(f"cannot derive metadata.name from {model.name!r:.200}: give --name")
    if found == model.name or not model.name:
        return found, []
    text = f"metadata.name: {found}; clients keep the name {model.name} (spec.model.name)"
    return found, [Note(model.name, "directory", "changed", text)]


def _location(model: TritonModel, given: _Given, uri: str | None) -> tuple[dict[str, str], list[Note]]:
    """spec.model.uri and revision, and notes on where they come from."""
    named, revision = given.values.get("model"), given.values.get("revision")
    found = {"uri": uri or _hub_uri(model, given.file, named)}
    notes: list[Note] = []
    if named is not None:
        outcome: Outcome = "kept" if uri is None else "changed"
        notes.append(Note(given.file, given.field("model"), outcome, f"spec.model.uri: {found['uri']}"))
    if revision is not None and uri is None:
        found["revision"] = str(revision)
        notes.append(Note(given.file, given.field("revision"), "kept", "spec.model.revision"))
    elif revision is not None:
        notes.append(Note(given.file, given.field("revision"), "dropped", f"it is a revision of {named!r:.200}"))
    return found, notes


def _hub_uri(model: TritonModel, file: str, named: Any) -> str:
    where = f"pass --uri {FORMS}"
    if not isinstance(named, str) or not named:
        raise InputError(f"{model.name or CONFIG}: {file} does not name a model: {where}")
    if not is_repository(named):
        what = "a path in the server's container" if "/" in named else "not in the form ORG/REPO"
        raise InputError(f"{model.name or CONFIG}: {file}: model {named!r:.200} is {what}: {where}")
    return HubSource(named).uri


def _replicas(model: TritonModel, engine: Mapping[str, Any]) -> tuple[int, list[Note]]:
    """spec.replicas: an instance was an engine, which is a pod now. Many files have the number of GPUs there."""
    gpus = int(engine.get("tensor_parallel_size", 1)) * int(engine.get("pipeline_parallel_size", 1))
    engines = sum(max(group.count, 1) * max(len(group.gpus), 1) for group in model.config.instance_group)
    if engines <= 1:
        text = "Kubernetes assigns the GPUs of a pod"
        pinned = any(group.gpus for group in model.config.instance_group)
        return 1, [Note(CONFIG, "instance_group", "changed", text)] if pinned else []
    if gpus > 1:
        text = f"one engine per pod, with {gpus} GPUs: count is the number of engines, spec.replicas that of pods"
        return 1, [Note(CONFIG, "instance_group", "changed", text)]
    text = f"replicas: {engines}: one engine per pod, with GPUs by resource instead of by index"
    return engines, [Note(CONFIG, "instance_group", "changed", text)]


# ------------------------------------------------------------------------------------------ engine arguments


@dataclass(frozen=True, slots=True)
class _Given:
    """Engine arguments, the file that has them, and notes on the other parameters of config.pbtxt."""

    values: Mapping[str, Any]
    file: str
    notes: tuple[Note, ...]
    keys: Mapping[str, str]

    def field(self, name: str) -> str:
        """The key of an argument in the file."""
        return self.keys.get(name, name)


def _arguments(model: TritonModel, version: str) -> _Given:
    """Engine arguments of model.json, else those among the parameters of config.pbtxt."""
    notes: list[Note] = []
    values: dict[str, Any] = {}
    keys: dict[str, str] = {}
    known = _known(version)
    for key in sorted(model.config.parameters):
        name, value = canonical(key.lower().removeprefix(_PREFIX), model.config.parameters[key].string_value, known)
        if key in _PARAMETERS:
            notes.append(Note(CONFIG, f"parameters.{key}", "dropped", _PARAMETERS[key]))
        elif name not in known:
            notes.append(Note(CONFIG, f"parameters.{key}", "dropped", "unknown to Triton's vLLM backend and to vLLM"))
        elif ENGINE in model.files:
            notes.append(Note(CONFIG, f"parameters.{key}", "dropped", f"the backend reads only {ENGINE}"))
        else:
            values[name], keys[name] = value, f"parameters.{key}"
    if ENGINE in model.files:
        return _Given(model.files[ENGINE], f"{model.version}/{ENGINE}", tuple(notes), {})
    return _Given(values, CONFIG, tuple(notes), keys)


def _known(version: str) -> frozenset[str]:
    """Every argument name for which there is a rule."""
    rules, table = policy(), argument_table.load(version)
    ruled = rules.owned.keys() | rules.unsafe.keys() | rules.sampling | table.last_known.keys()
    return arguments.known_names(table) | ruled


def _fates(given: _Given, version: str) -> list[Translation]:
    """The outcomes of all arguments but those that locate the model."""
    engine = {name: value for name, value in given.values.items() if name not in ("model", "revision")}
    return [_without_adapters(fate) for fate in translate(engine, version)]


def _without_adapters(fate: Translation) -> Translation:
    if canonical(fate.name, None, frozenset(_LORA))[0] not in _LORA:
        return fate
    return Translation(fate.name, "dropped", "spec has no field for adapters")


def _engine_block(engine: Mapping[str, Any]) -> dict[str, Any]:
    typed = {to_camel(name): value for name, value in engine.items() if name in arguments.typed_fields()}
    extra = {name: value for name, value in engine.items() if name not in arguments.typed_fields()}
    return typed | ({"extraArgs": extra} if extra else {})


# ------------------------------------------------------------------------------------------ everything else


def _config_notes(model: TritonModel) -> Iterator[Note]:
    """Every other field of config.pbtxt that is set."""
    for descriptor, value in model.config.ListFields():
        field = descriptor.name
        if field == "name":
            if value != model.name:
                yield Note(CONFIG, field, "dropped", f"Triton rejects {value!r:.80} in a directory named {model.name}")
        elif field == "platform":
            yield Note(CONFIG, field, "changed", 'backend: "vllm": Triton does not have a platform of that name')
        elif field == "max_batch_size":
            if value > 0:
                text = "Triton's vLLM backend rejects it. spec.engine.maxNumSeqs limits the sequences per engine step"
                yield Note(CONFIG, field, "dropped", text)
        elif field in ("input", "output"):
            yield from _tensors(field, value)
        elif field not in ("backend", "instance_group", "parameters"):
            text = _SETTINGS.get(field, "the vLLM backend does not use it")
            yield Note(CONFIG, field, "dropped", text)
    if not model.config.instance_group:
        text = "without instance_group Triton starts one engine per GPU; the operator starts one engine per pod"
        yield Note(CONFIG, "instance_group", "changed", text)
    for other in model.other_versions:
        yield Note(f"{other}/", "version", "dropped", f"Triton serves version {model.version or 'none'}")


def _tensors(field: str, tensors: Any) -> Iterator[Note]:
    for tensor in tensors:
        text = "the backend adds it itself"
        if tensor.name not in TENSORS:
            text = f"unknown to the backend: clients send text_input and read text_output{_was(tensor.name)}"
        yield Note(CONFIG, f"{field} {tensor.name}", "dropped", text)


def _was(name: str) -> str:
    right = {"input_text": "text_input", "prompt": "text_input", "parameters": "sampling_parameters"}
    right |= {"generated_text": "text_output", "output_text": "text_output", "finished": "finish_reason"}
    return f" (did you mean {right[name]}?)" if name in right else ""


def _file_notes(model: TritonModel) -> Iterator[Note]:
    for file, content in model.files.items():
        if file == ENGINE or file in request_files.READ:
            continue
        keys = ", ".join(sorted(content)[:10]) or "the file is empty"
        text = _FILES.get(file, "the backend does not read it").format(keys=keys)
        yield Note(f"{model.version}/{file}", "", "dropped", text)
