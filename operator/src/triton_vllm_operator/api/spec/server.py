"""`spec.server`: the Triton server and vLLM's OpenAI server."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from contract.media import MediaHosts
from contract.startup_checks import ATTEMPTS, MAX_TOKENS
from triton_vllm_operator.api.schema import Model, cel, field
from triton_vllm_operator.api.secret_ref import SecretKeyRef
from triton_vllm_operator.api.spec.limits import LimitsSpec

_Host = Annotated[
    str, Field(min_length=1, max_length=253, pattern=r"^(\*\.)?[A-Za-z0-9_:][A-Za-z0-9_.:-]*(/[0-9]{1,3})?$")
]


def _hosts(entries: list[str]) -> list[str]:
    MediaHosts.parse(entries)
    return entries


class OpenAISpec(Model):
    """vLLM's OpenAI-compatible server on port 9000, with the same engine."""

    enabled: bool = field(
        False, description="Serve the OpenAI API, and publish port 9000 of the Service as openai. Default: false."
    )
    api_key_secret_ref: SecretKeyRef | None = field(
        description="Secret with the API key that clients must send as bearer token. Not set: no key is required. "
        "Health checks, the report and Triton's protocols never require it."
    )
    model_aliases: list[Annotated[str, Field(max_length=256, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$")]] = field(
        [],
        max_length=16,
        description="Further names of the model on port 9000, for example the hub's (Qwen/Qwen2.5-7B-Instruct), for "
        "clients that send it. Its own name is used too.",
    )
    media_domains: Annotated[list[_Host], AfterValidator(_hosts)] = field(
        [],
        max_length=64,
        description="Hosts from which images, audio and video of requests may be fetched: a name, *.NAME for all names "
        "below it, or an address. Where a name resolves to a private address, list that address or its network "
        "(10.96.0.0/12) too. Default: none; clients then send media as data URIs.",
    )
    extra_args: dict[str, Any] = field(
        {},
        max_length=64,
        description="Arguments of vLLM's OpenAI server, by vLLM's names, for example "
        "{enable_auto_tool_choice: true, tool_call_parser: hermes}.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )


def _expression(pattern: str | None) -> str | None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ValueError(f"not a regular expression of Python: {error}") from None
    return pattern


class StartupCheck(Model):
    """A request that must be answered as expected before a pod is ready."""

    model_config = Model.model_config | {
        "json_schema_extra": cel(
            (
                "has(self.pattern) || has(self.maxSeconds) || has(self.minTokensPerSecond)",
                "requires pattern, maxSeconds or minTokensPerSecond",
            )
        )
    }

    name: str = Field(
        max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", description="Name of the check, for messages."
    )
    prompt: str = Field(
        min_length=1,
        max_length=8192,
        description="Text to continue, without a chat template: write the model's own markers where it needs them. It "
        "is answered greedily (temperature 0), with the other defaults of spec.sampling.",
    )
    max_tokens: int = field(
        MAX_TOKENS, ge=1, le=1024, description=f"Maximum number of tokens to generate. Default: {MAX_TOKENS}."
    )
    pattern: Annotated[str | None, AfterValidator(_expression)] = field(
        min_length=1,
        max_length=512,
        description="Regular expression of Python that a part of the answer must match. (?i) at its start ignores "
        "case. Not set: any answer.",
    )
    max_seconds: float | None = field(
        gt=0,
        le=600,
        description="Maximum duration of the request in seconds. A check that is too slow is repeated, and fails "
        f"after {ATTEMPTS} attempts. Not set: no limit.",
    )
    min_tokens_per_second: float | None = field(
        gt=0,
        description="Minimum number of generated tokens per second, from the request to the end of the answer. "
        f"A check that is too slow is repeated, and fails after {ATTEMPTS} attempts. Not set: no limit.",
    )


class ServerSpec(Model):
    """Settings of the Triton server."""

    image: str | None = field(
        min_length=1,
        max_length=512,
        pattern=r"^\S+$",
        description="Serving image. Default: the operator's own image, or NVIDIA's image if release is YY.MM.",
    )
    release: str | None = field(
        pattern=r"^([0-9]{2}\.(0[1-9]|1[0-2])|vllm-[0-9]+\.[0-9]+\.[0-9]+)$",
        description="Release of the serving image: YY.MM for NVIDIA's image, vllm-X.Y.Z for the operator's own. "
        "Required if the tag of the image does not name its release.",
    )
    log_level: Literal["Error", "Warning", "Info", "Verbose"] = field(
        "Info",
        description="Minimum severity of the server's log messages; Verbose is the most detailed. Default: Info.",
    )
    drain_seconds: int = field(
        60,
        ge=0,
        le=3600,
        description="Seconds that a terminating pod has to finish the requests that it has accepted. Default: 60.",
    )
    request_timeout_seconds: int | None = field(
        ge=1,
        le=86400,
        description="Maximum duration of a request in seconds, queueing included, after which it fails. Also bounds a "
        "non-streaming generate request whose client has disconnected. Default: no limit.",
    )
    limits: LimitsSpec = field(
        LimitsSpec(), description="Limits per request. A request above a limit is rejected with status 400."
    )
    open_ai: OpenAISpec = field(
        OpenAISpec(),
        alias="openAI",
        description="The OpenAI API beside Triton's protocols, with the same engine. Default: disabled.",
    )
    startup_checks: list[StartupCheck] = field(
        [],
        max_length=8,
        description="Requests that must be answered as expected before a pod is ready, at each of its starts. Each has "
        "a pattern, maxSeconds or minTokensPerSecond. A server "
        "that fails one ends with the answer as the message; a new revision that does so is undone as spec.rollout "
        "says. Default: none.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    extra_args: list[Annotated[str, Field(min_length=3, max_length=1024, pattern=r"^--[a-z][a-z0-9-]*(=.*)?$")]] = (
        field(
            [],
            max_length=64,
            description="Additional tritonserver flags, as --flag=value. Flags that the operator sets are rejected.",
        )
    )
