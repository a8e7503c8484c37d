"""Tensors of the vLLM backend: those of the stock backend of NVIDIA's image, and `prompt_logprobs`."""

from typing import Final, NamedTuple


class Input(NamedTuple):
    """An input tensor. `dims`: its only dimension, -1 for any."""

    name: str
    data_type: str
    dims: int
    optional: bool


class Output(NamedTuple):
    """An output tensor. `dims`: its only dimension, -1 for any."""

    name: str
    data_type: str
    dims: int


TEXT_INPUT: Final = "text_input"
EMBEDDING_REQUEST: Final = "embedding_request"
NUM_OUTPUT_TOKENS: Final = "num_output_tokens"
PROMPT_LOGPROBS: Final = "prompt_logprobs"
RETURN_NUM_OUTPUT_TOKENS: Final = "return_num_output_tokens"

INPUTS: Final = (
    Input(TEXT_INPUT, "TYPE_STRING", 1, False),
    Input("image", "TYPE_STRING", -1, True),
    Input("stream", "TYPE_BOOL", 1, True),
    Input("sampling_parameters", "TYPE_STRING", 1, True),
    Input("exclude_input_in_output", "TYPE_BOOL", 1, True),
    Input("return_finish_reason", "TYPE_BOOL", 1, True),
    Input("return_cumulative_logprob", "TYPE_BOOL", 1, True),
    Input("return_logprobs", "TYPE_BOOL", 1, True),
    Input("return_num_input_tokens", "TYPE_BOOL", 1, True),
    Input(RETURN_NUM_OUTPUT_TOKENS, "TYPE_BOOL", 1, True),
    Input(EMBEDDING_REQUEST, "TYPE_STRING", 1, True),
)
OUTPUTS: Final = (
    Output("text_output", "TYPE_STRING", -1),
    Output("finish_reason", "TYPE_STRING", -1),
    Output("cumulative_logprob", "TYPE_FP32", -1),
    Output("logprobs", "TYPE_STRING", -1),
    Output("num_input_tokens", "TYPE_UINT32", 1),
    Output(NUM_OUTPUT_TOKENS, "TYPE_UINT32", -1),
    Output(PROMPT_LOGPROBS, "TYPE_STRING", 1),
)
NAMES: Final = frozenset(tensor.name for tensor in (*INPUTS, *OUTPUTS))
