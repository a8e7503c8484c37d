"""HTTP requests to a serving pod: for one token, which proves that it serves, and for its engine's report.

A model that generates no text gives no token. Its proof is a request of its own task: one that the pod has its engine
do (`paths.PROOF`), or an embedding by Triton's protocol, which NVIDIA's image has too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp

from contract import paths, ports, tensors
from contract.report import TASK
from triton_vllm_operator.api.reasons import Reason

_TIMEOUT_SECONDS: Final = 8
# To a pod in the same cluster: a packet that is lost twice, and no more.
_CONNECT_SECONDS: Final = 3.5
# One byte: limits.maxPromptBytes may be 1, and a context may have room for little more.
_BODY: Final = {tensors.TEXT_INPUT: "1", "parameters": {"max_tokens": 1}, tensors.RETURN_NUM_OUTPUT_TOKENS: True}
_EMBEDDING: Final = {tensors.TEXT_INPUT: "1", tensors.EMBEDDING_REQUEST: json.dumps({"input": "1"})}
# Statuses of generate after which no other task is tried: a token, no such model, and an engine that is not available.
_FINAL_STATUSES: Final = (200, 404, 503)
# A report has 1 kB and is ready in memory, so a longer wait would not help.
_REPORT_SECONDS: Final = 2.0
# Maximum size of a response: a pod may send without end.
_MAX_BYTES: Final = 64 * 1024
_MAX_METRICS_BYTES: Final = 512 * 1024


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
        """The error, or "" where the pod has answered with at least one token, or with what its task has instead.

        Raises:
            Unreachable: there is no connection to it.
        """
        try:
            status, body = await self._generate(ip, model, _BODY)
            error = _token_error(status, body)
            if error and status not in _FINAL_STATUSES and await self._does_its_task(ip, model):
                return ""
            return error
        except aiohttp.ServerTimeoutError as failed:
            raise Unreachable(f"no connection to port {ports.HTTP} within {_CONNECT_SECONDS} s") from failed
        except TimeoutError:
            return f"no response within {_TIMEOUT_SECONDS} s"
        except aiohttp.ClientConnectionError as failed:
            raise Unreachable(f"{type(failed).__name__}: {failed}") from failed
        except (aiohttp.ClientError, OSError) as failed:
            return f"{type(failed).__name__}: {failed}"

    async def _generate(self, ip: str, model: str, body: Mapping[str, object]) -> tuple[int, str]:
        """Status and text of the answer."""
        url = _url(ip, ports.HTTP, f"/v2/models/{model}/generate")
        async with self._open().post(url, json=body, allow_redirects=False) as response:
            return response.status, (await _body(response)).decode(errors="replace")

    async def _does_its_task(self, ip: str, model: str) -> bool:
        """Return whether a pod that gives no token has proven another task."""
        try:
            async with self._open().get(_url(ip, ports.HEALTH, paths.PROOF), allow_redirects=False) as response:
                proven = _proven(await _body(response))
            if proven is not None:
                return proven
        except (aiohttp.ClientError, OSError, TimeoutError):
            pass  # another image may have nothing on that port
        status, text = await self._generate(ip, model, _EMBEDDING)
        return status == 200 and _is_embedding(text)

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

    async def metrics(self, ip: str) -> bytes:
        """The text of the pod's metrics port.

        Raises:
            Unreachable: the text cannot be read.
        """
        timeout = aiohttp.ClientTimeout(total=_REPORT_SECONDS)
        url = _url(ip, ports.METRICS, paths.METRICS)
        try:
            async with self._open().get(url, timeout=timeout, allow_redirects=False) as response:
                body = await _body(response, _MAX_METRICS_BYTES)
        except TimeoutError as failed:
            raise Unreachable(f"no response from port {ports.METRICS} within {_REPORT_SECONDS:.0f} s") from failed
        except (aiohttp.ClientError, OSError) as failed:
            raise Unreachable(f"port {ports.METRICS}: {type(failed).__name__}: {failed}") from failed
        if response.status != 200 or len(body) > _MAX_METRICS_BYTES:
            raise Unreachable(f"port {ports.METRICS}: HTTP {response.status}, {len(body)} bytes")
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


async def _body(response: aiohttp.ClientResponse, maximum: int = _MAX_BYTES) -> bytes:
    """The body, up to one byte more than the maximum."""
    found = bytearray()
    while len(found) <= maximum and (chunk := await response.content.read(maximum + 1 - len(found))):
        found += chunk
    return bytes(found)


def _unreachable(error: str) -> NoReport:
    return NoReport(Reason.REPORT_UNREACHABLE, error, final=False)


def _proven(body: bytes) -> bool | None:
    """Whether an engine has done a request of a task that gives no token; None where another image has answered.

    Text must come through Triton's protocol.
    """
    try:
        answer = json.loads(body)
        return answer["proven"] is True and answer[TASK] != "generate"
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _is_embedding(body: str) -> bool:
    """Whether an answer holds a vector."""
    try:
        vector = json.loads(json.loads(body)["text_output"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return isinstance(vector, list) and len(vector) > 0


def _token_error(status: int, body: str) -> str:
    if status != 200:
        return f"HTTP {status}: {body[:300]}"
    try:
        answer = json.loads(body)
        tokens = int(answer[tensors.NUM_OUTPUT_TOKENS])
    except (ValueError, KeyError, TypeError):
        return f"a response without num_output_tokens: {body[:300]}"
    return "" if tokens >= 1 else "a response without a token"
