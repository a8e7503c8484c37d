"""Kubernetes quantities such as 500m, 2Gi or 1.5G as exact numbers."""

import re
from decimal import Decimal
from typing import Final

_SUFFIXES: Final = {
    "m": Decimal("0.001"),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "E": Decimal(10) ** 18,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
    "Pi": Decimal(2) ** 50,
    "Ei": Decimal(2) ** 60,
}
PATTERN: Final = rf"^[0-9]+(\.[0-9]+)?({'|'.join(_SUFFIXES)})?$"
"""Regular expression of the quantities that are read: not negative and without an exponent."""
_FORM: Final = re.compile(PATTERN, re.ASCII)
_LONGEST: Final = 64
_LARGEST: Final = 2**63 - 1
"""Kubernetes keeps quantities in 64 bits."""


def parse(text: str | int) -> Decimal:
    """Return the value of a quantity in its base unit (bytes, cores).

    Raises:
        ValueError: the text is not a quantity.
    """
    written = str(text)
    found = _FORM.fullmatch(written) if len(written) <= _LONGEST else None
    if found is None:
        raise ValueError(f"{written[:_LONGEST]!r} is not a quantity such as 500m, 2 or 16Gi")
    suffix = found.group(2) or ""
    return Decimal(written.removesuffix(suffix)) * _SUFFIXES.get(suffix, 1)


def whole_number(quantity: object) -> int:
    """Return a quantity in an untrusted object as a whole number; 0 for what is absent, not whole or out of range."""
    try:
        value = parse(str(quantity))
    except ValueError:
        return 0
    return int(value) if value == value.to_integral_value() and value <= _LARGEST else 0


def total_bytes(*amounts: str | int) -> str:
    """Return the sum of byte quantities, written in the largest binary unit that keeps it whole."""
    value = int(sum(parse(amount) for amount in amounts))
    for suffix in ("Gi", "Mi", "Ki"):
        if value % int(_SUFFIXES[suffix]) == 0:
            return f"{value // int(_SUFFIXES[suffix])}{suffix}"
    return str(value)
