"""Proof that a pod serves: one request for one token, sent to the pod itself."""

from __future__ import annotations

import json
from typing import Final

import aiohttp

from triton_vllm_operator.desired.layout import HTTP_PORT

_TIMEOUT_SECONDS: Final = 8
_BODY: Final = {"text_input": "Hello", "parameters": {"max_tokens": 1}, "return_num_output_tokens": True}


class TokenProbe:
    """Asks pods for a token over HTTP."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, ip: str, model: str) -> str:
        """ "" when the pod answers with at least one token, else what came instead, in a few words."""
        host = f"[{ip}]" if ":" in ip else ip
        url = f"http://{host}:{HTTP_PORT}/v2/models/{model}/generate"
        try:
            async with self._open().post(url, json=_BODY) as response:
                return _judge(response.status, await response.text())
        except TimeoutError:
            return f"no answer within {_TIMEOUT_SECONDS} s"
        except (aiohttp.ClientError, OSError) as error:
            return f"{type(error).__name__}: {error}"

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS))
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _judge(status: int, body: str) -> str:
    if status != 200:
        return f"HTTP {status}: {body[:300]}"
    try:
        answer = json.loads(body)
        tokens = int(answer["num_output_tokens"])
    except (ValueError, KeyError, TypeError):
        return f"an answer without num_output_tokens: {body[:300]}"
    return "" if tokens >= 1 else "an answer with no token"
