"""Answer `torch.cuda.get_device_properties` without initializing CUDA.

Changes: `torch.cuda.get_device_properties`, while the fork server imports the engine.

Why: FlashInfer asks for the GPUs' properties when it is imported, which would initialize CUDA in the fork server, and
CUDA does not survive a fork. A copy of the process asks instead, and ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import traceback
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from backend.patches.upstream import Target, Upstream

UPSTREAM = Upstream(
    (
        Target("torch.cuda", "get_device_properties", parameters=("device",)),
        Target("torch.cuda._utils", "_get_device_index", parameters=("device", "optional", "allow_cpu")),
        Target("torch.cuda", "_is_in_bad_fork"),
    )
)


class NotCopyable(RuntimeError):
    """Copies of this process could not use a GPU, or would take it for another one."""


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Answer from a copy of this process, which ends with the block.

    Raises:
        NotCopyable: a caller asked for what the copy did not find, and may go on as if there were another GPU.
    """
    import torch

    answers = GPUProperties()
    own = torch.cuda.get_device_properties
    torch.cuda.get_device_properties = answers.of
    try:
        yield
    finally:
        torch.cuda.get_device_properties = own
        answers.close()
    if answers.unknown:
        raise NotCopyable(answers.unknown)


class GPUProperties:
    """Properties of the GPUs that a copy of this process finds; the copy starts at once and is read on demand."""

    def __init__(self) -> None:
        # The question that had no answer.
        self.unknown = ""
        self._reading, writing = os.pipe()
        self._properties: list[dict[str, Any]] | None = None
        self._pid = os.fork()
        if self._pid == 0:
            _write_properties(writing)
        os.close(writing)

    def of(self, device: Any = None) -> SimpleNamespace:
        """Return what `torch.cuda.get_device_properties(device)` returns, as far as it can be sent.

        Raises:
            RuntimeError: the copy did not find that GPU.
        """
        import torch

        if self._properties is None:
            with os.fdopen(os.dup(self._reading), "rb") as pipe:
                self._properties = json.loads(pipe.read() or b"[]")
        index = torch.cuda._utils._get_device_index(device, optional=True, allow_cpu=False) if device is not None else 0
        if index >= len(self._properties):
            self.unknown = f"the properties of GPU {index} are not known"
            raise RuntimeError(self.unknown)
        return SimpleNamespace(**self._properties[index])

    def close(self) -> None:
        """Wait for the end of the copy."""
        os.close(self._reading)
        os.waitpid(self._pid, 0)


def _write_properties(writing: int) -> None:
    """Write the properties of all GPUs and end this process, which is a copy of another."""
    try:
        import torch

        properties = [torch.cuda.get_device_properties(device) for device in range(torch.cuda.device_count())]
        os.write(writing, json.dumps([_values(each) for each in properties]).encode())
    except BaseException:  # noqa: BLE001 - nothing may propagate: it would go on as the process that was copied
        traceback.print_exc()
    os._exit(0)


def _values(properties: Any) -> dict[str, Any]:
    """Return the properties that are strings or numbers."""
    values = {name: getattr(properties, name) for name in dir(properties) if not name.startswith("_")}
    return {name: value for name, value in values.items() if isinstance(value, (str, int, float))}
