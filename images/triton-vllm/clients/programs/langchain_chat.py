"""LangChain: ChatOpenAI, a stream of it."""

import sys

from langchain_openai import ChatOpenAI

host, _, _, model, key = sys.argv[1:]
chat = ChatOpenAI(model=model, base_url=f"{host}/v1", api_key=key, max_tokens=8, max_retries=0)
assert chat.invoke("The quick brown fox").content
assert "".join(part.content for part in chat.stream("The quick brown fox"))
