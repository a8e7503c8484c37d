"""`spec.server.limits`: limits per request."""

from triton_vllm_operator.api.schema import Model, field


class LimitsSpec(Model):
    """Limits per request. A request above a limit is rejected with status 400 before it reaches the engine."""

    max_prompt_bytes: int | None = field(
        ge=1, description="Maximum size of a prompt's text in bytes. Default: 4194304 (4 MiB)."
    )
    max_body_bytes: int | None = field(
        ge=1,
        description="Maximum size of a request body of OpenAI's protocol in bytes, images included. "
        "Default: 67108864 (64 MiB).",
    )
    max_n: int | None = field(ge=1, description="Maximum number of outputs per prompt (n). Default: 64.")
    max_list: int | None = field(
        ge=0, description="Maximum number of entries of stop, bad_words, logit_bias and other lists. Default: 1024."
    )
    max_logprobs: int | None = field(
        ge=0, description="Maximum number of log probabilities per token. Default: the engine's max_logprobs."
    )
    max_images: int | None = field(
        ge=0, description="Maximum number of images per request of Triton's protocols. Default: 16."
    )
