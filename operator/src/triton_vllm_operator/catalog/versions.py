"""Parses and orders version numbers: of vLLM, of Triton releases and of NVIDIA drivers.

All three become `packaging.version.Version`, which orders as PEP 440 says: development and release candidates before
their release, post releases after it, missing numbers as 0 (0.25 is 0.25.0).
"""

import re
from typing import Annotated

from packaging.version import InvalidVersion, Version
from pydantic import AfterValidator

_FIRST_TRITON_YEAR = 20
"""Triton releases are named by year and month (26.08), so a number from here on is not a major version of vLLM."""
_TRITON = re.compile(r"[0-9]{2}\.(?:0[1-9]|1[0-2])")
_DRIVER = re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,5}){0,3}")
_LONGEST = 60


class InvalidVersionError(ValueError):
    """Text that is not a version of the expected kind; the message says what is expected."""


def parse_vllm_version(text: str) -> Version:
    """The public version of a vLLM: `0.10.1.1`, `v0.25.1`, `0.9.0rc1`, `0.6.3.post1`, `0.25.1.dev3`.

    A local part (`0.25.1+cpu`, `0.11.0+nv25.11`) names a build of the same sources and is left out.

    Raises:
        InvalidVersionError: for anything else, and for the name of a Triton release such as 26.08.
    """
    try:
        version = Version(text[: _LONGEST + 1])
    except InvalidVersion:
        raise InvalidVersionError(f"{_quoted(text)} is not a vLLM version such as 0.25.1.") from None
    if version.major >= _FIRST_TRITON_YEAR:
        raise InvalidVersionError(f"{_quoted(text)} is a Triton release and not a vLLM version such as 0.25.1.")
    if version.epoch or len(version.release) < 2 or len(text) > _LONGEST:
        raise InvalidVersionError(f"{_quoted(text)} is not a vLLM version such as 0.25.1.")
    return Version(version.public)


def vllm_release(version: Version) -> Version:
    """The release that a pre-release or post release belongs to: 0.25.1 of 0.25.1rc1, 0.25.1.dev3 and 0.25.1.post1.

    What an engine does is looked up by it, as the code of a candidate is that of its release. Which CVEs are fixed is
    looked up by the version itself: a candidate can lack the fix.
    """
    return Version(version.base_version)


def parse_triton_release(text: str) -> Version:
    """A Triton release `YY.MM`. Raises `InvalidVersionError` for any other text."""
    if not _TRITON.fullmatch(text):
        raise InvalidVersionError(f"{_quoted(text)} is not a Triton release YY.MM such as 26.08.")
    return Version(text)


def parse_driver_version(text: str) -> Version:
    """An NVIDIA driver version such as `580.95.05` or `580`. Raises `InvalidVersionError` for any other text."""
    if not _DRIVER.fullmatch(text):
        raise InvalidVersionError(f"{_quoted(text)} is not a driver version such as 580.95.05.")
    return Version(text)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "...")


def _valid_vllm(text: str) -> str:
    parse_vllm_version(text)
    return text


def _valid_triton(text: str) -> str:
    parse_triton_release(text)
    return text


def _valid_driver(text: str) -> str:
    parse_driver_version(text)
    return text


VLLMVersion = Annotated[str, AfterValidator(_valid_vllm)]
"""Text of a data file that `parse_vllm_version` takes."""
TritonRelease = Annotated[str, AfterValidator(_valid_triton)]
"""Text of a data file that `parse_triton_release` takes."""
DriverVersion = Annotated[str, AfterValidator(_valid_driver)]
"""Text of a data file that `parse_driver_version` takes."""
