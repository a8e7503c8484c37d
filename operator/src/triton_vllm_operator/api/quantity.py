"""Kubernetes quantities such as 500m, 2Gi or 1.5G as exact numbers."""

import re
from decimal import Decimal
from typing import Final

_SUFFIXES: Final = {
    "m": Decimal("0.001"), "": Decimal(1),
    "k": Decimal(10) ** 3, "M": Decimal(10) ** 6, "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12, "P": Decimal(10) ** 15, "E": Decimal(10) ** 18,
    "Ki": Decimal(2) ** 10, "Mi": Decimal(2) ** 20, "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40, "Pi": Decimal(2) ** 50, "Ei": Decimal(2) ** 60,
}  # fmt: skip
_FORM: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]{0,2})")


def parse(text: str | int) -> Decimal:
    """The value of a quantity in its base unit (bytes, cores).

    Raises:
        ValueError: the text is not a quantity.
    """
    found = _FORM.fullmatch(str(text))
    if found is None or found.group(2) not in _SUFFIXES:
        raise ValueError(f"{text!r} is not a quantity such as 500m, 2 or 16Gi")
    return Decimal(found.group(1)) * _SUFFIXES[found.group(2)]


def total_bytes(*amounts: str | int) -> str:
    """The sum of byte quantities, written in the largest binary unit that keeps it whole."""
    value = int(sum(parse(amount) for amount in amounts))
    for suffix in ("Gi", "Mi", "Ki"):
        if value % int(_SUFFIXES[suffix]) == 0:
            return f"{value // int(_SUFFIXES[suffix])}{suffix}"
    return str(value)
