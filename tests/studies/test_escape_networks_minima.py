"""The network's loss, its minima, and what is computed at them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dualadam.diffusion import ADAM, INVADAM, SGD
from dualadam.errors import InvalidValueError
from dualadam.studies.escape_networks.geometry import Minimum
from dualadam.studies.escape_networks.network import NetworkProblem
from dualadam.studies.escape_networks.starts import GRADIENT_TOLERANCE, Start, choose_minima

PROBLEM = NetworkProblem(num_examples=200, num_components=5, num_hidden=3)
ROUNDING = {"rtol": 1e-10, "atol": 1e-13}  # of float64


@pytest.fixture(scope="module")
def row():
    return Start(PROBLEM, 4).run()


@pytest.fixture(scope="module")
def minimum(row):
    return Minimum(PROBLEM, torch.tensor(row.w, dtype=torch.float64))


def random_vectors(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, PROBLEM.num_params, dtype=torch.float64, generator=generator)


def test_the_stacked_loss_and_gradient_equal_those_of_the_module():
    w = random_vectors(3, seed=0)
    losses, grads = PROBLEM.loss_and_gradient(w, *PROBLEM.data)
    for i in range(3):
        module = PROBLEM.mean_loss(w[i])
        assert module.value() == pytest.approx(losses[i].item(), rel=1e-12)
        torch.testing.assert_close(module.gradient(), grads[i], **ROUNDING)
    mean = PROBLEM.example_gradients(w[0]).mean(0)
    torch.testing.assert_close(mean + PROBLEM.l2 * w[0], grads[0], **ROUNDING)


def test_every_walker_has_its_own_batch():
    w, (inputs, labels) = random_vectors(2, seed=1), PROBLEM.data
    batch = torch.tensor([[0, 1, 2], [7, 8, 7]])
    together = PROBLEM.loss_and_gradient(w, inputs[batch], labels[batch])[1]
    for i in range(2):
        alone = PROBLEM.loss_and_gradient(w[i : i + 1], inputs[batch[i]], labels[batch[i]])[1][0]
        torch.testing.assert_close(together[i], alone, **ROUNDING)


def test_a_start_ends_in_a_minimum_whose_hessian_predicts_the_gradient_beside_it(row, minimum):
    assert row.converged
    assert row.gradient_norm < GRADIENT_TOLERANCE
    assert minimum.spectrum.values[-1] > 0
    step = 1e-5 * random_vectors(1, seed=0)[0]
    gradient = PROBLEM.loss_and_gradient((minimum.w + step)[None], *PROBLEM.data)[1][0]
    expected = torch.from_numpy(minimum.hessian) @ step
    # the third derivatives contribute 1e-5 of a unit
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-3 * float(expected.norm()))


def test_the_covariance_of_a_batch_is_that_of_an_example_over_the_batch_size(minimum):
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(PROBLEM.num_examples, (20_000, 4), generator=generator)
    batches = minimum.problem.example_gradients(minimum.w)[index].mean(1).numpy()
    # the standard error of a variance is sqrt((kurtosis - 1) / n), about 1.5 % here; four of them
    assert (batches @ minimum.top_vector).var() == pytest.approx(minimum.noise(4), rel=0.06)


def test_the_temperature_of_sgd_is_the_stationary_one(minimum):
    # H S + S H = C / B along u
    expected = pytest.approx(minimum.temperature_per_lr(SGD, 16), rel=1e-6)
    assert minimum.equipartition_per_lr(SGD, 16) == expected


@pytest.mark.parametrize("rule", [ADAM, INVADAM], ids=lambda rule: rule.name)
def test_other_temperatures_are_near_it_since_their_preconditioner_is_not_diagonal(minimum, rule):
    ratio = minimum.equipartition_per_lr(rule, 16) / minimum.temperature_per_lr(rule, 16)
    assert 0.5 < ratio < 2


def test_chosen_minima_are_distinct_converged_and_spread_over_ln_h(row):
    curvatures = [1.0, 1.1, 1.2, 2.0, 2.5, 4.0]
    starts = [
        replace(row, loss=1 + 0.01 * i, curvature=h, converged=h != 2.5)
        for i, h in enumerate(curvatures)
    ]
    starts.append(replace(starts[0], curvature=1.0 + 1e-9))  # a copy by symmetry
    assert [start.curvature for start in choose_minima(starts, 3)] == [1.0, 2.0, 4.0]
    with pytest.raises(InvalidValueError, match=r"at most the 5 distinct minima .* got 6"):
        choose_minima(starts, 6)
