"""Limits per request: the keys of `limits.json`, with their defaults."""

from dataclasses import dataclass, fields
from typing import Final


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits of one request. The size of a body on Triton's ports is tritonserver's `--http-max-input-size`.

    Attributes:
        max_body_bytes: of the body of a request to the OpenAI port.
        max_prompt_bytes: of text in a prompt, on both ports.
        max_n: answers to one prompt.
        max_list: entries of stop, bad_words, allowed_token_ids, logit_bias, and prompts of a request.
        max_logprobs: log probabilities per token; None: the engine's own max_logprobs.
        max_images: in a request to Triton's ports.
        request_timeout_seconds: until a request is cancelled; 0: never. Bounds what an abandoned request costs.
    """

    max_body_bytes: int = 64 << 20
    max_prompt_bytes: int = 4 << 20
    max_n: int = 64
    max_list: int = 1024
    max_logprobs: int | None = None
    max_images: int = 16
    request_timeout_seconds: float = 0.0


DEFAULTS: Final = RequestLimits()
KEYS: Final = tuple(field.name for field in fields(RequestLimits))
"""Keys of `limits.json`."""
REQUEST_TIMEOUT: Final = "request_timeout_seconds"
"""The key that is not in spec.server.limits but beside it."""
