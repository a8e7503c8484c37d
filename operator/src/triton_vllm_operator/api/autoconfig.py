"""Automatic configuration: values that the operator chose for fields of `spec.engine` that are not set."""

from typing import Any

from pydantic import Field

from triton_vllm_operator.api.schema import Model, field


class AutoConfig(Model):
    """Values that were chosen for fields that the spec does not set.

    They stay until the part of the spec that `basis` covers changes.
    """

    basis: str = Field(
        description="Hash of what the values depend on: the model, spec.engine, spec.resources.gpu and nodeSelector."
    )
    tensor_parallel_size: int | None = field(description="Value of spec.engine.tensorParallelSize.")
    max_model_len: int | None = field(description="Value of spec.engine.maxModelLen.")
    max_num_batched_tokens: int | None = field(description="Value of spec.engine.maxNumBatchedTokens.")
    max_num_seqs: int | None = field(description="Value of spec.engine.maxNumSeqs.")

    @property
    def values(self) -> dict[str, Any]:
        """The chosen values, by field of `spec.engine`."""
        found: dict[str, Any] = self.model_dump(exclude={"basis"}, exclude_none=True)
        return found
