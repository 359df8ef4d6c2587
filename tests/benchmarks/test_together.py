"""Trainings that the benchmark steps together end where they end one after the other."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import together


@pytest.mark.parametrize("name", ["perceptron", "digits"])
def test_together_and_one_after_the_other_the_losses_are_the_same_up_to_rounding(name: str) -> None:
    case = replace(together.CASES[name](), steps=2)
    _, _, apart = together.measure(case, count=2, rounds=1)
    # two steps of float32, whose rounding is 6e-8; batches of another order differ by 7e-4
    assert apart < 1e-5
