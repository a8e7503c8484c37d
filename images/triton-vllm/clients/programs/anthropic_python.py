"""anthropic: a message and a stream."""

import sys

from anthropic import Anthropic

host, _, _, model, key = sys.argv[1:]
client = Anthropic(base_url=host, auth_token=key, max_retries=0)
hello = [{"role": "user", "content": "The quick brown fox"}]
answer = client.messages.create(model=model, messages=hello, max_tokens=8)
assert answer.content[0].text
with client.messages.stream(model=model, messages=hello, max_tokens=8) as stream:
    assert "".join(stream.text_stream)
