"""`spec.server.limits`: limits per request."""

from triton_vllm_operator.api.schema import Model, field


class LimitsSpec(Model):
    """What one request may ask for. More is refused with 400 before the engine sees it."""

    max_prompt_bytes: int | None = field(ge=1, description="Most bytes of text in a prompt. Default: 4194304 (4 MiB).")
    max_body_bytes: int | None = field(
        ge=1,
        description="Most bytes in the body of a request for OpenAI's protocol, images included. "
        "Default: 67108864 (64 MiB).",
    )
    max_n: int | None = field(ge=1, description="Most answers to one prompt (n). Default: 64.")
    max_list: int | None = field(
        ge=0, description="Most entries of stop, bad_words, logit_bias and other lists. Default: 1024."
    )
    max_logprobs: int | None = field(
        ge=0, description="Most log probabilities a token. Default: the engine's max_logprobs."
    )
    max_images: int | None = field(ge=0, description="Most images in a request of Triton's protocols. Default: 16.")
