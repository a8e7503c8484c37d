"""The model repository: an immutable ConfigMap, named after its content so that old pods keep theirs."""

import hashlib
from functools import cache
from typing import Any

from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.desired import request_files
from triton_vllm_operator.desired.engine_args import model_json
from triton_vllm_operator.desired.model_config import config_pbtxt
from triton_vllm_operator.desired.objects import child

CONFIG_KEY = "config.pbtxt"
ENGINE_KEY = "model.json"
_HASH_LENGTH = 8  # keeps NAME-HASH no longer than NAME-headless, the longest child name


@cache
def _config() -> str:
    # vLLM's numbers reach Triton's metrics port only when this is switched on.
    return config_pbtxt({"REPORT_CUSTOM_METRICS": "true"})


def files(llm: LLMDeployment) -> dict[str, str]:
    """Key of the ConfigMap -> text."""
    return {CONFIG_KEY: _config(), ENGINE_KEY: model_json(llm), **request_files.texts(llm)}


def paths(llm: LLMDeployment) -> dict[str, str]:
    """Key of the ConfigMap -> path below the repository's directory."""
    beside = {key: f"{llm.model_name}/1/{key}" for key in (ENGINE_KEY, *request_files.texts(llm))}
    return {CONFIG_KEY: f"{llm.model_name}/config.pbtxt", **beside}


def content_hash(llm: LLMDeployment) -> str:
    """Eight hexadecimal digits that change with the content of the repository."""
    digest = hashlib.sha256()
    for key, text in sorted(files(llm).items()):
        digest.update(f"{key}\0{paths(llm)[key]}\0{text}\0".encode())
    return digest.hexdigest()[:_HASH_LENGTH]


def config_map(llm: LLMDeployment) -> dict[str, Any]:
    """The ConfigMap."""
    name = names.repository(llm.name, content_hash(llm))
    return child(llm, kinds.CONFIG_MAP, name) | {"immutable": True, "data": files(llm)}
