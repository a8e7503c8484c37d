"""litellm: its providers `openai` and `triton`."""

import sys

import litellm

host, http, _, model, key = sys.argv[1:]
hello = [{"role": "user", "content": "The quick brown fox"}]
answer = litellm.completion(f"openai/{model}", hello, api_base=f"{host}/v1", api_key=key, max_tokens=8)
assert answer.choices[0].message.content
parts = litellm.completion(f"openai/{model}", hello, api_base=f"{host}/v1", api_key=key, max_tokens=8, stream=True)
assert "".join(part.choices[0].delta.content or "" for part in parts)
url = f"{http}/v2/models/llm/generate"
answer = litellm.completion("triton/llm", hello, api_base=url, max_tokens=8)
assert answer.choices[0].message.content
