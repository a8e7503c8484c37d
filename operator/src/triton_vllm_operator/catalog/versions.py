"""Orders the two kinds of version numbers that the tables use; nothing else is accepted."""

import re

_VLLM = re.compile(r"^(\d+)\.(\d+)\.(\d+)(?:\.(\d+))?(?:rc(\d+)|\.?post(\d+))?(?:\+.*)?$")
_TRITON = re.compile(r"^(\d\d)\.(\d\d)$")
_DRIVER = re.compile(r"^\d+(?:\.\d+){0,3}$")

# A final release comes after all of its candidates and before its post releases.
_FINAL = 1_000_000


def vllm_key(version: str) -> tuple[int, ...]:
    """Sort key of a vLLM version such as 0.10.1.1, 0.9.0rc1 or 0.6.3.post1; a local part (+nv26.7) is ignored.

    Raises ValueError on any other text.
    """
    found = _VLLM.match(version)
    if found is None:
        raise ValueError(f"not a vLLM version: {version!r}")
    major, minor, patch, fourth, candidate, post = found.groups(default="")
    stage = int(candidate) if candidate else _FINAL + int(post or 0)
    return (int(major), int(minor), int(patch), int(fourth or 0), stage)


def triton_key(release: str) -> tuple[int, int]:
    """Sort key of a Triton release YY.MM. Raises ValueError on any other text."""
    found = _TRITON.match(release)
    if found is None or not 1 <= int(found.group(2)) <= 12:
        raise ValueError(f"not a Triton release YY.MM: {release!r}")
    return (int(found.group(1)), int(found.group(2)))


def driver_key(version: str) -> tuple[int, ...]:
    """Sort key of an NVIDIA driver version such as 580.95.05 or 580. Raises ValueError on any other text."""
    if not _DRIVER.match(version):
        raise ValueError(f"not a driver version: {version!r}")
    numbers = [int(part) for part in version.split(".")]
    return tuple(numbers + [0] * (4 - len(numbers)))
