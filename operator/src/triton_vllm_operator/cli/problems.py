"""The one error of the command line: what is wrong with the input, and what to write instead."""

from __future__ import annotations


class InputProblem(Exception):
    """Input that cannot be used. The text goes to standard error and the exit code is ``BAD_INPUT``."""


#: Exit codes, documented in ``docs/capacity.md``. 1 is left to defects.
FITS, BAD_INPUT, TIGHT, DOES_NOT_FIT = 0, 2, 3, 4
