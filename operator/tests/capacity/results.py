"""What plans do not keep."""

from triton_vllm_operator.capacity import Plan
from triton_vllm_operator.capacity.memory.kv_cache import KVResult, capacity


def kv_high(answer: Plan) -> KVResult:
    """Return what the high end of the bytes for the KV cache gives, of a plan with one pipeline stage."""
    return capacity(answer.layout, answer.resolved.kv, answer.kv_bytes.high)
