"""A model in a mounted folder. Links may lead anywhere, pipes may never end: only regular files are opened."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.inspect.model import Unreadable
from triton_vllm_operator.plan.inspection_protocol import Failure

MAX_NAMES = 100_000


@dataclass(frozen=True)
class Folder:
    """`told_as`: the folder in messages, as the user wrote it."""

    path: Path
    told_as: str
    names: frozenset[str]
    commit: str = ""

    @classmethod
    def open(cls, path: Path, told_as: str) -> Folder:
        """Errors: Unreadable where there is no such folder."""
        names: set[str] = set()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    names.add(entry.name)
                    if len(names) > MAX_NAMES:
                        raise Unreadable(
                            Failure(Reason.TOO_MANY_FILES, f"{told_as} holds more than {MAX_NAMES} files.")
                        )
        except OSError as error:
            advice = "Correct spec.model.uri, or copy the model into the claim."
            raise Unreadable(Failure(Reason.FILE_MISSING, f"{told_as}: {error.strerror or error}. {advice}")) from error
        return cls(path, told_as, frozenset(names))

    def read(self, name: str, first: int, count: int) -> bytes:
        """See `model.Source`."""
        try:
            # Non-blocking, or the open of a pipe would wait for a writer.
            descriptor = os.open(self.path / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise Unreadable(Failure(Reason.FILE_MISSING, f"{self.told_as}/{name} is not a file."))
                file.seek(first)
                return file.read(count)
        except OSError as error:
            advice = "The serving pods run as user and group 1000, and must be able to read it."
            text = f"{self.told_as}/{name} cannot be read: {error.strerror or error}. {advice}"
            raise Unreadable(Failure(Reason.FILE_UNREADABLE, text)) from error


def too_slow(name: str, seconds: float) -> Failure:
    """The failure to report when the directory `name` has not been read in time."""
    text = f"{name} was not read within {seconds:.0f} s: the volume is slow, or the files are not a model."
    return Failure(Reason.INSPECTION_TIMEOUT, text)
