"""The shipped optimizers against the quadrature, and the estimate against what it must be."""

import math

import numpy as np
import pytest
import torch

from dualadam import diagnose
from dualadam.diffusion import (
    ADAM,
    INVADAM,
    SGD,
    ConstantNoise,
    DivergedError,
    DoubleWell,
    FirstPassages,
    SpectrumWell,
    StyblinskiTang,
    escape_time_on,
    mean_first_passage_time,
    mixture,
    simulate,
)
from dualadam.diffusion.simulate import make_optimizer

RULES = [SGD, ADAM, INVADAM, mixture(0.9)]
LOW = DoubleWell(1.0, 0.04), ConstantNoise(1.0)  # an exponent of 2 at lr 0.04: escapes are fast


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_shipped_optimizers_escape_as_the_quadrature_says(rule):
    lr = 0.04 / rule.preconditioner(1.0)
    where = DoubleWell(1.0, 0.06), ConstantNoise(1.0), rule, lr  # an exponent of 3
    passages = simulate(*where, num_walkers=400, num_steps=12_000, seed=3)
    theory = escape_time_on(*where, betas=(0.9, 0.999))
    momentum = theory.log_time - escape_time_on(*where).log_time
    exact = mean_first_passage_time(*where) + momentum
    # four standard errors, and 4 % of the exponent for steps that are not infinitesimal
    tolerance = 4 * passages.log_time_error + 0.04 * theory.exponent
    assert passages.log_time == pytest.approx(exact, abs=tolerance)
    assert passages.num_escapes > 500


def test_walkers_that_leave_to_the_left_are_counted_too():
    left = StyblinskiTang().stretched(0.05), ConstantNoise(400.0), SGD, 0.04
    passages = simulate(*left, num_walkers=200, num_steps=4000, seed=0, betas=(0.0, 0.0))
    exact = mean_first_passage_time(*left)
    assert passages.log_time == pytest.approx(exact, abs=4 * passages.log_time_error + 0.12)


def test_a_straight_valley_in_several_dimensions_does_not_change_the_escape_time():
    noise, lr = ConstantNoise(1.0), 0.04
    valley = SpectrumWell((1.0, 2.0), 0.06)
    passages = simulate(valley, noise, SGD, lr, num_walkers=200, num_steps=12_000, seed=0)
    line = mean_first_passage_time(DoubleWell(1.0, 0.06), noise, SGD, lr)
    # momentum adds 0.15 to ln tau
    assert passages.log_time == pytest.approx(line + 0.15, abs=4 * passages.log_time_error + 0.12)


def test_censored_durations_leave_the_estimate_unbiased_and_dropping_them_does_not():
    rng, tau, window = np.random.default_rng(0), 1000.0, 700.0
    estimates, dropped = [], []
    for _ in range(400):
        durations = rng.exponential(tau, size=200)
        escaped = durations < window
        observed = np.minimum(durations, window)
        passages = FirstPassages(observed, escaped, escaped.astype(int))
        estimates.append(passages.log_time)
        dropped.append(math.log(durations[escaped].mean()))
    # the mean of 400 logarithms with a standard error of 1 / sqrt(100 escapes) each is known to
    # 0.005, and has a bias of 1 / (2 * 100)
    assert np.mean(estimates) == pytest.approx(math.log(tau), abs=0.02)
    assert np.std(estimates) == pytest.approx(passages.log_time_error, rel=0.15)
    assert np.mean(dropped) < math.log(tau) - 1


def test_a_simulation_accounts_for_every_step_of_every_walker():
    passages = simulate(*LOW, INVADAM, 0.04, num_walkers=50, num_steps=3500, seed=0)
    assert passages.walker_steps == 50 * 3500
    assert passages.escaped.sum() == passages.num_escapes == passages.counts.sum() > 50
    assert (~passages.escaped).sum() == 50  # each walker's last duration is censored
    # exponential but for the first relaxation: standard deviation and mean agree
    durations = passages.durations[passages.escaped]
    assert 0.6 < durations.std() / durations.mean() < 1.1


def test_equal_seeds_give_equal_escapes_and_other_seeds_others():
    def run(seed):
        return simulate(*LOW, ADAM, 0.04, num_walkers=50, num_steps=1000, seed=seed)

    np.testing.assert_array_equal(run(1).durations, run(1).durations)
    assert not np.array_equal(run(1).counts, run(2).counts)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_walkers_in_one_tensor_move_as_each_would_alone(rule):
    grads = torch.randn(30, 17, 1, generator=torch.Generator().manual_seed(0))

    def run(which):
        x = torch.zeros(len(which), 1)
        optimizer = make_optimizer(rule, x, 0.1, (0.9, 0.99))
        for grad in grads:
            x.grad = grad[which].clone()
            optimizer.step()
        return x

    together = run(list(range(17)))
    alone = torch.cat([run([i]) for i in range(17)])
    # a vector unit may round differently from a scalar one
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=0)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.98])
def test_the_switch_rate_of_a_fixed_mixture_gives_its_mixing_weight_at_every_step(alpha):
    x = torch.zeros(1, 1)
    optimizer = make_optimizer(mixture(alpha), x, 0.1, (0.9, 0.999))
    x.grad = torch.ones_like(x)
    optimizer.step()
    for step in (100_001.0, 100_500.0, 101_000.0):
        optimizer.state[x]["step"].fill_(step)
        optimizer.param_groups[0]["switch_rate"] = (1 - alpha) / step
        (group,) = diagnose(optimizer)
        assert group.mixing_weight == pytest.approx(alpha, abs=1e-9)


def test_an_unstable_step_is_refused_before_it_is_counted_as_an_escape():
    message = r"lr must be below 38, where the update diverges at the minimum, got 50\.0\."
    with pytest.raises(ValueError, match=message):
        simulate(
            DoubleWell(), ConstantNoise(1.0), SGD, 50.0, num_walkers=10, num_steps=1000, seed=0
        )


class WellWithACliff(DoubleWell):
    """Behind the minimum the loss falls without bound."""

    def add_gradient_(self, grad, x):
        super().add_gradient_(grad, x)
        grad.add_(torch.where(x < 2 * float(self.minimum[0]), 100 * x**4, 0.0))


def test_walkers_that_diverge_are_an_error_that_names_the_remedy():
    cliff = WellWithACliff(1.0, 0.04), ConstantNoise(1.0), SGD, 0.1
    with pytest.raises(DivergedError, match=r"walkers diverged by step .*; take a smaller lr than"):
        simulate(*cliff, num_walkers=100, num_steps=2000, seed=0)


def test_enough_escapes_end_a_simulation_early():
    steps = []
    passages = simulate(
        *LOW, SGD, 0.04, num_walkers=200, num_steps=50_000, seed=0, max_escapes=100,
        progress=steps.append,
    )  # fmt: skip
    assert passages.num_escapes >= 100
    assert sum(steps) < 50_000
    assert passages.walker_steps == 200 * sum(steps)
