"""`spec.sampling`: default sampling parameters and profiles."""

from typing import Annotated

from pydantic import Field

from triton_vllm_operator.api.schema import Model, cel, field


class SamplingValues(Model):
    """Default sampling parameters. Not set: the value of the model's generation_config, else vLLM's default."""

    temperature: float | None = field(
        ge=0, le=2, description="Sampling temperature. 0 is greedy: always the most likely token."
    )
    top_p: float | None = field(
        gt=0,
        le=1,
        description="Nucleus sampling: sample only from the most likely tokens whose probabilities add up to topP.",
    )
    top_k: int | None = field(ge=0, description="Sample only from the K most likely tokens. 0 disables the limit.")
    min_p: float | None = field(
        ge=0,
        le=1,
        description="Minimum probability of a token, relative to the most likely token.",
    )
    repetition_penalty: float | None = field(
        gt=0,
        description="Penalty for tokens that are in the prompt or the output: above 1 makes them less likely, below 1 "
        "more.",
    )
    presence_penalty: float | None = field(
        ge=-2,
        le=2,
        description="Penalty for tokens that are in the output: above 0 makes them less likely, below 0 more.",
    )
    frequency_penalty: float | None = field(
        ge=-2,
        le=2,
        description="Penalty per occurrence of a token in the output: above 0 makes it less likely, below 0 more.",
    )
    max_tokens: int | None = field(
        ge=1,
        description="Maximum number of tokens to generate. Default: 16 in Triton's protocols; in the OpenAI chat API, "
        "what the prompt leaves of maxModelLen. A number beyond that means the same.",
    )
    min_tokens: int | None = field(
        ge=0,
        description="Minimum number of tokens to generate. Requires maxTokens, here or in the defaults, of at least "
        "this number. A request that asks for fewer tokens gets those.",
    )
    stop: list[Annotated[str, Field(min_length=1, max_length=256)]] = field(
        [], max_length=16, description="Strings that end generation. They are not included in the output."
    )
    seed: int | None = field(
        ge=0,
        le=2**62,
        description="Random seed of the request: the same request then gets the same output.",
    )


class SamplingProfile(SamplingValues):
    """A named set of sampling parameters."""

    name: str = Field(
        max_length=63,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        description="Name of the profile. A request selects it with \"profile\", in Triton's and OpenAI's protocols.",
    )


def _effective(name: str) -> str:
    """CEL: the value of profile `p`, else of the defaults, else 0. Without `sampling`, `defaults` is absent too."""
    return f"(has(p.{name}) ? p.{name} : {_default(name)})"


def _default(name: str) -> str:
    return f"(has(self.defaults) && has(self.defaults.{name}) ? self.defaults.{name} : 0)"


class SamplingSpec(Model):
    """Sampling parameters that a request does not set itself. In order of precedence: the request, its profile, the
    defaults, the model's generation_config. They apply to Triton's and to OpenAI's protocols."""

    model_config = Model.model_config | {
        "json_schema_extra": cel(
            (
                f"{_default('minTokens')} <= {_default('maxTokens')}",
                "defaults: minTokens requires maxTokens, and maxTokens must be at least minTokens",
            ),
            (
                f"!has(self.profiles) || self.profiles.all(p, {_effective('minTokens')} <= {_effective('maxTokens')})",
                "profiles: minTokens requires maxTokens, in the profile or in the defaults, and maxTokens must be at "
                "least minTokens",
            ),
        )
    }

    defaults: SamplingValues = field(
        SamplingValues(),
        description="Values for requests that set neither the parameter nor a profile with it. A parameter that is not "
        "set here has the value of the model's generation_config, else vLLM's default.",
    )
    profiles: list[SamplingProfile] = field(
        [],
        max_length=32,
        description='Named sets of values. A request selects one with "profile": NAME in its body.',
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )

    @property
    def is_set(self) -> bool:
        """Whether it has a default or a profile."""
        return bool(self.profiles or self.defaults != SamplingValues())
