"""LongCat-Flash: two MLA attentions per layer."""

from triton_vllm_operator.capacity.model.config import ConfigTraits, ModelConfig
from triton_vllm_operator.capacity.model.family import Caches, Family
from triton_vllm_operator.capacity.model.json_reader import MAX_LAYERS
from triton_vllm_operator.capacity.model.layers import mla_cache


def _two_per_layer(config: ModelConfig) -> Caches:
    layers = config.text.integer("num_layers", config.layer_count, high=MAX_LAYERS)
    return ((mla_cache(config), mla_cache(config)),) * layers


FAMILIES = (Family(model_types=("longcat_flash",), config=ConfigTraits(mla=True), layer_caches=_two_per_layer),)
