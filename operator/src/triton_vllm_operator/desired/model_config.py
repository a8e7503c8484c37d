"""Triton's `config.pbtxt`, printed by protobuf from Triton's own ModelConfig message.

The message comes with tritonclient. Its package imports gRPC, which the operator does not need, so only the module of
the message is loaded, from its file.
"""

import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

import tritonclient
from google.protobuf import text_format

from contract import files


@cache
def messages() -> ModuleType:
    """The module with Triton's `ModelConfig` message."""
    path = Path(next(iter(tritonclient.__path__))) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("triton_model_config_pb2", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"tritonclient has no {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def config_pbtxt(parameters: Mapping[str, str]) -> str:
    """The text of config.pbtxt for a vLLM model.

    It has only what the backend requires: the backend adds inputs, outputs and the decoupled transaction policy itself,
    and rejects a maximum batch size and Triton's schedulers. KIND_MODEL leaves the choice of GPUs to vLLM; any other
    kind would start one engine per GPU.
    """
    module = messages()
    config = module.ModelConfig(backend=files.BACKEND)
    config.instance_group.add(count=1, kind=module.ModelInstanceGroup.KIND_MODEL)
    for key in sorted(parameters):
        config.parameters[key].string_value = parameters[key]
    text: str = text_format.MessageToString(config, as_utf8=True)
    return text
