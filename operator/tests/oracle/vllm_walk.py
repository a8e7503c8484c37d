"""Runs inside the engine's environment: walks the architectures of vLLM's registry. JSON lines in, JSON lines out.

Each architecture gets the default configuration of its class in Transformers or vLLM, or the one that is given, and the
oracle's questions on one rank, on two tensor-parallel ranks and on two pipeline stages.

Input: {"architecture", "config"?, "fields"?} (fields that the class has no default for), or {"list": true}.
Output: {"architecture", "config", "version", "defaults", "one_stage", "variants": [{"tp", "pp", "questions", "weights",
"kv", "by_name", "caches"}], "tensors"?} or {"architecture", "error"}; of a list the kind of each architecture by its
name.
"""

from __future__ import annotations

import dataclasses
import importlib.abc
import importlib.machinery
import json
import os
import re
import sys
import tempfile
from typing import Any
from unittest import mock

os.environ["VLLM_ALLOW_LONG_MAX_MODEL_LEN"] = "1"

import torch
import transformers
import vllm_oracle as oracle
from transformers.models.auto import configuration_auto, modeling_auto
from vllm.config import set_current_vllm_config
from vllm.model_executor.models import registry
from vllm.platforms import current_platform
from vllm.transformers_utils.config import _CONFIG_REGISTRY as VLLM_CONFIGS
from vllm.triton_utils import triton

TEXT_CONFIGS = ("text_config", "llm_config", "language_config", "thinker_config")
RANKS = ((1, 1), (2, 1), (1, 2))
"""Tensor and pipeline parallel sizes."""
QUESTIONS: list[dict[str, Any]] = [
    {"max_model_len": 8192, "batched": 2048, "block_size": 32, "available": 2**34 + 12345, "in_flight": 1,
     "no_hybrid": False, "prefix": True},
    {"max_model_len": 3000, "batched": 8192, "block_size": 64, "available": 2**33, "in_flight": 2,
     "no_hybrid": False, "prefix": False},
    {"max_model_len": 32768, "batched": 8192, "block_size": 32, "available": 2**35 + 999, "in_flight": 2,
     "no_hybrid": True, "prefix": False},
]  # fmt: skip
_MANY_EXPERTS = 3000
"""Experts of all layers from which on a checkpoint's tensors are left fused, as Transformers has them."""
_NOT_IN_FILES = frozenset({"_name_or_path", "transformers_version", "dtype", "torch_dtype", "auto_map"})


class KernelLibrary(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for libraries of GPU kernels, which classes import while they are built and use when they run."""

    names = ("cutlass",)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        """The specification of a module of such a library; None for any other."""
        if fullname.split(".")[0] not in self.names:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: Any) -> Any:
        """A module that has every name."""
        module = mock.MagicMock(name=spec.name)
        module.__path__, module.__name__ = [], spec.name
        return module

    def exec_module(self, module: Any) -> None:
        """Nothing."""


class NoStream:
    """Stands in for a CUDA stream or event, which a class makes while it is built."""

    def __init__(self, *given: Any, **named: Any) -> None:
        pass


def stand_in_for_a_gpu() -> None:
    """Let classes be built that reach for a GPU's libraries and streams, or for numbers in tensors, on the way."""
    sys.meta_path.append(KernelLibrary())
    torch.cuda.Stream = torch.cuda.Event = NoStream
    torch.distributions.Distribution.set_default_validate_args(False)
    triton.set_allocator = lambda *given: None
    item, tolist = torch.Tensor.item, torch.Tensor.tolist
    # numbers that a class computes while it is built, such as slopes; no size follows from them
    torch.Tensor.item = lambda self: 0.0 if self.is_meta else item(self)
    torch.Tensor.tolist = lambda self: tolist(torch.zeros(self.shape, device="cpu") if self.is_meta else self)
    # block sizes that the kernels for CPUs do not have
    type(current_platform)._check_aligned_block_size = classmethod(lambda *given: None)


stand_in_for_a_gpu()
SELECT_BACKEND = current_platform.get_attn_backend_cls


def select_dense(selected_backend: Any, attn_selector_config: Any, num_heads: int | None = None) -> str:
    """The attention backend of a CPU for any layer: vLLM has no sparse one for it, and the cache is the same."""
    name: str = SELECT_BACKEND(selected_backend, attn_selector_config._replace(use_sparse=False), num_heads)
    return name


type(current_platform).get_attn_backend_cls = staticmethod(select_dense)


def model_types() -> dict[str, list[str]]:
    """Model types by architecture, as Transformers maps them."""
    found: dict[str, list[str]] = {}
    mappings = [getattr(modeling_auto, name) for name in dir(modeling_auto) if name.endswith("_MAPPING_NAMES")]
    for model_type, classes in (item for mapping in mappings for item in mapping.items()):
        for name in [classes] if isinstance(classes, str) else classes:
            if name:
                found.setdefault(name, []).append(model_type)
    return found


TYPES = model_types()


def plain(name: str) -> str:
    """A name without case and punctuation."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def config_class(architecture: str) -> tuple[str, Any]:
    """The model type of an architecture and its configuration class: as mapped, or of the type that has its name."""
    base = re.sub(r"(For[A-Z]\w*|LMHeadModel|ChatModel|BidirectionalModel|Model)$", "", architecture)
    named = [name for name in (*VLLM_CONFIGS, *configuration_auto.CONFIG_MAPPING_NAMES) if plain(name) == plain(base)]
    mapped = sorted(TYPES.get(architecture, ()), key=lambda name: not name.endswith("_text"))
    for model_type in (*mapped, *named):
        if model_type in VLLM_CONFIGS:
            return model_type, VLLM_CONFIGS[model_type]
        return model_type, type(transformers.AutoConfig.for_model(model_type))
    raise LookupError("neither Transformers nor vLLM has a configuration of its own for it")


def in_file(config: dict[str, Any]) -> dict[str, Any]:
    """The fields that a config.json of this configuration has."""
    kept = {key: in_file(value) if isinstance(value, dict) else value for key, value in config.items()}
    return {key: value for key, value in kept.items() if key not in _NOT_IN_FILES}


def complete(config: Any) -> Any:
    """The default of a configuration class, with each encoder that it may have."""
    default, parts = config(), getattr(config, "sub_configs", None) or {}
    absent = {name: part() for name, part in parts.items() if getattr(default, name, None) is None and part}
    try:
        return config(**absent) if absent else default
    except Exception:  # noqa: BLE001 - a part may not stand on its own; then the class's own default is asked
        return default


def field_defaults(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Per model type of the configuration the values of fields that its file may leave out."""
    found = {}
    for block in (config, *(value for value in config.values() if isinstance(value, dict))):
        model_type = str(block.get("model_type"))
        if model_type in VLLM_CONFIGS or model_type in configuration_auto.CONFIG_MAPPING_NAMES:
            known = VLLM_CONFIGS.get(model_type) if model_type in VLLM_CONFIGS else None
            chosen = known or type(transformers.AutoConfig.for_model(model_type))
            renamed = {name for pair in (getattr(chosen, "attribute_map", None) or {}).items() for name in pair}
            declared = dataclasses.fields(chosen) if dataclasses.is_dataclass(chosen) else ()
            found[model_type] = {
                field.name: field.default
                for field in declared
                if isinstance(field.default, bool | int | float | str) and field.name not in renamed
            }
    return found


def default_config(architecture: str) -> dict[str, Any]:
    """config.json with every field that the configuration class has by default."""
    model_type, chosen = config_class(architecture)
    default = complete(chosen)
    fields = in_file(default.to_dict())
    fields |= {"architectures": [architecture], "model_type": model_type, "dtype": "bfloat16"}
    found: dict[str, Any] = json.loads(json.dumps(fields, default=str))
    return found


def checkpoint_tensors(folder: str, architecture: str) -> list[list[Any]]:
    """[name, dtype, shape] of a checkpoint's tensors, by the Transformers class of this name; empty without one."""
    model_class = getattr(transformers, architecture, None)
    if model_class is None:
        return []
    config = transformers.AutoConfig.from_pretrained(folder)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("meta"):
        model = model_class._from_config(config)
    by_storage = {tensor.untyped_storage()._cdata: name for name, tensor in reversed(model.state_dict().items())}
    kept = set(by_storage.values())  # what several layers share is in the file once
    tensors = {name: tensor for name, tensor in model.state_dict().items() if name in kept}
    tied = set(getattr(model, "_tied_weights_keys", None) or ()) if config.tie_word_embeddings else set()
    if sum(t.shape[0] for name, t in tensors.items() if ".experts." in name and t.dim() == 3) < _MANY_EXPERTS:
        tensors = transformers.core_model_loading.revert_weight_conversion(model, tensors)
    wide = {torch.float32: "F32"}
    return [[name, wide.get(t.dtype, "BF16"), list(t.shape)] for name, t in tensors.items() if name not in tied]


def variant(config: Any, tp: int, pp: int) -> dict[str, Any]:
    """Weights per stage and the answers to the questions for one way of spreading the model."""
    parallel = config.parallel_config
    parallel.tensor_parallel_size, parallel.pipeline_parallel_size, parallel.world_size = tp, pp, tp * pp
    stages = [oracle.stage_model(config, tp, pp, stage) for stage in range(pp)]
    kv: list[dict[str, Any]] = []
    kinds: dict[str, int] = {}
    for question in QUESTIONS:
        oracle.apply_question(config, question)
        specs = []
        for stage, (layers, *_) in enumerate(stages):
            config.cache_config.block_size = question["block_size"]
            specs.append(oracle.specs_of(config, layers, tp, pp, stage))
        kinds = kinds or counted(specs)
        flight = mock.PropertyMock(return_value=question["in_flight"])
        with mock.patch.object(type(config), "max_concurrent_batches", flight), set_current_vllm_config(config):
            kv.append(oracle.kv_answer(config, specs, question["available"]))
    return {"tp": tp, "pp": pp, "questions": QUESTIONS, "weights": [size for _, size, _ in stages], "kv": kv,
            "by_name": [sizes for *_, sizes in stages], "caches": kinds}  # fmt: skip


def counted(specs: list[dict[str, Any]]) -> dict[str, int]:
    """Number of layers by the spec of their cache, in words: for reading a difference."""
    found: dict[str, int] = {}
    for spec in (one for stage in specs for one in stage.values()):
        found[repr(spec)] = found.get(repr(spec), 0) + 1
    return found


def answer(case: dict[str, Any]) -> dict[str, Any]:
    """The engine's answers for one architecture."""
    architecture = case["architecture"]
    config = case.get("config") or default_config(architecture)
    text = next((config[key] for key in TEXT_CONFIGS if key in config), config)
    text.update(case.get("fields", {}))
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "config.json"), "w") as file:
            json.dump(config, file)
        engine = oracle.engine_config(folder, {"kv_dtype": "auto", "questions": []})
        variants = [variant(engine, *RANKS[0])]
        one_stage = not engine.model_config.registry.is_pp_supported_model([architecture], engine.model_config)
        for tp, pp in RANKS[1:]:
            if pp > 1 and one_stage:
                continue
            try:
                variants.append(variant(engine, tp, pp))
            except Exception as error:  # noqa: BLE001 - not every class can be spread; the reason is part of the answer
                variants.append({"tp": tp, "pp": pp, "error": described(error)})
        try:
            tensors: dict[str, Any] = {"tensors": checkpoint_tensors(folder, architecture)}
        except Exception as error:  # noqa: BLE001 - then only config.json is compared, and the table says so
            tensors = {"tensors": [], "tensors_error": described(error)}
    return {"architecture": architecture, "config": config, "version": oracle.vllm.__version__,
            "variants": variants, "defaults": field_defaults(config), "one_stage": one_stage,
            **tensors}  # fmt: skip


def registered() -> dict[str, str]:
    """The kind of each architecture that the engine registers, as its registry sorts them; of several the first."""
    kinds = {
        kind: getattr(registry, f"_{kind.upper()}_MODELS", {})
        for kind in ("text_generation", "multimodal", "transformers_supported", "transformers_backend",
                     "speculative_decoding", "embedding", "late_interaction", "reward", "token_classification",
                     "sequence_classification")
    }  # fmt: skip
    return {name: next((kind for kind in kinds if name in kinds[kind]), "") for name in sorted(registry._VLLM_MODELS)}


def described(error: Exception) -> str:
    """An error in one short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def main() -> None:
    """Answer each line of standard input until it ends."""
    for line in sys.stdin:
        case = json.loads(line)
        try:
            result = {"list": registered()} if case.get("list") else answer(case)
        except Exception as error:  # noqa: BLE001 - one architecture must not end the walk
            result = {"architecture": case["architecture"], "error": described(error)}
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
