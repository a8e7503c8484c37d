"""`spec.server.limits`: limits per request."""

from contract.limits import DEFAULTS
from triton_vllm_operator.api.schema import Model, field


def _mib(size: int) -> str:
    return f"{size} ({size >> 20} MiB)"


class LimitsSpec(Model):
    """Limits per request. A request above a limit is rejected with status 400 before it reaches the engine."""

    max_prompt_bytes: int | None = field(
        ge=1, description=f"Maximum size of a prompt's text in bytes. Default: {_mib(DEFAULTS.max_prompt_bytes)}."
    )
    max_body_bytes: int | None = field(
        ge=256,
        description="Maximum size of a request body of OpenAI's protocol in bytes, images included. "
        f"Default: {_mib(DEFAULTS.max_body_bytes)}.",
    )
    max_n: int | None = field(ge=1, description=f"Maximum number of outputs per prompt (n). Default: {DEFAULTS.max_n}.")
    max_list: int | None = field(
        ge=0,
        description="Maximum number of entries of stop, bad_words, logit_bias and other lists. "
        f"Default: {DEFAULTS.max_list}.",
    )
    max_logprobs: int | None = field(
        ge=0, description="Maximum number of log probabilities per token. Default: the engine's max_logprobs."
    )
    max_images: int | None = field(
        ge=0, description=f"Maximum number of images per request of Triton's protocols. Default: {DEFAULTS.max_images}."
    )
