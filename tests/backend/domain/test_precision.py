"""How finely types of number tell losses apart, held to torch's own arithmetic."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lossboard_server.domain.precision import resolution

NAMES = ("float64", "float32", "bfloat16", "float16")


@pytest.mark.parametrize(
    ("dtype", "step"), [("bfloat16", 1 / 64), ("float16", 1 / 512), ("float32", 2**-22), ("float64", 2**-51)]
)
def test_near_the_loss_of_ten_equal_classes(dtype: str, step: float) -> None:
    assert resolution(dtype, math.log(10)) == step
    assert resolution(dtype, -math.log(10)) == step


@pytest.mark.parametrize("dtype", NAMES)
@given(st.floats(-60_000, 60_000))
def test_it_is_the_distance_to_the_next_number_of_that_type(dtype: str, value: float) -> None:
    number = torch.tensor(value, dtype=getattr(torch, dtype)).abs()
    if dtype in ("float64", "float32"):
        above = torch.nextafter(number, torch.tensor(math.inf, dtype=number.dtype))
    else:  # the bits of the next one: torch steps no half types
        above = (number.view(torch.int16) + 1).view(number.dtype)
    assert resolution(dtype, number.item()) == above.double().item() - number.double().item()


def test_what_is_not_finite_has_none() -> None:
    assert math.isnan(resolution("float32", math.inf))


def test_an_unknown_type_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'int8' is none of"):
        resolution("int8", 1.0)
