"""LlamaIndex: OpenAILike, and a stream of it."""

import sys

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

host, _, _, model, key = sys.argv[1:]
llm = OpenAILike(model=model, api_base=f"{host}/v1", api_key=key, max_tokens=8, is_chat_model=True, max_retries=0)
assert llm.chat([ChatMessage(role="user", content="The quick brown fox")]).message.content
assert "".join(part.delta or "" for part in llm.stream_chat([ChatMessage(role="user", content="The quick brown fox")]))
