"""What a serving pod is asked over HTTP: for one token, which proves that it serves, and for its engine's report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

import aiohttp

from contract import paths, ports, tensors
from triton_vllm_operator.api.reasons import Reason

_TIMEOUT_SECONDS: Final = 8
_BODY: Final = {tensors.TEXT_INPUT: "Hello", "parameters": {"max_tokens": 1}, tensors.RETURN_NUM_OUTPUT_TOKENS: True}
# A report has 1 kB and lies ready: a pod that takes longer, or says more, is not waited for.
_REPORT_SECONDS: Final = 2.0
# Of any answer no more is read: a pod may send without end.
_MOST_BYTES: Final = 64 * 1024


@dataclass(eq=False)
class NoReport(Exception):
    """A pod does not say what its engine got: why, in one CamelCase word and in a few words.

    `final`: it will not say it later either.
    """

    reason: Reason
    message: str
    final: bool


class PodProbe:
    """Asks pods over HTTP."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, ip: str, model: str) -> str:
        """ "" when the pod answers with at least one token, else what came instead, in a few words."""
        url = _url(ip, ports.HTTP, f"/v2/models/{model}/generate")
        try:
            async with self._open().post(url, json=_BODY, allow_redirects=False) as response:
                return _judge(response.status, (await _body(response)).decode(errors="replace"))
        except TimeoutError:
            return f"no answer within {_TIMEOUT_SECONDS} s"
        except (aiohttp.ClientError, OSError) as error:
            return f"{type(error).__name__}: {error}"

    async def report(self, ip: str) -> bytes:
        """What the pod says of its engine, unread. Errors: NoReport."""
        timeout = aiohttp.ClientTimeout(total=_REPORT_SECONDS)
        try:
            url = _url(ip, ports.HEALTH, paths.REPORT)
            async with self._open().get(url, timeout=timeout, allow_redirects=False) as response:
                body = await _body(response)
        except TimeoutError:
            raise _unreachable(f"no answer within {_REPORT_SECONDS:.0f} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _unreachable(f"{type(error).__name__}: {error}") from error
        if response.status == 404:
            raise NoReport(Reason.REPORT_NOT_SERVED, "its image has none", final=True)
        if response.status != 200:
            raise _unreachable(f"HTTP {response.status}")
        if len(body) > _MOST_BYTES:
            raise NoReport(Reason.REPORT_UNREADABLE, f"it is longer than {_MOST_BYTES} bytes", final=True)
        return body

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
            # Nothing is unpacked (a small answer could become a large one), and no pod's cookies are kept.
            self._session = aiohttp.ClientSession(
                timeout=timeout,
                auto_decompress=False,
                headers={"Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _url(ip: str, port: int, path: str) -> str:
    host = f"[{ip}]" if ":" in ip else ip
    return f"http://{host}:{port}{path}"


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """The body, up to one byte more than is taken."""
    found = bytearray()
    while len(found) <= _MOST_BYTES and (chunk := await response.content.read(_MOST_BYTES + 1 - len(found))):
        found += chunk
    return bytes(found)


def _unreachable(how: str) -> NoReport:
    return NoReport(Reason.REPORT_UNREACHABLE, how, final=False)


def _judge(status: int, body: str) -> str:
    if status != 200:
        return f"HTTP {status}: {body[:300]}"
    try:
        answer = json.loads(body)
        tokens = int(answer[tensors.NUM_OUTPUT_TOKENS])
    except (ValueError, KeyError, TypeError):
        return f"an answer without num_output_tokens: {body[:300]}"
    return "" if tokens >= 1 else "an answer with no token"
