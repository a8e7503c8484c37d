"""Reads NVIDIA's compatibility matrix: the vLLM version, CUDA and driver in each release of the vLLM image."""

import json
import re
import urllib.error
import urllib.request
from dataclasses import dataclass

_PATH = "docs/introduction/compatibility.md"
_COMMITS = f"https://api.github.com/repos/triton-inference-server/server/commits?path={_PATH}&per_page=1"
_RAW = "https://raw.githubusercontent.com/triton-inference-server/server/{commit}/" + _PATH
_PAGE = "https://github.com/triton-inference-server/server/blob/{commit}/" + _PATH
_TIMEOUT_S = 20
_VLLM = re.compile(r"[0-9]+(?:\.[0-9]+){1,3}(?:rc[0-9]+|\.post[0-9]+)?")


class SourceUnreachableError(Exception):
    """A source on the network that gave no answer; the text says which and why."""


@dataclass(frozen=True, slots=True)
class ReleaseFacts:
    """What a source says about a release; None for what it does not say."""

    vllm: str | None = None
    build: str | None = None
    cuda: str | None = None
    driver: str | None = None
    triton: str | None = None


@dataclass(frozen=True, slots=True)
class Matrix:
    """The matrix at one commit: release -> facts; `page` is its permanent address."""

    page: str
    releases: dict[str, ReleaseFacts]


def fetch_text(url: str) -> str:
    """The body of a page. Raises `SourceUnreachableError`."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            body: bytes = answer.read()
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        raise SourceUnreachableError(f"{url}: {getattr(error, 'reason', error)}") from None
    return body.decode("utf-8")


def fetch_matrix() -> Matrix:
    """The newest matrix. Raises `SourceUnreachableError`."""
    commit = json.loads(fetch_text(_COMMITS))[0]["sha"]
    return Matrix(_PAGE.format(commit=commit), parse_matrix(fetch_text(_RAW.format(commit=commit))))


def parse_matrix(text: str) -> dict[str, ReleaseFacts]:
    """The rows of the section of the vLLM image in the Markdown of the matrix."""
    _, _, section = text.partition("## Container Name: vllm-python-py3\n")
    section = section.partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")] for line in section.splitlines() if "|" in line
    ]
    if not rows:
        return {}
    header, *body = rows
    columns = {name: header.index(name) for name in ("vLLM version", "CUDA version", "CUDA Driver version")}
    return {row[0]: _facts(row, columns) for row in body if re.fullmatch(r"[0-9]{2}\.[0-9]{2}", row[0])}


def _facts(row: list[str], columns: dict[str, int]) -> ReleaseFacts:
    build = row[columns["vLLM version"]]
    version = _VLLM.match(build)
    return ReleaseFacts(
        vllm=version[0] if version else None,
        build=build or None,
        cuda=row[columns["CUDA version"]] or None,
        driver=row[columns["CUDA Driver version"]] or None,
    )
