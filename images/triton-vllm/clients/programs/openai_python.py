"""openai for Python: a model, chat, a stream with usage, a response."""

import sys
from typing import Any

from openai import OpenAI

host, _, _, model, key = sys.argv[1:]
client = OpenAI(base_url=f"{host}/v1", api_key=key, max_retries=0)
hello: Any = [{"role": "user", "content": "The quick brown fox"}]
assert client.models.retrieve(model).id == model
assert (
    client.chat.completions.create(model=model, messages=hello, max_tokens=8, temperature=0).choices[0].message.content
)
chunks: Any = list(
    client.chat.completions.create(
        model=model, messages=hello, max_tokens=8, stream=True, stream_options={"include_usage": True}
    )
)
assert chunks[-1].usage.completion_tokens > 0
assert client.responses.create(model=model, input="The quick brown fox", max_output_tokens=16).output
