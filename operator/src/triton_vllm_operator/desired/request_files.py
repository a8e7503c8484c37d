"""Files beside model.json with settings for requests. Only the operator's own image reads them.

A file whose settings are not in the spec is left out, so pods that an older operator created stay as they are.
"""

import json
from typing import Any

from contract import files as file_names
from contract.limits import REQUEST_TIMEOUT
from triton_vllm_operator.api.spec import LLMDeployment, SamplingValues


def files(llm: LLMDeployment) -> dict[str, str]:
    """Content by file name."""
    server = llm.spec.server
    found: dict[str, Any] = {}
    if llm.spec.sampling.is_set:
        profiles = {profile.name: sampling_values(profile) for profile in llm.spec.sampling.profiles}
        found[file_names.SAMPLING] = {
            file_names.DEFAULTS: sampling_values(llm.spec.sampling.defaults),
            file_names.PROFILES: profiles,
        }
    if server.open_ai.enabled:
        found[file_names.OPENAI] = server.open_ai.extra_args
    limits = server.limits.model_dump(exclude_none=True)
    if server.request_timeout_seconds is not None:
        limits[REQUEST_TIMEOUT] = server.request_timeout_seconds
    if limits:
        found[file_names.LIMITS] = limits
    if server.startup_checks:
        found[file_names.CHECKS] = {
            check.name: check.model_dump(exclude={"name"}, exclude_none=True) for check in server.startup_checks
        }
    return {
        name: json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
        for name, value in found.items()
    }


def sampling_values(given: SamplingValues) -> dict[str, Any]:
    """The parameters that are set, by vLLM's names."""
    dumped = given.model_dump(exclude={"name"}, exclude_none=True)
    return {name: value for name, value in dumped.items() if value != []}
