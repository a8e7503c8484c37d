"""Triton's model repository: an immutable ConfigMap whose name has a hash of its content, so old pods keep theirs."""

import hashlib
from functools import cache
from typing import Any

from contract import files as file_names
from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.desired import request_files
from triton_vllm_operator.desired.engine_args import model_json
from triton_vllm_operator.desired.model_config import config_pbtxt
from triton_vllm_operator.desired.objects import child

_HASH_LENGTH = 8  # NAME-HASH is then not longer than NAME-headless, the longest name of a child


@cache
def _config() -> str:
    # Without this, vLLM's metrics are not on Triton's metrics port.
    return config_pbtxt({file_names.METRICS_PARAMETER: "true"})


def files(llm: LLMDeployment) -> dict[str, str]:
    """The files of the repository: content by key of the ConfigMap."""
    return {file_names.CONFIG: _config(), file_names.ENGINE: model_json(llm), **request_files.files(llm)}


def paths(llm: LLMDeployment) -> dict[str, str]:
    """Paths below the repository's directory, by key of the ConfigMap."""
    beside = {
        key: f"{llm.model_name}/{file_names.VERSION_FOLDER}/{key}"
        for key in (file_names.ENGINE, *request_files.files(llm))
    }
    return {file_names.CONFIG: f"{llm.model_name}/{file_names.CONFIG}", **beside}


def content_hash(llm: LLMDeployment) -> str:
    """Hash of the repository's content: eight hexadecimal digits."""
    digest = hashlib.sha256()
    for key, text in sorted(files(llm).items()):
        digest.update(f"{key}\0{paths(llm)[key]}\0{text}\0".encode())
    return digest.hexdigest()[:_HASH_LENGTH]


def config_map(llm: LLMDeployment) -> dict[str, Any]:
    """The ConfigMap with the model repository."""
    name = names.repository(llm.name, content_hash(llm))
    return child(llm, kinds.CONFIG_MAP, name) | {"immutable": True, "data": files(llm)}
