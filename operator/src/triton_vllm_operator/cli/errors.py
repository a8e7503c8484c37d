"""The one error of the command line: what is wrong with the input, and what to write instead."""

from __future__ import annotations

#: Exit codes, documented in ``docs/capacity.md``. 1 is left to defects.
FITS, BAD_INPUT, TIGHT, DOES_NOT_FIT = 0, 2, 3, 4
#: Of ``explain``.
NOT_READY = 3
#: Of ``import``: the operator would refuse what came out.
REFUSED = 3


class InputProblem(Exception):
    """Input that cannot be used. The text goes to standard error; ``code`` is the exit code."""

    code = BAD_INPUT


class NothingApplied(InputProblem):
    """Input of which the operator would apply nothing, because the model does not fit."""

    code = DOES_NOT_FIT
