"""`spec.model`: which model is served."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from triton_vllm_operator.api import model_source
from triton_vllm_operator.api.model_source import SOURCES, ModelSource
from triton_vllm_operator.api.schema import Model, cel, field
from triton_vllm_operator.api.secret_ref import SecretKeyRef

SERVED_NAME_PATTERN = "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
_NAME_MESSAGE = (
    "name must consist of letters, digits, '.', '_' and '-', start and end with a letter or digit, and have no '..'"
)


def _uri(text: str) -> str:
    """Check a URI where an older CRD, without today's rules, is still installed."""
    model_source.parse(text)
    return text


def _served_name(text: str) -> str:
    """Check a served name: it becomes a directory of the model repository, so it must not be a path."""
    if ".." in text or not re.fullmatch(SERVED_NAME_PATTERN, text):
        raise ValueError(_NAME_MESSAGE)
    return text


_WITH_TOKEN = [source for source in SOURCES if source.TOKEN_VARIABLE is not None]
_WITH_REVISION = [source for source in SOURCES if source.HAS_REVISIONS]


def _of_scheme(sources: list[type[ModelSource]]) -> str:
    """CEL: whether `self.uri` has the scheme of one of these sources."""
    rules = [f"self.uri.startsWith('{source.SCHEME}://')" for source in sources]
    return rules[0] if len(rules) == 1 else f"({' || '.join(rules)})"


def _schemes(sources: list[type[ModelSource]]) -> str:
    return " or ".join(f"{source.SCHEME}://" for source in sources)


class ModelSpec(Model):
    """The model to serve, and its served name."""

    model_config = Model.model_config | {
        "json_schema_extra": cel(
            (
                f"!has(self.tokenSecretRef) || {_of_scheme(_WITH_TOKEN)}",
                f"tokenSecretRef requires a {_schemes(_WITH_TOKEN)} uri. Remove tokenSecretRef, or change uri",
            ),
            (
                f"!has(self.revision) || ({_of_scheme(_WITH_REVISION)} && !self.uri.contains('@'))",
                f"revision requires a {_schemes(_WITH_REVISION)} uri without @REVISION. Set the revision in one place",
            ),
        )
    }

    uri: Annotated[str, AfterValidator(_uri)] = Field(
        max_length=512,
        description=f"Where the model is: {', '.join(f'{one.FORM} for {one.WHAT}' for one in SOURCES)}.",
        json_schema_extra=cel(
            (model_source.any_pattern(), model_source.UNKNOWN),
            ("!self.contains('..')", "uri must not contain '..'"),
        ),
    )
    name: Annotated[str, AfterValidator(_served_name)] | None = field(
        max_length=63,
        description="Served model name, as in /v2/models/NAME/generate. Default: metadata.name.",
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
        description="Branch, tag or commit of the Hugging Face repository. Equivalent to @REVISION in uri. "
        "Default: the repository's default branch.",
    )
    token_secret_ref: SecretKeyRef | None = field(
        description="Secret with a Hugging Face token, for a gated or private repository. Only pods read it, never the "
        "operator."
    )

    @property
    def environment(self) -> list[dict[str, Any]]:
        """Environment variables with which a pod reaches the source."""
        return self.source.environment(self.token_secret_ref)

    @property
    def source(self) -> ModelSource:
        """Where the model's files are."""
        return model_source.parse(self.uri, self.revision)
