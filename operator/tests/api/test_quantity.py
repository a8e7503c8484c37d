"""Quantities of untrusted objects as whole numbers."""

import pytest

from triton_vllm_operator.api.quantity import whole_number


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
