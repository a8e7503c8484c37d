"""Building blocks of the typed custom resource: a strict base model and annotations that the CRD writer reads.

Keys of `json_schema_extra` used here:
  x-kubernetes-*      copied into the CRD as they are (CEL rules, int-or-string, preserve-unknown-fields);
  x-embedded-type     replaced by the structural schema of a Kubernetes type, see `crd.py`.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from triton_vllm_operator.api import quantity

Quantity = Annotated[
    str | int,
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": quantity.PATTERN,
            "x-kubernetes-int-or-string": True,
        }
    ),
]


class Model(BaseModel):
    """Base of every part of the custom resource: camelCase outside, snake_case inside, unknown fields refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )


def cel(*rules: tuple[str, str], **more: Any) -> dict[str, Any]:
    """CEL rules as (rule, message) pairs, in the form that the CRD writer copies."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules], **more}


def embedded(kind: str) -> Any:
    """A list item or object whose schema is the Kubernetes type `kind` (for example `V1Toleration`)."""
    return WithJsonSchema({"x-embedded-type": kind})


def field(default: Any = None, **kwargs: Any) -> Any:
    """An optional field; None means that it is absent."""
    return Field(default=default, **kwargs)
