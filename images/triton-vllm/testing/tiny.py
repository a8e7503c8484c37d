"""Tiny models with random weights, made in seconds by ``python -m testing.tiny FOLDER [KIND]``.

It runs in the engine's environment. Kinds: ``llama`` (2 layers, grouped queries; the default), ``speaker`` (the same,
trained on one sentence), ``embedding`` (a BERT), ``lora`` (an adapter for llama).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Heads of 32: the smallest that vLLM's attention on CPU takes.
HIDDEN, HEADS, KV_HEADS, LAYERS, VOCABULARY = 128, 4, 2, 2, 384
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SENTENCE = "The quick brown fox jumps over the lazy dog while a hundred small requests wait for their turn."


def make_tokenizer(folder: Path) -> None:
    """A byte-level BPE tokenizer: any text can be encoded, any byte can come out."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<s>", "</s>", "<pad>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([SENTENCE] * 4, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)


def make_llama(folder: Path, *, context: int = 2048, hidden: int = HIDDEN, layers: int = LAYERS, seed: int = 0) -> None:
    """A random Llama that speaks nonsense without end, at full speed."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=context,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    make_tokenizer(folder)


def make_speaker(folder: Path, *, steps: int = 120) -> None:
    """A Llama that was trained on one sentence: given how it begins, it says the rest and ends."""
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    make_llama(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = torch.tensor([[*tokenizer.encode(SENTENCE), tokenizer.eos_token_id]])
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
    model.to(torch.bfloat16).save_pretrained(folder)


def make_embedding(folder: Path) -> None:
    """A random BERT with mean pooling, for embeddings."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=2 * HIDDEN,
        max_position_embeddings=512,
        pad_token_id=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    BertModel(config).save_pretrained(folder)
    make_tokenizer(folder)


def make_lora(folder: Path, *, seed: int = 1) -> None:
    """An adapter of rank 4 on the llama's query and value projections, large enough to change its output."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    rank, head = 4, HIDDEN // HEADS
    tensors: dict[str, Any] = {}
    for layer in range(LAYERS):
        for name, width in (("q_proj", HIDDEN), ("v_proj", head * KV_HEADS)):
            prefix = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors[f"{prefix}.lora_A.weight"] = torch.randn(rank, HIDDEN)
            tensors[f"{prefix}.lora_B.weight"] = torch.randn(width, rank)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 64, "target_modules": ["q_proj", "v_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))


MAKERS: dict[str, Callable[[Path], None]] = {
    "llama": make_llama,
    "speaker": make_speaker,
    "embedding": make_embedding,
    "lora": make_lora,
}


def main(arguments: list[str]) -> int:
    """``FOLDER [KIND]``."""
    folder, kind = Path(arguments[0]), (arguments[1:] or ["llama"])[0]
    MAKERS[kind](folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
