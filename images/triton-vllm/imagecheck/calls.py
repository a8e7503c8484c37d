"""Which compilers a part of the check called: none may be called at a start that is not listed.

A folder in front of PATH has a program of each compiler's name, which notes that it was called and runs the real one.
The toolkit's own are called by path: for them there is a second toolkit, which is the first but for its programs.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

COMPILERS = ("cc", "gcc", "c++", "g++", "clang", "ninja", "nvcc", "ptxas")


class Recorder:
    """Notes the calls of compilers that processes with `environment` make."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._notes = folder / "calls"
        programs, toolkit = folder / "bin", folder / "toolkit"
        programs.mkdir(parents=True)
        for name in COMPILERS:
            if found := shutil.which(name, path=environment["PATH"]):
                self._stand_in(programs / name, found)
        own = {"PATH": f"{programs}:{environment['PATH']}", "IMAGECHECK_PATH": environment["PATH"]}
        home = Path(environment.get("CUDA_HOME", "/nonexistent"))
        if home.is_dir():  # not in the image for CPUs
            self._copy_toolkit(home, toolkit)
            own["CUDA_HOME"] = str(toolkit)
        self.environment = {**environment, **own}

    def _copy_toolkit(self, real: Path, toolkit: Path) -> None:
        (toolkit / "bin").mkdir(parents=True)
        for part in [*real.iterdir(), *(real / "bin").iterdir()]:
            copy = toolkit / part.relative_to(real)
            if part.parent.name == "bin" and part.name in COMPILERS:
                self._stand_in(copy, str(part))
            elif part != real / "bin":
                copy.symlink_to(part)

    def _stand_in(self, script: Path, real: str) -> None:
        name = script.name
        # What a compiler calls in its turn is its own affair; ninja calls what its file lists.
        path = "" if name == "ninja" else "PATH=$IMAGECHECK_PATH "
        script.write_text(f'#!/bin/sh\necho {name} >> {self._notes}\n{path}exec {real} "$@"\n')
        script.chmod(0o755)

    def taken(self) -> set[str]:
        """The compilers that were called since the last time."""
        try:
            return set(self._notes.read_text().split())
        except FileNotFoundError:
            return set()
        finally:
            self._notes.unlink(missing_ok=True)
