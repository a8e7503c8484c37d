"""Does a live object still hold everything that we want of it? Fields of other managers do not matter."""

from collections.abc import Mapping, Sequence
from typing import Any

from triton_vllm_operator.api.quantity import parse

# Below these keys texts are quantities, which the API server writes in its own canonical form.
_QUANTITY_PARENTS = {"requests", "limits"}
_QUANTITY_KEYS = {"sizeLimit"}
# Maps that belong to one manager as a whole: one more key in a selector and it selects nothing.
_WHOLE = {"selector"}


def holds(live: Any, wanted: Any, *, quantity: bool = False) -> bool:
    """True when every field of `wanted` is in `live` with the same value.

    Args:
        live: as the API server returns it.
        wanted: what was or would be applied.
        quantity: texts at this place are quantities.
    """
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(
            _same_field(live, key, value, quantity=quantity) for key, value in wanted.items()
        )
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return isinstance(live, Sequence) and _list_holds(live, wanted)
    if quantity:
        return _same_quantity(live, wanted)
    return bool(live == wanted)


def _same_field(live: Mapping[str, Any], key: str, value: Any, *, quantity: bool) -> bool:
    if key not in live:
        return not value  # the API server drops most empty values from what it stores
    if key in _WHOLE:
        return bool(live[key] == value)
    below = quantity if not isinstance(value, Mapping) else key in _QUANTITY_PARENTS
    return holds(live[key], value, quantity=below or key in _QUANTITY_KEYS)


def _list_holds(live: Sequence[Any], wanted: Sequence[Any]) -> bool:
    if all(isinstance(item, Mapping) for item in wanted):
        # Lists of objects are merged: other managers may add items (an injected sidecar), in any order.
        return all(any(holds(candidate, item) for candidate in live) for item in wanted)
    return list(live) == list(wanted)


def _same_quantity(live: Any, wanted: Any) -> bool:
    try:
        return parse(live) == parse(wanted)
    except ValueError:
        return bool(live == wanted)
