"""The noise of stochastic rounding, as the kernel makes it: fair, and independent."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from dualadam import DualAdam
from dualadam.optim._step.rounding import PARAM_MULTIPLIER

pytestmark = pytest.mark.usefixtures("needs_the_kernel")
N = 10_000_000
HALF_A_UNIT = 2.0**-9  # of bfloat16, below 1
# the standard error of a correlation or of a mean of signs is 1 / sqrt(N) = 3.2e-4
FIVE_SIGMA = 5 / N**0.5


def signs(steps: int = 1, numbers: int = 1) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return +1 where p, m and v were rounded up and -1 where down, by step and parameter.

    Every value is 1 and becomes 1 - 2^-9, in the middle between two bfloat16 numbers.
    """
    params = [torch.nn.Parameter(torch.ones(N, dtype=torch.bfloat16)) for _ in range(numbers)]
    optimizer = DualAdam(
        params,
        lr=1.0,
        betas=(1 - HALF_A_UNIT, 1 - HALF_A_UNIT),
        eps=1e30,  # no step
        weight_decay=HALF_A_UNIT,
        switch_rate=1.0,
        state_dtype=torch.bfloat16,
        stochastic_rounding=True,
        fused=True,
    )
    for p in params:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    found = []
    for _ in range(steps):
        stored = [
            (p.data, optimizer.state[p]["exp_avg"], optimizer.state[p]["exp_avg_sq"])
            for p in params
        ]
        for tensor in itertools.chain.from_iterable(stored):
            tensor.fill_(1.0)
        optimizer.step()
        for of_param in stored:
            assert all(set(x[:1000].tolist()) == {1.0, 1 - 2 * HALF_A_UNIT} for x in of_param)
            p, m, v = (torch.where(x == 1.0, 1.0, -1.0) for x in of_param)
            found.append((p, m, v))
    return found


@pytest.fixture(scope="module")
def one_step() -> tuple[Tensor, Tensor, Tensor]:
    return signs()[0]


def test_the_mean_of_the_rounding_is_right_and_p_m_and_v_are_rounded_independently(
    one_step: tuple[Tensor, Tensor, Tensor],
):
    p, m, v = one_step
    for values in (p, m, v):
        assert values.mean().abs() < FIVE_SIGMA
    for a, b in itertools.combinations((p, m, v), 2):
        assert (a * b).mean().abs() < FIVE_SIGMA


def test_neighbours_are_rounded_independently(one_step: tuple[Tensor, Tensor, Tensor]):
    for values, distance in itertools.product(one_step, (1, 2, 32, 64)):
        assert (values[distance:] * values[:-distance]).mean().abs() < FIVE_SIGMA


def test_steps_and_parameters_are_rounded_independently():
    found = signs(steps=2, numbers=2)
    for first, second in itertools.combinations(found, 2):
        for a, b in zip(first, second, strict=True):
            assert (a * b).mean().abs() < FIVE_SIGMA


@pytest.mark.parametrize("fraction", [0.25, 1 / 256])
def test_the_mean_and_the_variance_of_the_rounding_are_those_of_a_fair_draw(fraction: float):
    """1 - f 2^-8 becomes 1 with the probability 1 - f, so that the mean is exact."""
    param = torch.nn.Parameter(torch.ones(N, dtype=torch.bfloat16))
    param.grad = torch.zeros_like(param)
    decay = fraction * 2 * HALF_A_UNIT
    DualAdam(
        [param], lr=1.0, weight_decay=decay, eps=1e30, stochastic_rounding=True, fused=True
    ).step()
    down = (param.detach() != 1.0).double()
    variance = fraction * (1 - fraction)
    assert abs(down.mean() - fraction) < 5 * (variance / N) ** 0.5
    assert float(down.var()) == pytest.approx(variance, rel=20 / (fraction * N) ** 0.5)


def test_any_two_of_the_three_halves_of_a_hash_are_independent():
    """For one value of m's or v's noise, every value of p's occurs once: proved by counting."""
    half = torch.arange(2**16)
    for other in (0, 1, 0x1234, 0xFFFF):
        for hashes in (other + (half << 16), (other << 16) + half):
            noise = (hashes * PARAM_MULTIPLIER) >> 16 & 0xFFFF
            assert torch.equal(noise.sort().values, half)
