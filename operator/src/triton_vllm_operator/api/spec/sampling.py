"""`spec.sampling`: default sampling parameters and profiles."""

from typing import Annotated

from pydantic import Field

from triton_vllm_operator.api.schema import Model, cel, field


class SamplingValues(Model):
    """Sampling parameters, used where a request sets none. Absent: the model's generation_config, then vLLM's own."""

    temperature: float | None = field(
        ge=0, le=2, description="How much chance is in the choice of a token; 0 always takes the most likely one."
    )
    top_p: float | None = field(
        gt=0, le=1, description="Only the most likely tokens that together have this probability are chosen from."
    )
    top_k: int | None = field(ge=0, description="Only so many of the most likely tokens are chosen from; 0 for all.")
    min_p: float | None = field(
        ge=0,
        le=1,
        description="Tokens are left out that are less likely than this part of the most likely one.",
    )
    repetition_penalty: float | None = field(
        gt=0,
        description="Above 1 makes tokens of the prompt and the answer less likely, below 1 more likely.",
    )
    presence_penalty: float | None = field(
        ge=-2, le=2, description="Above 0 makes tokens that are in the answer already less likely."
    )
    frequency_penalty: float | None = field(
        ge=-2, le=2, description="Above 0 makes tokens less likely, the more often they are in the answer already."
    )
    max_tokens: int | None = field(
        ge=1,
        description="Longest answer in tokens. Where nothing says it: 16 in Triton's protocols, and in OpenAI's chat "
        "what is left of maxModelLen.",
    )
    min_tokens: int | None = field(
        ge=0, description="Shortest answer in tokens. Needs a maxTokens that is no smaller, here or in the defaults."
    )
    stop: list[Annotated[str, Field(min_length=1, max_length=256)]] = field(
        [], max_length=16, description="Texts that end the answer; they are no part of it."
    )
    seed: int | None = field(
        ge=0, description="Seed of the random numbers: the same request then gets the same answer."
    )


class SamplingProfile(SamplingValues):
    """Sampling parameters under a name."""

    name: str = Field(
        max_length=63,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        description='Name that a request gives as "profile", in either protocol.',
    )


def _effective(name: str) -> str:
    """CEL: what the profile `p` says, else the defaults, else 0. An absent `sampling` is judged without `defaults`."""
    return f"(has(p.{name}) ? p.{name} : {_default(name)})"


def _default(name: str) -> str:
    return f"(has(self.defaults) && has(self.defaults.{name}) ? self.defaults.{name} : 0)"


class SamplingSpec(Model):
    """Sampling parameters of requests that set none. A request's own values win over its profile, the profile over the
    defaults, and those over the model's generation_config; both protocols obey them."""

    model_config = Model.model_config | {
        "json_schema_extra": cel(
            (
                f"{_default('minTokens')} <= {_default('maxTokens')}",
                "defaults: minTokens needs a maxTokens that is no smaller",
            ),
            (
                f"!has(self.profiles) || self.profiles.all(p, {_effective('minTokens')} <= {_effective('maxTokens')})",
                "profiles: minTokens needs a maxTokens that is no smaller, in the profile or in the defaults",
            ),
        )
    }

    defaults: SamplingValues = field(SamplingValues(), description="Used where neither request nor profile says more.")
    profiles: list[SamplingProfile] = field(
        [],
        max_length=32,
        description="Sets of values that a request names: profile: NAME in the body, in either protocol.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )

    @property
    def said(self) -> bool:
        """Whether there is anything in it."""
        return bool(self.profiles or self.defaults != SamplingValues())
