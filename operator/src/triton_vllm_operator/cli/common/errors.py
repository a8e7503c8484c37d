"""The error of the command line, and its exit codes."""

from __future__ import annotations

# Exit codes of `plan`, documented in docs/cli.md. 1 is left to defects.
FITS, BAD_INPUT, TIGHT, DOES_NOT_FIT, NOT_PLANNED = 0, 2, 3, 4, 5
# Exit code of `explain` for an LLMDeployment that is not Ready.
NOT_READY = 3
# Exit code of `import` where the operator would reject an LLMDeployment.
REJECTED = 3


class InputError(Exception):
    """Input that cannot be used. The text goes to standard error; `code` is the exit code."""

    code = BAD_INPUT


class DoesNotFitError(InputError):
    """An LLMDeployment for which the operator would apply nothing, because the model does not fit."""

    code = DOES_NOT_FIT


class NotPlannedError(InputError):
    """An LLMDeployment for which the operator would report `Fits` as Unknown, and create pods without a plan."""

    code = NOT_PLANNED
