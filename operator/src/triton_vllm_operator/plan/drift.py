"""Whether a live object has drifted from its desired state. Fields of other managers do not count."""

from collections.abc import Mapping, Sequence
from typing import Any

from triton_vllm_operator.api.quantity import parse

# Below these keys strings are quantities, which the API server writes in its own canonical form.
_QUANTITY_PARENTS = {"requests", "limits"}
_QUANTITY_KEYS = {"sizeLimit"}
# Maps that belong to one manager as a whole: with one more key a selector selects nothing.
_WHOLE = {"selector"}


def holds(live: Any, desired: Any, *, quantity: bool = False) -> bool:
    """Whether every field of `desired` is in `live` with the same value.

    Args:
        live: as the API server returns it.
        desired: as it was or would be applied.
        quantity: strings at this place are quantities.
    """
    if isinstance(desired, Mapping):
        return isinstance(live, Mapping) and all(
            _same_field(live, key, value, quantity=quantity) for key, value in desired.items()
        )
    if isinstance(desired, Sequence) and not isinstance(desired, str):
        return isinstance(live, Sequence) and _list_holds(live, desired)
    if quantity:
        return _same_quantity(live, desired)
    return bool(live == desired)


def _same_field(live: Mapping[str, Any], key: str, value: Any, *, quantity: bool) -> bool:
    if key not in live:
        return not value  # the API server drops most empty values from what it stores
    if key in _WHOLE:
        return bool(live[key] == value)
    below = quantity if not isinstance(value, Mapping) else key in _QUANTITY_PARENTS
    return holds(live[key], value, quantity=below or key in _QUANTITY_KEYS)


def _list_holds(live: Sequence[Any], desired: Sequence[Any]) -> bool:
    if all(isinstance(item, Mapping) for item in desired):
        # Lists of objects are merged: other managers may add items (an injected sidecar), in any order.
        return all(any(holds(candidate, item) for candidate in live) for item in desired)
    return list(live) == list(desired)


def _same_quantity(live: Any, desired: Any) -> bool:
    try:
        return parse(live) == parse(desired)
    except ValueError:
        return bool(live == desired)


def first_difference(live: Any, desired: Any, path: str = "") -> tuple[str, Any]:
    """Return the path of a field of `desired` that `live` does not hold, and its live value. Lists are one field."""
    if not isinstance(desired, Mapping) or not isinstance(live, Mapping):
        return path, live
    for key, value in desired.items():
        if not _same_field(live, key, value, quantity=key in _QUANTITY_PARENTS):
            return first_difference(live.get(key), value, f"{path}.{key}" if path else key)
    return path, live
