"""The registry of model families, one module per family.

To add a family, write a module here with `FAMILIES`. It states the model types, how
`config.json` is read, the caches of the layers, the tensors of the checkpoint, and what vLLM's class keeps beyond it:
see `Family` for the fields and their defaults. Two model types of which one needs another value are two rows.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import Final

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity.errors import ShapeError
from triton_vllm_operator.capacity.model.family import Family

_MODULES: Final = tuple(import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__))
FAMILIES: Final[tuple[Family, ...]] = tuple(family for module in _MODULES for family in module.FAMILIES)
"""The families that the planner knows."""
_BY_TYPE: Final = {model_type: family for family in FAMILIES for model_type in family.model_types}


def find_family(model_type: str) -> Family | None:
    """Return the family that lists this model type; None when none does."""
    return _BY_TYPE.get(model_type)


def family_of(model_type: str) -> Family:
    """Return the rules by which a model type is planned.

    Raises:
        ShapeError: no family lists the type. A plan would be a guess.
    """
    listed = find_family(model_type)
    if listed is None:
        raise ShapeError(
            Reason.ARCHITECTURE_UNKNOWN,
            f"model type {model_type[:80]!r} in config.json is not one whose plan is proven to equal the engine's; "
            "set the fields of spec.engine yourself, and compare status.actual",
        )
    return listed
