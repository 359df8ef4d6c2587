"""The fused step with moments in bfloat16 against float64: it forms a division less than the loop.

The unit is one in the last place of float32 of the largest term: p, or the step that the larger of
the two terms of m would make. A bfloat16 result is allowed the half unit of its rounding besides.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from fused_cases import normal, trained
from test_fused import STATES
from torch import Tensor

from dualadam.optim._step.equations import step_coefficients

pytestmark = pytest.mark.usefixtures("needs_the_kernel")
N = 100_003


class Errors(NamedTuple):
    param: float
    exp_avg: float
    exp_avg_sq: float


def exponent(*terms: Tensor) -> Tensor:
    return torch.stack([term.double().abs() for term in terms]).amax(0).log2().floor()


def error(stored: Tensor, exact: Tensor, *terms: Tensor) -> float:
    """Return the largest error before the rounding to the format that it is stored in."""
    beyond = (stored.double() - exact).abs()
    if stored.dtype == torch.bfloat16:
        beyond = (beyond - torch.exp2(exponent(stored, exact) - 8)).clamp(min=0)
    return float((beyond / torch.exp2(exponent(exact, *terms) - 23)).nan_to_num(0).max())


def errors_of_one_step(name: str, dtype: torch.dtype, path: str = "fused") -> Errors:
    steps, settings, kind = STATES[name]
    settings = {**settings, "state_dtype": torch.bfloat16}
    (param,), optimizer = trained(path, [(normal(N) * 0.05).to(dtype)], steps, kind, **settings)
    param.grad = normal(N, seed=99).to(dtype)
    (group,) = optimizer.param_groups
    state = optimizer.state[param]
    before = param.detach().double()
    m_old, v_old = (
        state[key].double() if state else torch.zeros(N, dtype=torch.float64)
        for key in ("exp_avg", "exp_avg_sq")
    )
    beta1, beta2 = group["betas"]
    adam, inverse, root = step_coefficients(
        steps + 1, group["lr"], beta1, beta2, group.get("switch_rate", 0.0)
    )
    g = param.grad.double() * (-1 if group["maximize"] else 1)
    added = (1 - beta1) * (g - m_old)
    m, v = m_old + added, beta2 * v_old + (1 - beta2) * g * g
    r = v.sqrt() / root + group["eps"]
    per_m = (adam / r if adam else 0.0) + inverse * r
    exact = before * (1 - group["lr"] * group["weight_decay"]) + per_m * m
    optimizer.step()
    largest = per_m * torch.maximum(m_old.abs(), added.abs())
    state = optimizer.state[param]
    return Errors(
        error(param.detach(), exact, before, largest),
        error(state["exp_avg"], m, m_old),
        error(state["exp_avg_sq"], v, v_old),
    )


@pytest.mark.parametrize("name", STATES)
def test_values_stored_in_bfloat16_are_within_2_units_before_they_are_rounded(name: str):
    assert max(errors_of_one_step(name, torch.bfloat16)) <= 2
    assert max(errors_of_one_step(name, torch.float32)[1:]) <= 2


@pytest.mark.parametrize("name", STATES)
def test_float32_parameters_are_within_5_units_and_the_loop_within_6(name: str):
    assert errors_of_one_step(name, torch.float32).param <= 5
    assert errors_of_one_step(name, torch.float32, "loop").param <= 6
