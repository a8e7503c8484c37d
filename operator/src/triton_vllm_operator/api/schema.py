"""Building blocks of the typed custom resource: a strict base model and the annotations that `crd.py` reads.

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
    """Base of every block of the custom resource: camelCase in YAML, snake_case in Python, unknown fields rejected."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, as the API server stores it: absent fields are left out."""
        found: dict[str, Any] = self.model_dump(by_alias=True, exclude_none=True)
        return found


def cel(*rules: tuple[str, str], **more: Any) -> dict[str, Any]:
    """The schema extension for CEL rules, given as (rule, message) pairs."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules], **more}


def embedded(kind: str) -> Any:
    """A list item or object whose schema is the Kubernetes type `kind` (for example `V1Toleration`)."""
    return WithJsonSchema({"x-embedded-type": kind})


def field(default: Any = None, **kwargs: Any) -> Any:
    """An optional field; the default None means that it is not set."""
    return Field(default=default, **kwargs)
