"""HTTP requests to a serving pod: for one token, which proves that it serves, and for its engine's report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

import aiohttp

from contract import paths, ports, tensors
from triton_vllm_operator.api.reasons import Reason

_TIMEOUT_SECONDS: Final = 8
# To a pod in the same cluster: a packet that is lost twice, and no more.
_CONNECT_SECONDS: Final = 3.5
_BODY: Final = {tensors.TEXT_INPUT: "Hello", "parameters": {"max_tokens": 1}, tensors.RETURN_NUM_OUTPUT_TOKENS: True}
# A report has 1 kB and is ready in memory, so a longer wait would not help.
_REPORT_SECONDS: Final = 2.0
# Maximum size of a response: a pod may send without end.
_MAX_BYTES: Final = 64 * 1024


class Unreachable(Exception):
    """A pod does not accept a connection, or ends it without a response."""


@dataclass(eq=False)
class NoReport(Exception):
    """There is no report of a pod's engine. `final`: there will not be one later either."""

    reason: Reason
    message: str
    final: bool


class PodProbe:
    """Asks pods over HTTP."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, ip: str, model: str) -> str:
        """The error, or "" where the pod has answered with at least one token.

        Raises:
            Unreachable: there is no connection to it.
        """
        url = _url(ip, ports.HTTP, f"/v2/models/{model}/generate")
        try:
            async with self._open().post(url, json=_BODY, allow_redirects=False) as response:
                return _token_error(response.status, (await _body(response)).decode(errors="replace"))
        except aiohttp.ServerTimeoutError as error:
            raise Unreachable(f"no connection to port {ports.HTTP} within {_CONNECT_SECONDS} s") from error
        except TimeoutError:
            return f"no response within {_TIMEOUT_SECONDS} s"
        except aiohttp.ClientConnectionError as error:
            raise Unreachable(f"{type(error).__name__}: {error}") from error
        except (aiohttp.ClientError, OSError) as error:
            return f"{type(error).__name__}: {error}"

    async def report(self, ip: str) -> bytes:
        """The report of the pod's engine, as bytes. Raises NoReport."""
        timeout = aiohttp.ClientTimeout(total=_REPORT_SECONDS)
        try:
            url = _url(ip, ports.HEALTH, paths.REPORT)
            async with self._open().get(url, timeout=timeout, allow_redirects=False) as response:
                body = await _body(response)
        except TimeoutError:
            raise _unreachable(f"no response within {_REPORT_SECONDS:.0f} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _unreachable(f"{type(error).__name__}: {error}") from error
        if response.status == 404:
            raise NoReport(Reason.REPORT_NOT_SERVED, "its image serves none", final=True)
        if response.status != 200:
            raise _unreachable(f"HTTP {response.status}")
        if len(body) > _MAX_BYTES:
            raise NoReport(Reason.REPORT_UNREADABLE, f"it exceeds {_MAX_BYTES} bytes", final=True)
        return body

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS, sock_connect=_CONNECT_SECONDS)
            # Nothing is decompressed (a small response could become a large one), and no pod's cookies are kept.
            self._session = aiohttp.ClientSession(
                timeout=timeout,
                connector=aiohttp.TCPConnector(limit=0),  # the pool of probes has the limit
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
    """The body, up to one byte more than the maximum."""
    found = bytearray()
    while len(found) <= _MAX_BYTES and (chunk := await response.content.read(_MAX_BYTES + 1 - len(found))):
        found += chunk
    return bytes(found)


def _unreachable(error: str) -> NoReport:
    return NoReport(Reason.REPORT_UNREACHABLE, error, final=False)


def _token_error(status: int, body: str) -> str:
    if status != 200:
        return f"HTTP {status}: {body[:300]}"
    try:
        answer = json.loads(body)
        tokens = int(answer[tensors.NUM_OUTPUT_TOKENS])
    except (ValueError, KeyError, TypeError):
        return f"a response without num_output_tokens: {body[:300]}"
    return "" if tokens >= 1 else "a response without a token"
