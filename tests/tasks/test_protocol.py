"""The settings of fine-tuning are checked where they are made."""

from __future__ import annotations

import math

import pytest

from dualadam.errors import InvalidValueError
from dualadam.tasks import FineTuning

# field, smallest and largest values that are allowed, values that are refused, the range told
FIELDS = [
    ("model", ["a", "/folder"], ["", None, 3], "a name or a folder"),
    (
        "parameters",
        ["full", "lora", "last-1", "last-99"],
        ["", "all", "last-0", "last-100", "last-01", "lora\n", None],
        "'full', 'lora', or 'last-N' with N from 1 to 99",
    ),
    ("max_length", [4, 10**6], [3, 10**6 + 1, 512.0, "512", True], "an integer from 4 to 1000000"),
    ("dtype", ["float32", "bfloat16"], ["float16", "", None], "'float32' or 'bfloat16'"),
    ("lora_rank", [1, 4096], [0, 4097, 8.0, True], "an integer from 1 to 4096"),
    (
        "lora_alpha",
        [1e-9, 16, 1e12],
        [0, -1.0, 2e12, math.inf, math.nan, "16", True],
        "a number above 0 and at most 1e12",
    ),
    ("gradient_checkpointing", [True, False], [1, "yes", None], "true or false"),
    ("packed", [True, False], [0, "no", None], "true or false"),
    ("max_new_tokens", [1, 10**5], [0, 10**5 + 1, 1.0], "an integer from 1 to 100000"),
]


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, allowed, _, _ in FIELDS for value in allowed]
)
def test_a_setting_at_the_ends_of_its_range_is_taken(name, value):
    assert getattr(FineTuning(**{"model": "m", name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [(name, value, wanted) for name, _, refused, wanted in FIELDS for value in refused],
)
def test_a_setting_out_of_its_range_is_refused_with_the_range(name, value, wanted):
    with pytest.raises(InvalidValueError) as refused:
        FineTuning(**{"model": "m", name: value})
    assert str(refused.value) == f"{name} must be {wanted}, got {value!r}."


def test_a_whole_number_is_the_same_lora_alpha_as_a_float():
    assert repr(FineTuning("m", lora_alpha=16)) == repr(FineTuning("m", lora_alpha=16.0))
