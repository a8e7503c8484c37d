"""Repositories of models for the tests, written byte by byte: a Llama, and what goes wrong with one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from triton_vllm_operator.capacity import ModelShape, parse_header, shape_from_config

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 384,
    "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16",
}


def tensors(layers: int = 2) -> dict[str, list[int]]:
    """Names and shapes of the tensors of `LLAMA`."""
    found = {"model.embed_tokens.weight": [384, 128], "lm_head.weight": [384, 128], "model.norm.weight": [128]}
    for layer in range(layers):
        at = f"model.layers.{layer}"
        found |= {
            f"{at}.self_attn.q_proj.weight": [128, 128],
            f"{at}.self_attn.k_proj.weight": [64, 128],
            f"{at}.self_attn.v_proj.weight": [64, 128],
            f"{at}.self_attn.o_proj.weight": [128, 128],
            f"{at}.mlp.gate_proj.weight": [256, 128],
            f"{at}.mlp.up_proj.weight": [256, 128],
            f"{at}.mlp.down_proj.weight": [128, 256],
            f"{at}.input_layernorm.weight": [128],
            f"{at}.post_attention_layernorm.weight": [128],
        }
    return found


def shape() -> ModelShape:
    """The shape of `LLAMA` with its tensors."""
    return shape_from_config(LLAMA, sorted(parse_header(header(tensors())), key=lambda tensor: tensor.name))


def header(named: dict[str, list[int]], padding: int = 0) -> bytes:
    """A safetensors file's beginning; the offsets are of no interest here."""
    body = {name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]} for name, shape in named.items()}
    text = json.dumps(body | {"__metadata__": {"padding": " " * padding}}).encode()
    return len(text).to_bytes(8, "little") + text


def llama(folder: Path, *, config: dict[str, Any] | None = None, shards: int = 1, weights: bytes = b"\0" * 999) -> Path:
    """A Llama of two layers. `weights`: what follows each header, in place of the tensors' data."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(LLAMA if config is None else config))
    if shards == 1:
        (folder / "model.safetensors").write_bytes(header(tensors()) + weights)
        return folder
    names = list(tensors().items())
    weight_map: dict[str, str] = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = dict(names[number::shards])
        weight_map |= dict.fromkeys(part, file)
        (folder / file).write_bytes(header(part) + weights)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder
