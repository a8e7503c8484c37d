"""Reading `config.json`: the names one thing has in different model families, and the lengths the engine derives.

Sources: `vllm/transformers_utils/model_arch_config_convertor.py` (heads, head size, derived length) and
`vllm/config/model.py` (`_get_and_verify_max_len`, `_resolve_auto_dtype`) of vLLM 0.25 to 0.32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity.errors import ShapeError
from triton_vllm_operator.capacity.model.json_reader import MAX_DIMENSION, MAX_LAYERS, Reader, check_size
from triton_vllm_operator.capacity.model.quantization import read_quantization
from triton_vllm_operator.capacity.model.shape import Quantization

_TEXT_CONFIGS = ("text_config", "llm_config", "language_config", "thinker_config")
_LENGTH_KEYS = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_target_positions",
    "max_sequence_length", "max_seq_length", "seq_len",
)  # fmt: skip
#: RoPE kinds whose published max_position_embeddings already includes the factor.
_ALREADY_SCALED = frozenset({"su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigTraits:
    """How a family's `config.json` is read. The defaults are Llama's.

    Attributes:
        mla: `kv_lora_rank` means a latent (MLA) cache.
        ties_embeddings: the output table is the embedding table unless `tie_word_embeddings` says otherwise.
        window_needs_switch: `sliding_window` counts only with `use_sliding_window`.
        rope_extends_length: the factor of the RoPE scaling extends `max_position_embeddings`.
        kv_heads: K and V heads, from the block of the text model and the number of query heads.
        head_size: field that comes before the usual ones.
        value_head_size: field with the size of V's heads, where it differs from that of K's.
    """

    mla: bool = False
    ties_embeddings: bool = False
    window_needs_switch: bool = False
    rope_extends_length: bool = True
    kv_heads: Callable[[Reader, int], int] | None = None
    head_size: str = ""
    value_head_size: str = ""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A checked view of one `config.json`, with the names resolved that differ between families.

    Attributes:
        top: the whole file.
        text: the block of the text model; the whole file where there is none.
        multimodal: the file describes an image or audio encoder too.
        traits: how the family's file is read.
    """

    top: Reader
    text: Reader
    multimodal: bool
    traits: ConfigTraits = ConfigTraits()

    @staticmethod
    def parse(config: Mapping[str, Any]) -> ModelConfig:
        """Check the file's size and find its blocks; the traits are Llama's until they are replaced.

        Raises:
            ShapeError: the file is not a JSON object, or is too large.
        """
        if not isinstance(config, Mapping):
            raise ShapeError(Reason.CONFIG_NOT_JSON, "config.json must be a JSON object")
        check_size(config, "config.json")
        top = Reader(config)
        text = next((top.nested(key) for key in _TEXT_CONFIGS if top.has(key)), None)
        multimodal = text is not None or any(top.has(key) for key in ("vision_config", "audio_config"))
        return ModelConfig(top, text or top, multimodal)

    def with_defaults(self, defaults: Mapping[str, Any]) -> ModelConfig:
        """Return the view with fields of the text model that the file leaves out and the engine fills in."""
        text = self.text.with_defaults(defaults)
        return replace(self, text=text, top=text if self.top is self.text else self.top)

    @property
    def architecture(self) -> str:
        """The first of `architectures`; the engine looks models up by it."""
        names = self.top.strings("architectures") or self.text.strings("architectures")
        if not names:
            raise ShapeError(
                Reason.ARCHITECTURE_MISSING,
                "config.json names no architecture: the engine cannot choose a model class",
            )
        return names[0]

    @property
    def model_type(self) -> str:
        """The text model's type (`llama`, `gemma3_text`), falling back to the top level's."""
        return self.text.text("model_type") or self.top.text("model_type")

    @property
    def hidden_size(self) -> int:
        """Width of the residual stream."""
        return self._integer("hidden_size", "n_embd", "d_model", "dim")

    @property
    def layer_count(self) -> int:
        """Number of decoder layers."""
        key = self.text.first("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers")
        return self.text.integer(key or "num_hidden_layers", high=MAX_LAYERS)

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding table, before padding."""
        key = self.text.first("vocab_size", "padded_vocab_size")
        return (self.text if key else self.top).integer(key or "vocab_size")

    @property
    def attention_heads(self) -> int:
        """Query heads; 0 for models without attention."""
        key = self.text.first("num_attention_heads", "n_head", "n_heads", "decoder_attention_heads")
        return self.text.integer(key, low=0) if key else 0

    @property
    def kv_heads(self) -> int:
        """K and V heads before any replication."""
        if self.traits.kv_heads is not None:
            return self.traits.kv_heads(self.text, self.attention_heads)
        attention = self.text.nested("attn_config")
        if attention is not None and attention.has("kv_n_heads"):
            return attention.integer("kv_n_heads")
        key = self.text.first(
            "n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num", "num_attention_groups"
        )
        return self.text.integer(key, low=0) if key else self.attention_heads

    @property
    def is_mla(self) -> bool:
        """Whether the engine serves the model with a latent (MLA) cache."""
        return self.traits.mla and self.text.has("kv_lora_rank")

    @property
    def head_size(self) -> int:
        """Size of one head; for MLA the latent width kv_lora_rank + qk_rope_head_dim."""
        if self.is_mla:
            return self.text.integer("kv_lora_rank") + self.text.integer("qk_rope_head_dim", 0, low=0)
        if self.traits.head_size and self.text.has(self.traits.head_size):
            return self.text.integer(self.traits.head_size)
        key = self.text.first("head_dim", "hidden_size_per_head", "kv_channels")
        if key and self.text.integer(key, low=0) > 0:
            return self.text.integer(key)
        return self.hidden_size // self.attention_heads if self.attention_heads else 0

    @property
    def value_head_size(self) -> int:
        """Size of one head of V."""
        own = self.traits.value_head_size
        return self.text.integer(own, self.head_size) if own else self.head_size

    @property
    def intermediate_size(self) -> int:
        """Width of the widest dense feed-forward layer; 0 when there is none."""
        key = self.text.first("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "decoder_ffn_dim")
        if key:
            return self.text.largest(key, low=0)
        return 4 * self.hidden_size

    @property
    def tied_embeddings(self) -> bool:
        """Whether the output table is the embedding table. Families differ in what an absent field means."""
        order = (self.top, self.text) if self.multimodal else (self.text, self.top)
        source = next((one for one in order if one.has("tie_word_embeddings")), self.top)
        return source.boolean("tie_word_embeddings", self.traits.ties_embeddings)

    @property
    def dtype(self) -> str:
        """The checkpoint's dtype as the engine reads it: `bfloat16`, `float16` or `float32`."""
        for source in (self.top, self.text):
            key = source.first("dtype", "torch_dtype")
            if key:
                return source.text(key).removeprefix("torch.")
        return "float32"

    @property
    def sliding_window(self) -> int | None:
        """The model's window in tokens, or None when it has none or does not use it."""
        if self.text.has("use_sliding_window") and not self.text.boolean("use_sliding_window", False):
            return None
        if self.traits.window_needs_switch and not self.text.has("use_sliding_window"):
            return None
        window = self.text.integer("sliding_window", 0, low=0) if self.text.has("sliding_window") else 0
        return window or None

    def max_position(self) -> int:
        """Longest sequence the engine derives from the file, with the RoPE factor where it still applies."""
        lengths = [self.text.integer(key) for key in _LENGTH_KEYS if self.text.has(key)]
        if self.text.has("model_max_length"):
            lengths = [self.text.integer("model_max_length")]
        if not lengths:
            return 2048
        factor = 1.0
        if self.traits.rope_extends_length:
            for kind, rope in self._ropes():
                if kind not in _ALREADY_SCALED:
                    factor = rope.number("factor", factor)
        return min(int(min(lengths) * factor), MAX_DIMENSION)

    def default_max_len(self) -> int | None:
        """The length the engine takes when none is given, where it differs from `max_position`."""
        if any(kind == "longrope" for kind, _ in self._ropes()):
            return self.text.optional_integer("original_max_position_embeddings")
        return None

    def _ropes(self) -> list[tuple[str, Reader]]:
        found: list[tuple[str, Reader]] = []
        for key in ("rope_scaling", "rope_parameters"):
            rope = self.text.nested(key)
            if rope is None:
                continue
            nested = [inner for name in rope.names() if isinstance(rope.raw(name), Mapping)
                      and (inner := rope.nested(name)) is not None]  # fmt: skip
            found.extend((_rope_kind(item), item) for item in (nested or [rope]))
        return found

    def rope_rows(self) -> int:
        """Rows of the engine's cos/sin table: positions it is built for (`layers/rotary_embedding`)."""
        base = self.text.integer("max_position_embeddings", 0, low=0) if self.text.has("max_position_embeddings") else 0
        for kind, rope in self._ropes():
            if rope.has("mrope_section"):  # positions of images advance slower than tokens
                return 4 * base
            if kind in {"linear", "dynamic"}:
                return int(base * rope.number("factor", 1.0))
            if kind in {"yarn", "deepseek_yarn"} and rope.has("original_max_position_embeddings"):
                return int(rope.integer("original_max_position_embeddings") * rope.number("factor", 1.0))
        return base

    def rotary_size(self) -> int:
        """Elements per row of the cos/sin table."""
        if self.is_mla or self.text.has("qk_rope_head_dim"):
            return self.text.integer("qk_rope_head_dim", 0, low=0)
        share = self.text.number("partial_rotary_factor", 0.0) or self.text.number("rotary_pct", 0.0) or 1.0
        for _, rope in self._ropes():
            share = rope.number("partial_rotary_factor", share)
        return int(self.head_size * share)

    def quantization(self) -> Quantization | None:
        """The checkpoint's quantization, or None."""
        for source in (self.top, self.text):
            for key in ("quantization_config", "compression_config"):
                found = source.nested(key)
                if found is not None:
                    return read_quantization(found)
        return None

    def _integer(self, *names: str) -> int:
        key = self.text.first(*names)
        return self.text.integer(key or names[0])


def _rope_kind(rope: Reader) -> str:
    key = rope.first("rope_type", "type")
    return rope.text(key) if key else "default"
