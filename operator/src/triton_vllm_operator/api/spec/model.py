"""`spec.model`: which model is served."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from triton_vllm_operator.api.schema import Model, cel, field
from triton_vllm_operator.api.spec.secret_ref import SecretKeyRef

HF_URI_PATTERN = (
    r"^hf://[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}(@[A-Za-z0-9][A-Za-z0-9._/-]{0,199})?$"
)
PVC_URI_PATTERN = r"^pvc://[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?(/[A-Za-z0-9._-]+)*/?$"
SERVED_NAME_PATTERN = "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
_NAME_MESSAGE = "name holds letters, digits, '.', '_' and '-', starts and ends with a letter or digit, and has no '..'"
_URI_MESSAGE = (
    "uri must be hf://ORG/REPO[@REVISION] or pvc://CLAIM[/PATH], for example hf://meta-llama/Llama-2-7b-chat-hf"
)


def _uri(text: str) -> str:
    """The API server refuses other texts by the CRD's rules; this holds where an older CRD is still installed."""
    if ".." in text or not (re.fullmatch(HF_URI_PATTERN, text) or re.fullmatch(PVC_URI_PATTERN, text)):
        raise ValueError(_URI_MESSAGE)
    return text


def _served_name(text: str) -> str:
    """It becomes a directory of the model repository: never a path."""
    if ".." in text or not re.fullmatch(SERVED_NAME_PATTERN, text):
        raise ValueError(_NAME_MESSAGE)
    return text


class ModelSpec(Model):
    """Which model is served, under which name."""

    model_config = Model.model_config | {
        "json_schema_extra": cel(
            (
                "!has(self.tokenSecretRef) || self.uri.startsWith('hf://')",
                "tokenSecretRef is read only for a hf:// uri: remove it, or use hf://ORG/REPO",
            ),
            (
                "!has(self.revision) || (self.uri.startsWith('hf://') && !self.uri.contains('@'))",
                "revision goes with a hf:// uri that has no @REVISION of its own: give it in one place",
            ),
        )
    }

    uri: Annotated[str, AfterValidator(_uri)] = Field(
        max_length=512,
        description="Where the model is: hf://ORG/REPO[@REVISION] for a Hugging Face repository, "
        "pvc://CLAIM[/PATH] for a directory in a PersistentVolumeClaim of the same namespace.",
        json_schema_extra=cel(
            (f"self.matches(r'{HF_URI_PATTERN}') || self.matches(r'{PVC_URI_PATTERN}')", _URI_MESSAGE),
            ("!self.contains('..')", "uri must not contain '..'"),
        ),
    )
    name: Annotated[str, AfterValidator(_served_name)] | None = field(
        max_length=63,
        description="Name under which the model is served, in /v2/models/NAME/generate. Default: metadata.name.",
        json_schema_extra=cel(
            (
                f"self.matches('{SERVED_NAME_PATTERN}') && !self.contains('..')",
                _NAME_MESSAGE,
            )
        ),
    )
    revision: str | None = field(
        min_length=1,
        max_length=200,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$",
        description="Branch, tag or commit of the Hugging Face repository; the same as @REVISION in the uri.",
    )
    token_secret_ref: SecretKeyRef | None = field(
        description="Secret with the Hugging Face token of a gated or private repository. "
        "The pod reads it; the operator does not."
    )
