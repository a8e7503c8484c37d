"""MiMo-V2: V's heads have a size of their own."""

from triton_vllm_operator.capacity.model.config import ConfigTraits
from triton_vllm_operator.capacity.model.family import Family

FAMILIES = (Family(model_types=("mimo_v2_flash",), config=ConfigTraits(value_head_size="v_head_dim")),)
