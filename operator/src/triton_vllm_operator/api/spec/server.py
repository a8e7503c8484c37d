"""`spec.server`: the Triton server and vLLM's OpenAI server."""

from typing import Annotated, Any, Literal

from pydantic import Field

from triton_vllm_operator.api.schema import Model, field
from triton_vllm_operator.api.secret_ref import SecretKeyRef
from triton_vllm_operator.api.spec.limits import LimitsSpec


class OpenAISpec(Model):
    """vLLM's own OpenAI server on port 9000, from the same engine."""

    enabled: bool = field(
        False, description="Whether the pods answer OpenAI's protocol, and the Service publishes port 9000 as openai."
    )
    api_key_secret_ref: SecretKeyRef | None = field(
        description="Secret with the key that clients must send as bearer token. Absent: no key is asked for. "
        "Health, report and Triton's protocols never ask for it."
    )
    extra_args: dict[str, Any] = field(
        {},
        max_length=64,
        description="Arguments of vLLM's server by vLLM's own name, for example "
        "{enable_auto_tool_choice: true, tool_call_parser: hermes}.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )


class ServerSpec(Model):
    """The Triton server around the engine."""

    image: str | None = field(
        min_length=1,
        max_length=512,
        pattern=r"^\S+$",
        description="Serving image. Default: the operator's own image; with a release YY.MM, NVIDIA's image of it.",
    )
    release: str | None = field(
        pattern=r"^([0-9]{2}\.(0[1-9]|1[0-2])|vllm-[0-9]+\.[0-9]+\.[0-9]+)$",
        description="Release of the serving image: YY.MM of NVIDIA's image, or vllm-X.Y.Z of the operator's own. "
        "Needed with an image whose tag does not name its release.",
    )
    log_level: Literal["Error", "Warning", "Info", "Verbose"] = field(
        "Info", description="What the server logs: Error, Warning and above, Info and above, or Verbose."
    )
    drain_seconds: int = field(
        60,
        ge=0,
        le=3600,
        description="Seconds that a stopping pod has to finish the requests that it has accepted.",
    )
    request_timeout_seconds: int | None = field(
        ge=1,
        le=86400,
        description="Longest time that one request may take, waiting included; then it ends with an error. It bounds "
        "what a plain generate costs whose client has gone. Default: no limit.",
    )
    limits: LimitsSpec = field(LimitsSpec(), description="What one request may ask for.")
    open_ai: OpenAISpec = field(
        OpenAISpec(),
        alias="openAI",
        description="OpenAI's protocol beside Triton's, from the same engine. Default: off.",
    )
    extra_args: list[Annotated[str, Field(min_length=3, max_length=1024, pattern=r"^--[a-z][a-z0-9-]*(=.*)?$")]] = (
        field(
            [],
            max_length=64,
            description="More tritonserver flags as --flag=value. Flags that the operator sets are refused.",
        )
    )
