"""Media of requests: data URIs, and files from the hosts that `allowed_media_domains` names.

vLLM loads media from every host when none is named, follows redirects to hosts that are not named, and its errors say
what answered: a client could have the pod send requests to addresses that only the pod reaches. Here nothing is fetched
from a host that is not named, the address of each connection is checked when its socket is made, and every failure
has the same message.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, MutableMapping
from typing import Any

from backend.patches.upstream import Target, Upstream
from contract.media import DOMAINS_ARGUMENT, DOMAINS_FIELD, MediaHosts

logger = logging.getLogger("triton_vllm")

NAME = "triton-vllm"
SCHEMES = ("http", "https")
MAX_REDIRECTS = 5
CHUNK_BYTES = 1 << 16
# FFmpeg has formats that are lists of addresses (SDP, HLS, ...), which it then connects to. These are files.
VIDEO_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpegts,mpeg,mpegvideo,ogg,gif,asf,h264,hevc,mjpeg"
FFMPEG_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
CONNECTOR = "MediaConnector"
MODULE = "vllm.multimodal.media.connector"
UPSTREAM = Upstream(
    (
        Target(MODULE, "MEDIA_CONNECTOR_REGISTRY"),
        Target(MODULE, f"{CONNECTOR}.__init__", parameters=("allowed_local_media_path", "allowed_media_domains")),
        Target(MODULE, f"{CONNECTOR}.load_from_url", parameters=("url", "media_io", "fetch_timeout")),
        Target(MODULE, f"{CONNECTOR}.load_from_url_async", parameters=("url", "media_io", "fetch_timeout")),
        Target(MODULE, f"{CONNECTOR}._load_data_url", parameters=("url", "media_io")),
        Target("aiohttp.connector", "TCPConnector", parameters=("socket_factory",)),
    )
)


class MediaRefused(Exception):
    """Media that may not be loaded, or could not be; the message is for the client."""


def install(environment: MutableMapping[str, str]) -> None:
    """Have vLLM load media with `GuardedConnector`. Before vLLM's environment variables are read for the last time."""
    from vllm.multimodal.media.connector import MEDIA_CONNECTOR_REGISTRY

    MEDIA_CONNECTOR_REGISTRY.register(NAME)(_connector_class())
    environment["VLLM_MEDIA_CONNECTOR"] = NAME
    environment[FFMPEG_VARIABLE] = f"format_whitelist;{VIDEO_FORMATS}"


def _connector_class() -> Any:
    from vllm.exceptions import VLLMValidationError
    from vllm.multimodal.media.connector import MediaConnector, global_thread_pool

    class GuardedConnector(MediaConnector):  # type: ignore[misc]
        """vLLM's, with rules of its own about what is loaded."""

        def load_from_url(self, url: str, media_io: Any, *, fetch_timeout: float | None = None) -> Any:
            """Load media in a thread that may wait. Raises VLLMValidationError."""
            return _in_thread(lambda: self.load_from_url_async(url, media_io, fetch_timeout=fetch_timeout))

        async def load_from_url_async(self, url: str, media_io: Any, *, fetch_timeout: float | None = None) -> Any:
            """Load media. Raises VLLMValidationError, whatever the reason."""
            loop = asyncio.get_running_loop()
            try:
                if url[:5].lower() == "data:":
                    return await loop.run_in_executor(global_thread_pool, self._decode, url, media_io)
                hosts = MediaHosts.parse(self.allowed_media_domains)
                data = await fetch(url, hosts, fetch_timeout, media_io.get_max_bytes())
                return await loop.run_in_executor(global_thread_pool, _load, media_io.load_bytes, data)
            except MediaRefused as error:
                raise VLLMValidationError(str(error)) from None

        def _decode(self, url: str, media_io: Any) -> Any:
            try:
                return self._load_data_url(url, media_io)
            except (MemoryError, ImportError):
                raise
            except Exception as error:  # noqa: BLE001 - decoders raise any type for bytes that they cannot read
                raise MediaRefused(f"the data URI cannot be read: {error or type(error).__name__}") from None

    return GuardedConnector


def _load(load: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return load(data)
    except (MemoryError, ImportError):
        raise
    except Exception as error:  # noqa: BLE001 - as above
        logger.warning("fetched media cannot be decoded: %s", type(error).__name__)
        raise _not_loaded() from None


def _in_thread(make: Callable[[], Any]) -> Any:
    """Run a coroutine in a loop of a thread of its own: the caller may be in a loop."""
    result: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            result.append(asyncio.run(make()))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="media")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return result[0]


async def fetch(url: str, hosts: MediaHosts, seconds: float | None, max_bytes: int | None) -> bytes:
    """Return what a URL of an allowed host has. Raises MediaRefused, with one message for every failed attempt."""
    target = _checked(url, hosts)
    try:
        async with asyncio.timeout(seconds):
            return await _follow(target, hosts, max_bytes)
    except MediaRefused:
        raise
    except Exception as error:  # noqa: BLE001 - its type would show the client what answered
        logger.warning("media of host %s cannot be loaded: %s", target.raw_host, type(error).__name__)
        raise _not_loaded() from None


def _not_loaded() -> MediaRefused:
    return MediaRefused("the media cannot be loaded from its URL. Check the URL, or send the data as a data URI.")


def _checked(url: str, hosts: MediaHosts) -> Any:
    """The URL, read once: what is checked is what is connected to. Raises MediaRefused."""
    from yarl import URL

    try:
        target = URL(url)
        scheme, host = target.scheme, target.raw_host
    except ValueError:
        raise MediaRefused("the media URL is not valid. Send a data URI or an http(s) URL.") from None
    if scheme not in SCHEMES:
        raise MediaRefused(f"media URLs with the scheme {scheme!r} are not allowed. Send a data URI or an http(s) URL.")
    if not host or not hosts.names_host(host):
        raise MediaRefused(
            f"media from the host {host!r} is not allowed. Send the data as a data URI, or name the host in "
            f"{DOMAINS_FIELD} ({DOMAINS_ARGUMENT} in model.json)."
        )
    return target


async def _follow(target: Any, hosts: MediaHosts, max_bytes: int | None) -> bytes:
    """The body behind a URL and its redirects; each is checked as the first one was."""
    import aiohttp
    from aiohttp.helpers import get_env_proxy_for_url
    from vllm import envs

    left = MAX_REDIRECTS if envs.VLLM_MEDIA_URL_ALLOW_REDIRECTS else 0
    headers = {"Accept-Encoding": "identity", "User-Agent": NAME}
    while True:
        proxy, authority = _proxy(target, get_env_proxy_for_url)
        connector = aiohttp.TCPConnector(socket_factory=None if proxy else _guarded_sockets(hosts), force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector, auto_decompress=False, headers=headers) as session,
            session.get(target, allow_redirects=False, proxy=proxy, proxy_auth=authority) as response,
        ):
            if response.status in (301, 302, 303, 307, 308) and left and "Location" in response.headers:
                left -= 1
                target = _redirected(target, response.headers["Location"], hosts)
                continue
            if response.status != 200:
                raise ValueError(f"status {response.status}")
            return await _read(response.content, max_bytes)


def _redirected(target: Any, location: str, hosts: MediaHosts) -> Any:
    """The URL of a redirect. Raises ValueError when it may not be fetched: the client does not learn where it leads."""
    try:
        return _checked(str(target.join(type(target)(location))), hosts)
    except MediaRefused as error:
        raise ValueError(f"redirect: {error}") from None


def _proxy(target: Any, find: Callable[[Any], tuple[Any, Any]]) -> tuple[Any, Any]:
    """The proxy that the pod's environment has for a URL: it then decides which addresses are reached."""
    try:
        return find(target)
    except LookupError:
        return None, None


async def _read(content: Any, max_bytes: int | None) -> bytes:
    parts, size = [], 0
    async for part in content.iter_chunked(CHUNK_BYTES):
        size += len(part)
        if max_bytes is not None and size > max_bytes:
            raise ValueError(f"more than {max_bytes} bytes")
        parts.append(part)
    return b"".join(parts)


def _guarded_sockets(hosts: MediaHosts) -> Callable[[Any], socket.socket]:
    """Makes the socket of each connection, for the address that a name was resolved to and that is connected to."""

    def make(info: Any) -> socket.socket:
        family, kind, protocol, _, address = info
        if not hosts.admits_address(address[0]):
            raise OSError(f"{address[0]} is not public and not named")
        return socket.socket(family, kind, protocol)

    return make
