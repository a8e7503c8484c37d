"""Model folders with a published configuration, a tokenizer of its vocabulary and no weights.

`python -m gpu.shapes FOLDER NAME` makes one in the engine's environment; the engine makes up the weights
(`load_format` `dummy`). The configurations are those of the planner's starts on GPUs (operator/tests/gpu).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import env as engine_env
from testing.server import HERE, START_SECONDS
from testing.tiny import CHAT_TEMPLATE
from tests.gpu.models import MODELS

_CUT = re.compile(r"(.+), (\d+) layers")
# Of the 256 bytes as tokenizers write them, those that words are made of: letters, and the blank before a word.
_BLANK = "\u0120"
BEGIN, END = "<s>", "</s>"
# Where this program's modules are, whichever interpreter runs them.
PATHS = os.pathsep.join(map(str, (HERE, HERE.parents[1], HERE.parents[1] / "operator")))


def shape(name: str) -> dict[str, Any]:
    """The configuration of that name; `NAME, 8 layers` is that of NAME with fewer layers. Raises KeyError."""
    found = _CUT.fullmatch(name)
    if name in MODELS or found is None:
        return dict(MODELS[name])
    layers = int(found[2])
    cut = {**MODELS[found[1]], "num_hidden_layers": layers}
    if kinds := cut.get("layer_types"):
        cut["layer_types"] = kinds[:layers]
    return cut


def model_folder(name: str, variant: str) -> Path:
    """The folder of a shape, made once and kept in the cache folder under the hash of all that goes into it."""
    material = json.dumps(shape(name), sort_keys=True) + Path(__file__).read_text()
    digest = hashlib.sha256(material.encode()).hexdigest()[:12]
    kept = engine_env.cache_root() / "shapes" / f"{re.sub('[^a-z0-9.]+', '-', name)}-{digest}"
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        # Two cases may make the same one at once: each in a folder of its own, of which the last takes the name.
        with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
            made = Path(scratch) / "made"
            command: list[str | Path] = [engine_env.ensure(variant), "-m", "gpu.shapes", made, name]
            subprocess.run(command, check=True, cwd=HERE, env=own_environment(), timeout=START_SECONDS)
            try:
                made.rename(kept)
            except OSError:
                if not kept.is_dir():
                    raise
    return kept


def own_environment() -> dict[str, str]:
    """Environment variables of a process that runs modules of this program."""
    return {**os.environ, "PYTHONPATH": PATHS}


def make(folder: Path, name: str) -> None:
    """Write config.json and the tokenizer."""
    config = shape(name)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    make_tokenizer(folder, int(config["vocab_size"]))


def make_tokenizer(folder: Path, size: int) -> None:
    """A byte-level BPE tokenizer with as many tokens as a vocabulary has: to make text of them costs what it does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary, merges = words(alphabet, size - 2)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([BEGIN, END])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BEGIN, "eos_token": END}
    settings |= {"model_max_length": 1 << 20, "chat_template": CHAT_TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def words(alphabet: list[str], size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary of `size` entries and the merges that make it: bytes, then words of two letters, of three, ..."""
    vocabulary = {byte: number for number, byte in enumerate(alphabet)}
    letters = [byte for byte in alphabet if byte.isascii() and byte.isalpha()] + [_BLANK]
    merges: list[tuple[str, str]] = []
    longest = letters
    while len(vocabulary) < size:
        longer = []
        for head, letter in itertools.islice(itertools.product(longest, letters), size - len(vocabulary)):
            vocabulary[head + letter] = len(vocabulary)
            merges.append((head, letter))
            longer.append(head + letter)
        longest = longer
    return vocabulary, merges


if __name__ == "__main__":
    os.umask(0o022)
    make(Path(sys.argv[1]), sys.argv[2])
