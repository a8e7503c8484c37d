"""Tiny models with random weights, made in seconds by `python -m testing.tiny FOLDER [KIND]`.

It runs in the engine's environment. Kinds: `llama` (2 layers, grouped queries; the default), `llama-medium` and
`llama-large` (8 and 75 million parameters), `gemma` (six layers, five of which see a window only), `speaker`
(llama, trained on one sentence), `seer` (a LLaVA), `embedding` (a BERT), `ranker` (a BERT
with one label), `lora` (an adapter for llama).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

# Heads of 32: the smallest that vLLM's attention on CPU takes.
HIDDEN, HEADS, KV_HEADS, LAYERS, VOCABULARY = 128, 4, 2, 2, 384
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SENTENCE = "The quick brown fox jumps over the lazy dog while a hundred small requests wait for their turn."


def make_tokenizer(folder: Path, *more: str) -> None:
    """A byte-level BPE tokenizer: any text can be encoded, any byte can come out. `more`: further special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<s>", "</s>", "<pad>", "<unk>", *more],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([SENTENCE] * 4, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)


def llama_config(context: int = 2048, hidden: int = HIDDEN, layers: int = LAYERS) -> Any:
    """The shape of a Llama."""
    from transformers import LlamaConfig

    return LlamaConfig(
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


def make_llama(folder: Path, *, hidden: int = HIDDEN, layers: int = LAYERS, seed: int = 0) -> None:
    """A random Llama that speaks nonsense without end, at full speed."""
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(seed)
    config = llama_config(hidden=hidden, layers=layers)
    folder.mkdir(parents=True, exist_ok=True)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    make_tokenizer(folder)


def make_gemma(folder: Path) -> None:
    """A random Gemma 3: its layers keep two kinds of KV cache, and its heads are not the hidden size divided."""
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    config = Gemma3TextConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=6,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        head_dim=64,
        max_position_embeddings=2048,
        sliding_window=128,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    Gemma3ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
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


def make_seer(folder: Path) -> None:
    """A random LLaVA that looks at images of 28 x 28 points, four tokens each."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import (
        AutoTokenizer,
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    make_tokenizer(folder, "<image>")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    side, patch = 28, 14
    eye = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        image_size=side,
        patch_size=patch,
        projection_dim=HIDDEN,
    )
    config = LlavaConfig(
        vision_config=eye,
        text_config=llama_config(),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(side // patch) ** 2,
        tie_word_embeddings=False,
    )
    LlavaForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(folder)
    # As the published models have it: transformers 5 writes names that vLLM 0.32 does not read.
    tensors, old, new = load_file(folder / "model.safetensors"), "vision_tower.", "vision_tower.vision_model."
    renamed = {name.replace(old, new): tensor for name, tensor in tensors.items()}
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})
    size = {"height": side, "width": side}
    LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": side}, crop_size=size),
        tokenizer=tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)


def make_embedding(folder: Path) -> None:
    """A random BERT with mean pooling, for embeddings."""
    from transformers import BertModel

    _make_bert(folder, BertModel)


def make_ranker(folder: Path) -> None:
    """A random BERT with one label, which scores pairs of texts."""
    from transformers import BertForSequenceClassification

    _make_bert(folder, BertForSequenceClassification, num_labels=1)


def _make_bert(folder: Path, architecture: Any, **more: Any) -> None:
    import torch
    from transformers import BertConfig

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=2 * HIDDEN,
        max_position_embeddings=512,
        pad_token_id=2,
        **more,
    )
    folder.mkdir(parents=True, exist_ok=True)
    architecture(config).save_pretrained(folder)
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
    "llama-medium": partial(make_llama, hidden=512, layers=4),
    "llama-large": partial(make_llama, hidden=1024, layers=8),
    "gemma": make_gemma,
    "speaker": make_speaker,
    "seer": make_seer,
    "embedding": make_embedding,
    "ranker": make_ranker,
    "lora": make_lora,
}


def main(arguments: list[str]) -> int:
    """`FOLDER [KIND]`."""
    folder, kind = Path(arguments[0]), (arguments[1:] or ["llama"])[0]
    MAKERS[kind](folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
