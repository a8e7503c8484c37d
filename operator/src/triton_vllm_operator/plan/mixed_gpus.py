"""One plan out of those for several GPU classes: which one is shown, the verdict on all, and suggestions for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.status import SuggestionStatus
from triton_vllm_operator.capacity import EngineSettings, GPUClass, ModelShape, Plan, plan

FITS: Final = "Fits"
TIGHT: Final = "Tight"
DOES_NOT_FIT: Final = "DoesNotFit"

_PRODUCT_FIELD = "resources.gpu.product"

ClassPlans = Sequence[tuple[GPUClass, Plan]]


def representative(plans: ClassPlans) -> tuple[GPUClass, Plan]:
    """The plan to show: of those that fit, the one with the least memory; where none fits, that with the most."""
    for verdict in (FITS, TIGHT):
        if fitting := [pair for pair in plans if pair[1].verdict == verdict]:
            return min(fitting, key=lambda pair: pair[0].memory_bytes)
    return max(plans, key=lambda pair: pair[0].memory_bytes)


def combined_verdict(plans: ClassPlans, shown: GPUClass) -> Mapping[str, str]:
    """`verdict`, `reason` and `message` where the classes differ: a pod may land where the model does not fit."""
    if len({result.verdict for _, result in plans}) == 1:
        return {}
    failing = [(gpu, result) for gpu, result in plans if result.verdict == DOES_NOT_FIT]
    if not failing:
        return {"verdict": TIGHT, "reason": str(Reason.DEPENDS_ON_GPU), "message": _tight_message(plans)}
    gpu, worst = failing[-1]
    shown_plan = _plan_of(plans, shown)
    message = (
        f"A pod may land on {gpu.product}, where the model does not fit: {sentence(worst.message)} It "
        f"{'fits' if shown_plan.verdict == FITS else 'is tight'} on {shown.product}."
    )
    return {"verdict": TIGHT, "reason": str(Reason.DEPENDS_ON_GPU), "message": message}


def suggestions_for_all(
    shape: ModelShape, settings: EngineSettings, plans: ClassPlans, gpu: GPUClass, *, selectable: bool
) -> list[SuggestionStatus]:
    """Changes of the spec that fit on every GPU that a pod may land on after them.

    Args:
        gpu: the class that is shown.
        selectable: whether the spec can select that class by its product.
    """
    shown = _plan_of(plans, gpu)
    others = [found for found, _ in plans if found != gpu]
    if all(result.verdict == FITS for _, result in plans):
        return []
    if shown.verdict == FITS:
        concurrency = round(shown.kv.concurrency, 2)
        only = SuggestionStatus(changes={}, message="set", verdict=FITS, concurrency_at_max_model_len=concurrency)
        return [_on_product(only, gpu)] if selectable else []
    everywhere: list[SuggestionStatus] = []
    on_shown: list[SuggestionStatus] = []
    for one in (suggestion.to_status() for suggestion in shown.suggestions):
        (everywhere if _fits_on_all(shape, settings, others, one.changes) else on_shown).append(one)
    joined = [one.model_copy(update={"message": f"{one.message} and"}) for one in on_shown if selectable]
    return [*everywhere, *(_on_product(one, gpu) for one in joined)]


def sentence(text: str) -> str:
    """The text with one full stop at its end."""
    return f"{text.rstrip('.')}."


def _plan_of(plans: ClassPlans, gpu: GPUClass) -> Plan:
    return next(result for found, result in plans if found == gpu)


def _fits_on_all(
    shape: ModelShape, settings: EngineSettings, classes: Sequence[GPUClass], changes: Mapping[str, Any]
) -> bool:
    if _PRODUCT_FIELD in changes:
        return True  # it was planned for that product, and no other is left
    values = {_snake(key.removeprefix("engine.")): value for key, value in changes.items() if key.startswith("engine.")}
    if len(values) < len(changes):
        return False
    return all(plan(shape, replace(settings, **values), gpu).verdict == FITS for gpu in classes)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _on_product(suggestion: SuggestionStatus, gpu: GPUClass) -> SuggestionStatus:
    changes = {**suggestion.changes, _PRODUCT_FIELD: gpu.product}
    message = f"{suggestion.message} {_PRODUCT_FIELD}: {gpu.product}"
    return suggestion.model_copy(update={"changes": changes, "message": message})


def _tight_message(plans: ClassPlans) -> str:
    gpu, tight = next((gpu, result) for gpu, result in plans if result.verdict == TIGHT)
    return f"It fits on some GPUs that a pod may land on. On {gpu.product}: {sentence(tight.message)}"
