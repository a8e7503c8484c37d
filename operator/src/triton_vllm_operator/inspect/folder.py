"""A model in a mounted directory. Only regular files are read: a pipe might never end."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.inspect.model import InspectionError
from triton_vllm_operator.plan.inspection_protocol import Failure

MAX_NAMES = 100_000


@dataclass(frozen=True)
class Folder:
    """A directory with a model. `display_name`: the directory in messages, as the user wrote it."""

    path: Path
    display_name: str
    names: frozenset[str]
    commit: str = ""

    @classmethod
    def open(cls, path: Path, display_name: str) -> Folder:
        """List the directory.

        Raises:
            InspectionError: it does not exist, or has too many files.
        """
        names: set[str] = set()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    names.add(entry.name)
                    if len(names) > MAX_NAMES:
                        raise InspectionError(
                            Failure(
                                Reason.TOO_MANY_FILES,
                                f"{display_name} has more than {MAX_NAMES} files. Correct spec.model.uri.",
                            )
                        )
        except OSError as error:
            advice = "Correct spec.model.uri, or copy the model into the claim."
            raise InspectionError(
                Failure(Reason.FILE_MISSING, f"{display_name}: {error.strerror or error}. {advice}")
            ) from error
        return cls(path, display_name, frozenset(names))

    def read(self, name: str, first: int, count: int) -> bytes:
        """See `ModelFiles.read`."""
        try:
            # Non-blocking: opening a pipe would wait for a writer.
            descriptor = os.open(self.path / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise InspectionError(
                        Failure(
                            Reason.FILE_MISSING,
                            f"{self.display_name}/{name} is not a regular file. Copy the model again.",
                        )
                    )
                file.seek(first)
                return file.read(count)
        except OSError as error:
            advice = "Make it readable for user and group 1000, as which the pods run."
            text = f"{self.display_name}/{name} cannot be read: {error.strerror or error}. {advice}"
            raise InspectionError(Failure(Reason.FILE_UNREADABLE, text)) from error


def too_slow(name: str, seconds: float) -> Failure:
    """The failure to report when the directory `name` has not been read in time."""
    text = f"{name} was not read within {seconds:.0f} s: the volume is slow, or the files are not a model."
    return Failure(Reason.INSPECTION_TIMEOUT, text)
