"""The source of a model: the one type behind `spec.model.uri`.

A scheme is one module here and one entry in `SOURCES`. It implements `ModelSource`:

- class constants SCHEME, FORM, WHAT and PATTERN (and TOKEN_VARIABLE, HAS_REVISIONS where they apply), from which the
  CRD's pattern, messages and descriptions are made;
- `parse` and `uri`; `revision`, `pinned` and `display_name` where the defaults do not fit;
- `engine_model`: vLLM's argument `model`;
- `volumes`, `server_mounts`, `environment` and `claim_name`: what the serving pod needs to reach the files;
- `inspection_arguments` and `inspection_mounts`: how the inspection pod reads them. `inspect/access.py` has the reader.

No other module knows a scheme.
"""

import re

from triton_vllm_operator.api.model_source.base import ModelSource
from triton_vllm_operator.api.model_source.claim import ClaimSource
from triton_vllm_operator.api.model_source.hub import HubSource, is_repository

__all__ = [
    "FORMS",
    "SOURCES",
    "UNKNOWN",
    "ClaimSource",
    "HubSource",
    "ModelSource",
    "any_pattern",
    "is_repository",
    "parse",
]

SOURCES: tuple[type[ModelSource], ...] = (HubSource, ClaimSource)
"""Every kind of source."""

FORMS = " or ".join(source.FORM for source in SOURCES)
"""The forms of a URI, for messages and help."""

UNKNOWN = f"uri must be {FORMS}, for example {HubSource('meta-llama/Llama-2-7b-chat-hf').uri}"
"""The message for any other URI."""


def parse(uri: str, revision: str | None = None) -> ModelSource:
    """The source of `spec.model.uri` and `spec.model.revision`.

    Raises:
        ValueError: `uri` has no known form.
    """
    for source in SOURCES:
        if ".." not in uri and re.fullmatch(source.PATTERN, uri):
            return source.parse(uri, revision)
    raise ValueError(UNKNOWN)


def any_pattern() -> str:
    """CEL: whether `self`, a URI, has a known form."""
    return " || ".join(f"self.matches(r'{source.PATTERN}')" for source in SOURCES)
