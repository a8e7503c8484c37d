"""What was chosen for fields of `spec.engine` that the spec leaves open."""

from typing import Any

from pydantic import Field

from triton_vllm_operator.api.schema import Model, field


class Chosen(Model):
    """It stands until the part of the spec that `basis` covers changes. What the spec says itself is not in it."""

    basis: str = Field(description="Hash of the model, the engine's settings, the GPUs and the nodes in the spec.")
    tensor_parallel_size: int | None = field(description="spec.engine.tensorParallelSize.")
    max_model_len: int | None = field(description="spec.engine.maxModelLen.")
    max_num_batched_tokens: int | None = field(description="spec.engine.maxNumBatchedTokens.")
    max_num_seqs: int | None = field(description="spec.engine.maxNumSeqs.")

    @property
    def values(self) -> dict[str, Any]:
        """Fields of spec.engine and what was chosen for them."""
        found: dict[str, Any] = self.model_dump(exclude={"basis"}, exclude_none=True)
        return found

    def to_json(self) -> dict[str, Any]:
        """The form in status.chosen and in the Deployment's annotation."""
        found: dict[str, Any] = self.model_dump(by_alias=True, exclude_none=True)
        return found
