"""Validation of an LLMDeployment: its typed spec and serving image, or why it is rejected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from pydantic import ValidationError

from triton_vllm_operator.api.conditions import Condition
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import EngineSpec, LLMDeployment
from triton_vllm_operator.catalog import (
    advisories,
    arguments,
    environment,
    openai_arguments,
    own_image_fields,
    releases,
    server_flags,
)
from triton_vllm_operator.catalog.violations import Violation
from triton_vllm_operator.desired.inputs import ServingImage
from triton_vllm_operator.plan import exposure


@dataclass(eq=False)
class Rejected(Exception):
    """The spec cannot run as it is: the reason and message of its conditions."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class ValidatedSpec:
    """A valid spec, with its image.

    Attributes:
        llm: as the user wrote it.
        resolved: the serving image and its row of the release table.
        known: the advisories about the release.
    """

    llm: LLMDeployment
    resolved: releases.ResolvedRelease
    known: advisories.Assessment

    @property
    def image(self) -> ServingImage:
        """The serving image."""
        row = self.resolved.row
        return ServingImage(self.resolved.image, self.resolved.release, stock=row.line == "nvidia")

    @property
    def engine_version(self) -> str:
        """vLLM inside the image."""
        return self.resolved.vllm_version

    @property
    def needs_opt_out(self) -> bool:
        """Whether the namespace has to accept the known vulnerabilities of the release."""
        return self.known.verdict is advisories.ReleaseVerdict.REJECT_UNLESS_OPTED_OUT

    def advisory(self, *, opted_out: bool) -> Condition:
        """The condition SecurityAdvisory."""
        return advisories.condition(self.known, opted_out=opted_out)

    def problems(self, *, opted_out: bool) -> list[Violation]:
        """Problems of the arguments, the flags and the release: those that reject, and warnings."""
        engine, server, contract = self.llm.spec.engine, self.llm.spec.server, self.resolved.arguments_version
        return [
            *engine_problems(engine, contract),
            *environment.check((entry["name"] for entry in self.llm.spec.pod_template.env), contract),
            *server_flags.check(server.extra_args, self.resolved.row.server_code),
            *openai_arguments.check(
                server.open_ai.extra_args,
                engine.extra_args,
                lambda name, value: arguments.advice(name, value, contract),
            ),
            *own_image_fields.check(self.llm.spec, self.resolved.row),
            *advisories.check(self.known, opted_out=opted_out),
            *exposure.check(self.llm.spec, own_image=not self.image.stock),
        ]

    def check(self, *, opted_out: bool) -> None:
        """Check the release, the arguments and the flags.

        Raises:
            Rejected: for one that the image does not support.
        """
        if rejected := rejection_of(self.problems(opted_out=opted_out)):
            raise rejected


def rejection_of(problems: Iterable[Violation]) -> Rejected | None:
    """All problems that reject, as the one reason and message of a condition; None where there are none."""
    found = [problem for problem in problems if problem.rejects]
    return Rejected(found[0].reason, " ".join(problem.message for problem in found)) if found else None


def engine_problems(engine: EngineSpec, vllm_version: str) -> list[Violation]:
    """Problems of the engine arguments. `vllm_version`: one of the table of arguments."""
    return arguments.check(engine.extra_args, vllm_version, _typed(engine))


def _typed(engine: EngineSpec) -> dict[str, Any]:
    """The typed fields that are set, by vLLM's names."""
    values = engine.model_dump(exclude={"extra_args"}, exclude_unset=True, exclude_none=True)
    return {name: value for name, value in values.items() if value != EngineSpec.model_fields[name].default}


def validate(obj: Mapping[str, Any], default_image: str | None, today: date) -> ValidatedSpec:
    """The validated spec of an LLMDeployment.

    Args:
        default_image: serving image of a spec that sets none; None for NVIDIA's newest release.

    Raises:
        Rejected: for an invalid spec or an unknown image.
    """
    try:
        llm = LLMDeployment.parse(dict(obj))
    except ValidationError as error:
        raise Rejected(Reason.INVALID_SPEC, _invalid_message(error)) from error
    server = llm.spec.server
    resolved = releases.resolve(server.image, server.release, default_image=default_image)
    if isinstance(resolved, Violation):
        raise Rejected(resolved.reason, resolved.message)
    return ValidatedSpec(llm, resolved, advisories.assess(resolved.row, today))


def _invalid_message(error: ValidationError) -> str:
    """Each invalid field with its error."""
    found = [f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors(include_url=False)]
    what = "; ".join(found[:10])
    if any(one["type"] == "extra_forbidden" for one in error.errors()):
        return f"This version of the operator does not understand the spec: {what}. Correct it, or update the operator."
    return f"The spec is invalid: {what}. Correct it."
