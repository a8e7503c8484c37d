"""Quantities of untrusted objects as whole numbers."""

from decimal import Decimal

import pytest

from triton_vllm_operator.api.quantity import parse, total_bytes, whole_number


@pytest.mark.parametrize(
    ("quantity", "number"),
    [
        ("8", 8),
        (8, 8),
        ("1k", 1000),
        ("2000m", 2),
        ("1.5Ki", 1536),
        ("81559Mi", 81559 * 2**20),
        (str(2**63 - 1), 2**63 - 1),
    ],
)
def test_a_whole_quantity_is_a_number(quantity: object, number: int) -> None:
    assert whole_number(quantity) == number


@pytest.mark.parametrize("quantity", [None, "", "500m", "-1", "lots", "4²", "٣", True, [], str(2**63), "9" * 1000])
def test_anything_else_is_nothing(quantity: object) -> None:
    assert whole_number(quantity) == 0


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        ("1", "1"), (2, "2"), ("1500m", "1.5"), ("1.5k", "1500"), ("2M", "2000000"), ("1G", "1e9"), ("1T", "1e12"),
        ("1P", "1e15"), ("1E", "1e18"), ("1Ki", "1024"), ("1Mi", "1048576"), ("1Gi", "1073741824"),
        ("1Ti", "1099511627776"), ("1Pi", "1125899906842624"), ("1Ei", "1152921504606846976"),
        ("0" * 63 + "1", "1"),
    ],
)  # fmt: skip
def test_every_suffix_has_its_value(quantity: str | int, value: str) -> None:
    assert parse(quantity) == Decimal(value)


@pytest.mark.parametrize("text", ["x", "0" * 64 + "1", "1" * 99])
def test_what_is_not_a_quantity_is_quoted_up_to_its_longest(text: str) -> None:
    with pytest.raises(ValueError, match=rf"^'{text[:64]}' is not a quantity such as 500m, 2 or 16Gi$"):
        parse(text)


@pytest.mark.parametrize(
    ("amounts", "total"),
    [
        ((), "0Gi"),
        (("1Gi", "1Gi"), "2Gi"),
        (("1Gi", "512Mi"), "1536Mi"),
        (("1Mi", "1Ki"), "1025Ki"),
        (("1Ki", 1), "1025"),
        (("1G",), "1000000000"),
        (("1.5Gi", "512Mi"), "2Gi"),
    ],
)
def test_a_sum_is_written_in_the_largest_unit_that_keeps_it_whole(amounts: tuple[str | int, ...], total: str) -> None:
    assert total_bytes(*amounts) == total
