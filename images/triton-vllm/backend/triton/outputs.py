"""What the engine gave, as the output tensors of a response.

In a stream the engine gives deltas (`RequestOutputKind.DELTA`), otherwise one final output (`FINAL_ONLY`), so that
nothing here keeps state: text, logprobs and token counts are those of this response.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backend.triton.inputs import RequestedOutputs
from contract.tensors import PROMPT_LOGPROBS

Tensors = dict[str, Any]
# What vLLM's OpenAI server writes for a token that cannot come.
LEAST_LOGPROB = -9999.0


def build_tensors(output: Any, sequences: int, requested: RequestedOutputs, prepend: str = "") -> Tensors:
    """Output name -> array, one element per sequence. `output` is vLLM's RequestOutput.

    `sequences` is `n`: a delta may hold some of the sequences only, the others then have empty text.
    """
    completions: list[Any | None] = [None] * sequences
    for completion in output.outputs:
        completions[completion.index] = completion
    tensors: Tensors = {"text_output": _texts([prepend + c.text if c else "" for c in completions])}
    if requested.finish_reason:
        tensors["finish_reason"] = _texts([str(c.finish_reason) if c else "None" for c in completions])
    if requested.cumulative_logprob:
        tensors["cumulative_logprob"] = _logprob_sums(completions)
    if requested.logprobs:
        tensors["logprobs"] = _texts([_logprobs_json(c.logprobs) if c else "null" for c in completions])
    if output.prompt_logprobs:  # of a stream, the first response only
        tensors[PROMPT_LOGPROBS] = _texts([_logprobs_json(output.prompt_logprobs)])
    if requested.num_input_tokens:
        tensors["num_input_tokens"] = np.array([len(output.prompt_token_ids or ())], dtype=np.uint32)
    if requested.num_output_tokens:
        tensors["num_output_tokens"] = np.array([len(c.token_ids) if c else 0 for c in completions], dtype=np.uint32)
    return tensors


def build_embedding_tensors(embedding: Sequence[float], prompt_tokens: int, requested: RequestedOutputs) -> Tensors:
    """The answer to an embedding request: the vector as JSON text."""
    tensors: Tensors = {"text_output": _texts([_vector_json(list(embedding))])}
    if requested.num_input_tokens:
        tensors["num_input_tokens"] = np.array([prompt_tokens], dtype=np.uint32)
    if requested.num_output_tokens:
        tensors["num_output_tokens"] = np.array([0], dtype=np.uint32)
    return tensors


def _texts(values: Sequence[str]) -> Any:
    # A lone surrogate cannot come from the detokenizer, but could from a prompt that is given back.
    return np.array([value.encode("utf-8", "replace") for value in values], dtype=np.object_)


def _logprob_sums(completions: Sequence[Any | None]) -> Any:
    """The sum of each sequence; 0 for one that this response has nothing of. JSON has no NaN and no infinities."""
    sums = [0.0 if completion is None else completion.cumulative_logprob or 0.0 for completion in completions]
    return np.nan_to_num(np.array(sums, dtype=np.float32))


def _finite(logprob: float) -> float | None:
    """A logprob as JSON can say it: as on the OpenAI port at least -9999, and null where the engine has no number."""
    return None if math.isnan(logprob) else min(max(logprob, LEAST_LOGPROB), -LEAST_LOGPROB)


def _vector_json(numbers: Sequence[float]) -> str:
    """A vector as JSON that every parser takes, with null for what is not finite: Python's own has NaN and Infinity."""
    try:
        return json.dumps(numbers, allow_nan=False)
    except ValueError:
        return json.dumps([number if math.isfinite(number) else None for number in numbers])


def _logprobs_json(logprobs: Sequence[Mapping[int, Any] | None] | None) -> str:
    """One object per token: token id (text) -> logprob, rank and decoded token; `null` when none were asked for.

    The first token of a prompt has none: `null` in its place.
    """
    if logprobs is None:
        return "null"
    return json.dumps([position and _position_json(position) for position in logprobs], allow_nan=False)


def _position_json(position: Mapping[int, Any]) -> dict[str, Any]:
    return {
        str(token): {"logprob": _finite(entry.logprob), "rank": entry.rank, "decoded_token": entry.decoded_token}
        for token, entry in position.items()
    }
