"""What an LLMDeployment asks for: its typed spec and the image that it means, or why it cannot work as it stands."""

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
    openai_arguments,
    own_image_fields,
    releases,
    server_flags,
)
from triton_vllm_operator.catalog.violations import Violation
from triton_vllm_operator.desired.inputs import ServingImage


@dataclass(eq=False)
class Refusal(Exception):
    """The spec cannot work as it stands: the reason and message of its conditions."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """A spec that is understood.

    Attributes:
        llm: as the user wrote it.
        row: of the release table, with what is known against it.
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
        """Whether the namespace must take the risk of the release."""
        return self.known.verdict is advisories.ReleaseVerdict.REJECT_UNLESS_OPTED_OUT

    def advisory(self, *, opted_out: bool) -> Condition:
        """The condition SecurityAdvisory."""
        return advisories.condition(self.known, opted_out=opted_out)

    def problems(self, *, opted_out: bool) -> list[Violation]:
        """What is wrong with the arguments, the flags and the release, refusals and warnings."""
        engine, server, contract = self.llm.spec.engine, self.llm.spec.server, self.resolved.arguments_version
        return [
            *arguments.check(engine.extra_args, contract, _typed(engine)),
            *server_flags.check(server.extra_args, self.resolved.row.server_code),
            *openai_arguments.check(server.open_ai.extra_args, engine.extra_args),
            *own_image_fields.check(self.llm.spec, self.resolved.row),
            *advisories.check(self.known, opted_out=opted_out),
        ]

    def refuse(self, *, opted_out: bool) -> None:
        """Raises Refusal for a release, an argument or a flag that the image does not take."""
        if refusal := refusal_of(self.problems(opted_out=opted_out)):
            raise refusal


def refusal_of(problems: Iterable[Violation]) -> Refusal | None:
    """All that refuses, as the one reason and message of a condition; None where nothing does."""
    refused = [problem for problem in problems if problem.rejects]
    return Refusal(refused[0].reason, " ".join(problem.message for problem in refused)) if refused else None


def _typed(engine: EngineSpec) -> dict[str, Any]:
    """The typed fields that are set, by vLLM's names."""
    values = engine.model_dump(exclude={"extra_args"}, exclude_unset=True, exclude_none=True)
    return {name: value for name, value in values.items() if value != EngineSpec.model_fields[name].default}


def understand(obj: Mapping[str, Any], default_image: str | None, today: date) -> Wanted:
    """Read an LLMDeployment. Raises Refusal for a spec or an image that is not understood.

    Args:
        default_image: serving image of a spec that names none; None for NVIDIA's newest.
    """
    try:
        llm = LLMDeployment.parse(dict(obj))
    except ValidationError as error:
        raise Refusal(Reason.INVALID_SPEC, _told(error)) from error
    server = llm.spec.server
    resolved = releases.resolve(server.image, server.release, default_image=default_image)
    if isinstance(resolved, Violation):
        raise Refusal(resolved.reason, resolved.message)
    return Wanted(llm, resolved, advisories.assess(resolved.row, today))


def _told(error: ValidationError) -> str:
    """Each field with what is wrong, for a spec that this version of the operator does not understand."""
    told = [f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors(include_url=False)]
    what = "; ".join(told[:10])
    return f"This version of the operator does not understand the spec: {what}. Correct it, or update the operator."
