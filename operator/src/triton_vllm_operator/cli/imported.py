"""A model of a Triton repository as an LLMDeployment, and what became of each of its fields. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic.alias_generators import to_camel

from triton_vllm_operator.api import names
from triton_vllm_operator.api.model_source import FORMS, HubSource, is_repository
from triton_vllm_operator.catalog import argument_table, arguments
from triton_vllm_operator.catalog.argument_policy import policy
from triton_vllm_operator.catalog.argument_translation import Outcome, Translation, translate
from triton_vllm_operator.catalog.spelling import canonical
from triton_vllm_operator.cli import imported_files
from triton_vllm_operator.cli.errors import InputProblem
from triton_vllm_operator.cli.repositories import CONFIG, ENGINE, TritonModel

_PREFIX: Final = "vllm_"
_LORA: Final = ("enable_lora", "max_loras", "max_lora_rank", "max_cpu_loras", "lora_dtype", "fully_sharded_loras")
#: Tensors of the backend's contract: it adds them itself.
_TENSORS: Final = frozenset(
    {
        "text_input", "image", "stream", "sampling_parameters", "exclude_input_in_output", "return_finish_reason",
        "return_cumulative_logprob", "return_logprobs", "return_num_input_tokens", "return_num_output_tokens",
        "embedding_request", "text_output", "finish_reason", "cumulative_logprob", "logprobs", "num_input_tokens",
        "num_output_tokens",
    }
)  # fmt: skip
_FILES: Final = {
    "multi_lora.json": "spec has no field for adapters: {keys}",
}
_PARAMETERS: Final = {
    "REPORT_CUSTOM_METRICS": "the operator always switches vLLM's metrics on",
    "ENABLE_VLLM_HEALTH_CHECK": "readiness of the operator's image always means tokens",
    "GPU_DEVICE_IDS": "Kubernetes chooses the GPUs of a pod; their number is tensorParallelSize x pipelineParallelSize",
}
_SETTINGS: Final = {
    "dynamic_batching": "vLLM batches by itself, continuously; maxNumSeqs and maxNumBatchedTokens bound it",
    "sequence_batching": "vLLM batches by itself, continuously",
    "model_transaction_policy": "the backend answers with a stream by itself",
    "version_policy": "a pod serves one version",
    "model_warmup": "a pod is ready when its engine has made a token",
    "response_cache": "Triton's cache does not hold streams; enablePrefixCaching is vLLM's own",
}


@dataclass(frozen=True, slots=True)
class Target:
    """What the LLMDeployment is written for.

    Attributes:
        name: metadata.name; None for one made of the model's name.
        uri: spec.model.uri, where the repository names a path; None for what model.json says.
        server: spec.server.
        arguments_version: vLLM whose arguments apply.
    """

    name: str | None
    uri: str | None
    server: Mapping[str, str]
    arguments_version: str


@dataclass(frozen=True, slots=True)
class Note:
    """What became of one field of one file."""

    file: str
    field: str
    outcome: Outcome
    text: str


@dataclass(frozen=True, slots=True)
class Imported:
    """The LLMDeployment, and a note on each field of the files."""

    obj: dict[str, Any]
    notes: tuple[Note, ...]


def is_vllm(model: TritonModel) -> bool:
    """Whether the model is one of the vLLM backend; `platform` was never right, and is often written."""
    return "vllm" in (model.config.backend, model.config.platform)


def imported(model: TritonModel, target: Target) -> Imported:
    """Translate one model. Errors: InputProblem where it cannot be told which model is served."""
    given = _arguments(model, target.arguments_version)
    place, located = _location(model, given, target.uri)
    fates = _fates(given, target.arguments_version)
    engine = {name: value for fate in fates for name, value in fate.values.items()}
    replicas, scaled = _replicas(model, engine)
    name, named = _name(model, target.name)
    beside = imported_files.read(model.files)
    server = {**target.server, **beside.server}
    spec: dict[str, Any] = {
        "model": {**place, **({"name": model.name} if name != model.name and model.name else {})},
        **({"engine": _engine_block(engine)} if engine else {}),
        **({"sampling": beside.sampling} if beside.sampling else {}),
        **({"server": server} if server else {}),
        **({"replicas": replicas} if replicas != 1 else {}),
    }
    obj = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": name}, "spec": spec}
    told = [Note(given.file, given.field(fate.name), fate.outcome, fate.text) for fate in fates]
    told += [Note(f"{model.version}/{one.file}", one.key, one.outcome, one.text) for one in beside.told]
    return Imported(obj, (*named, *_config_notes(model), *scaled, *given.notes, *located, *told, *_file_notes(model)))


# ------------------------------------------------------------------------------------------- name and place


def _name(model: TritonModel, wanted: str | None) -> tuple[str, list[Note]]:
    """metadata.name, and a note where it is not the model's name, which then is spec.model.name."""
    plain = re.sub(r"[^a-z0-9]+", "-", model.name.lower()).strip("-")
    found = wanted or re.sub(r"^[^a-z]+", "", plain)[: names.NAME_MAX_LENGTH].strip("-")
    if not found:
        raise InputProblem(f"no name for an LLMDeployment can be made of {model.name!r:.200}: give --name")
    if found == model.name or not model.name:
        return found, []
    text = f"metadata.name: {found}; clients go on calling it {model.name} (spec.model.name)"
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
        notes.append(Note(given.file, given.field("revision"), "dropped", f"it was of {named!r:.200}"))
    return found, notes


def _hub_uri(model: TritonModel, file: str, named: Any) -> str:
    where = f"pass --uri {FORMS}"
    if not isinstance(named, str) or not named:
        raise InputProblem(f"{model.name or CONFIG}: {file} does not name a model: {where}")
    if not is_repository(named):
        what = "a path in the server's container" if "/" in named else "no ORG/REPO of the hub"
        raise InputProblem(f"{model.name or CONFIG}: {file}: model {named!r:.200} is {what}: {where}")
    return HubSource(named).uri


def _replicas(model: TritonModel, engine: Mapping[str, Any]) -> tuple[int, list[Note]]:
    """Instances were engines, and engines are pods; but many wrote the number of GPUs there."""
    gpus = int(engine.get("tensor_parallel_size", 1)) * int(engine.get("pipeline_parallel_size", 1))
    engines = sum(max(group.count, 1) * max(len(group.gpus), 1) for group in model.config.instance_group)
    if engines <= 1:
        text = "Kubernetes chooses the GPUs of a pod"
        pinned = any(group.gpus for group in model.config.instance_group)
        return 1, [Note(CONFIG, "instance_group", "changed", text)] if pinned else []
    if gpus > 1:
        text = f"one engine a pod, with {gpus} GPUs: the count is of engines, not of GPUs; spec.replicas is of pods"
        return 1, [Note(CONFIG, "instance_group", "changed", text)]
    text = f"replicas: {engines}: one engine a pod, and GPUs by resource instead of by number"
    return engines, [Note(CONFIG, "instance_group", "changed", text)]


# ------------------------------------------------------------------------------------------ engine arguments


@dataclass(frozen=True, slots=True)
class _Given:
    """Engine arguments, the file that has them, and notes on what else is among the parameters of config.pbtxt."""

    values: Mapping[str, Any]
    file: str
    notes: tuple[Note, ...]
    keys: Mapping[str, str]

    def field(self, name: str) -> str:
        """How the file writes an argument."""
        return self.keys.get(name, name)


def _arguments(model: TritonModel, version: str) -> _Given:
    """Engine arguments of model.json, else those that were written as parameters of config.pbtxt."""
    notes: list[Note] = []
    values: dict[str, Any] = {}
    keys: dict[str, str] = {}
    known = _known(version)
    for key in sorted(model.config.parameters):
        name, value = canonical(key.lower().removeprefix(_PREFIX), model.config.parameters[key].string_value, known)
        if key in _PARAMETERS:
            notes.append(Note(CONFIG, f"parameters.{key}", "dropped", _PARAMETERS[key]))
        elif name not in known:
            notes.append(
                Note(CONFIG, f"parameters.{key}", "dropped", "neither Triton's vLLM backend nor vLLM knows it")
            )
        elif ENGINE in model.files:
            notes.append(Note(CONFIG, f"parameters.{key}", "dropped", f"the backend reads {ENGINE} only"))
        else:
            values[name], keys[name] = value, f"parameters.{key}"
    if ENGINE in model.files:
        return _Given(model.files[ENGINE], f"{model.version}/{ENGINE}", tuple(notes), {})
    return _Given(values, CONFIG, tuple(notes), keys)


def _known(version: str) -> frozenset[str]:
    """Every name of which something can be said."""
    rules, table = policy(), argument_table.load(version)
    told = rules.owned.keys() | rules.unsafe.keys() | rules.sampling | table.last_known.keys()
    return arguments.known_names(table) | told


def _fates(given: _Given, version: str) -> list[Translation]:
    """Of all arguments but those that say where the model is."""
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
                yield Note(CONFIG, field, "dropped", f"Triton refuses {value!r:.80} in a directory named {model.name}")
        elif field == "platform":
            yield Note(CONFIG, field, "changed", 'backend: "vllm": Triton has no platform of that name')
        elif field == "max_batch_size":
            if value > 0:
                text = "Triton's vLLM backend refuses it. spec.engine.maxNumSeqs bounds the sequences in a step"
                yield Note(CONFIG, field, "dropped", text)
        elif field in ("input", "output"):
            yield from _tensors(field, value)
        elif field not in ("backend", "instance_group", "parameters"):
            text = _SETTINGS.get(field, "the vLLM backend has no use for it")
            yield Note(CONFIG, field, "dropped", text)
    if not model.config.instance_group:
        text = "an absent instance_group means an engine on each GPU; the operator writes one engine a pod"
        yield Note(CONFIG, "instance_group", "changed", text)
    for other in model.other_versions:
        yield Note(f"{other}/", "version", "dropped", f"Triton serves version {model.version or 'none'}")


def _tensors(field: str, tensors: Any) -> Iterator[Note]:
    for tensor in tensors:
        told = "the backend adds it itself"
        if tensor.name not in _TENSORS:
            told = f"the backend has none of that name: clients send text_input and read text_output{_was(tensor.name)}"
        yield Note(CONFIG, f"{field} {tensor.name}", "dropped", told)


def _was(name: str) -> str:
    right = {"input_text": "text_input", "prompt": "text_input", "parameters": "sampling_parameters"}
    right |= {"generated_text": "text_output", "output_text": "text_output", "finished": "finish_reason"}
    return f" ({right[name]} is what {name} was meant for)" if name in right else ""


def _file_notes(model: TritonModel) -> Iterator[Note]:
    for file, content in model.files.items():
        if file == ENGINE or file in imported_files.READ:
            continue
        keys = ", ".join(sorted(content)[:10]) or "nothing is in it"
        text = _FILES.get(file, "the backend does not read it").format(keys=keys)
        yield Note(f"{model.version}/{file}", "", "dropped", text)
