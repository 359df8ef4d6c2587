"""Escapes from a network: its stacked gradients, its minima, what counts as an escape, and slopes that are known beforehand."""

import math

import numpy as np
import pytest
import torch

from dualadam.diffusion import ADAM, INVADAM, SGD
from dualadam.studies.escape_networks import analysis, lives, logistic
from dualadam.studies.escape_networks.lives import (
    ELSEWHERE,
    HOME,
    UNDECIDED,
    Unit,
    check_steps,
    live,
    where_descent_leads,
)
from dualadam.studies.escape_networks.minima import (
    GRADIENT_TOLERANCE,
    Minimum,
    compare_diagonals,
    find_minimum,
    select,
)
from dualadam.studies.escape_networks.problem import Problem

PROBLEM = Problem(num_examples=200, num_components=5, num_hidden=3)
RULES = (SGD, ADAM, INVADAM)


@pytest.fixture(scope="module")
def row():
    return find_minimum(PROBLEM, 4)


@pytest.fixture(scope="module")
def minimum(row):
    return Minimum(PROBLEM, torch.tensor(row["w"], dtype=torch.float64))


def test_the_stacked_loss_and_gradient_are_those_of_the_module():
    w = torch.randn(
        3, PROBLEM.num_params, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    losses, grads = PROBLEM.loss_and_gradient(w, *PROBLEM.data)
    for i in range(3):
        module = PROBLEM.mean_loss(w[i])
        assert module.value() == pytest.approx(losses[i].item(), rel=1e-12)
        torch.testing.assert_close(
            module.gradient(), grads[i], rtol=1e-10, atol=1e-13
        )  # rounding of float64
    example = PROBLEM.example_gradients(w[0])
    torch.testing.assert_close(
        example.mean(0) + PROBLEM.l2 * w[0], grads[0], rtol=1e-10, atol=1e-13
    )


def test_every_walker_has_a_batch_of_its_own():
    w = torch.randn(
        2, PROBLEM.num_params, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    batch = torch.tensor([[0, 1, 2], [7, 8, 7]])
    together = PROBLEM.loss_and_gradient(w, PROBLEM.data[0][batch], PROBLEM.data[1][batch])[1]
    for i in range(2):
        alone = PROBLEM.loss_and_gradient(
            w[i : i + 1], PROBLEM.data[0][batch[i]], PROBLEM.data[1][batch[i]]
        )[1][0]
        torch.testing.assert_close(together[i], alone, rtol=1e-10, atol=1e-13)


def test_what_is_found_is_a_minimum(row, minimum):
    assert row["converged"]
    assert row["gradient_norm"] < GRADIENT_TOLERANCE
    assert minimum.spectrum[0][-1] > 0
    step = 1e-5 * torch.randn(
        PROBLEM.num_params, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    gradient = PROBLEM.loss_and_gradient((minimum.w + step)[None], *PROBLEM.data)[1][0]
    expected = torch.from_numpy(minimum.hessian) @ step
    torch.testing.assert_close(
        gradient, expected, rtol=0, atol=1e-3 * float(expected.norm())
    )  # third derivatives: 1e-5 of a unit away


def test_the_covariance_of_a_batch_drawn_with_replacement_is_that_of_an_example_over_its_size(
    minimum,
):
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(PROBLEM.num_examples, (20_000, 4), generator=generator)
    batches = minimum.problem.example_gradients(minimum.w)[index].mean(1).numpy()
    top = minimum.spectrum[1][:, 0]
    # standard error of a variance is about sqrt((kurtosis - 1) / n) = 1.5 % here; four of them
    assert (batches @ top).var() == pytest.approx(minimum.noise(4), rel=0.06)


def test_the_temperature_of_sgd_is_the_stationary_one_and_the_others_differ_since_their_preconditioner_is_not_diagonal_there(
    minimum,
):
    assert minimum.equipartition(SGD, 16) == pytest.approx(
        minimum.temperature(SGD, 16), rel=1e-6
    )  # H S + S H = C / B along u
    for rule in (ADAM, INVADAM):
        assert 0.5 < minimum.equipartition(rule, 16) / minimum.temperature(rule, 16) < 2


def test_descent_leads_where_plain_descent_leads_when_it_is_followed_to_its_end(minimum):
    generator = torch.Generator().manual_seed(3)
    scale = torch.linspace(0.1, 16.0, 12, dtype=torch.float64)[:, None]
    w = (
        minimum.w
        + scale
        * torch.randn(12, PROBLEM.num_params, dtype=torch.float64, generator=generator)
        / PROBLEM.num_params**0.5
    )
    found = where_descent_leads(minimum, w.float())
    for _ in range(2500):
        w = w - PROBLEM.loss_and_gradient(w, *PROBLEM.data)[1] / minimum.curvature
    expected = torch.where((w - minimum.w).norm(dim=1) < 1e-2, HOME, ELSEWHERE)
    decided = found != UNDECIDED
    assert decided.sum() >= 11  # one of the far ones creeps along a valley
    assert found[decided].tolist() == expected[decided].tolist()
    assert {HOME, ELSEWHERE} == set(expected.tolist())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_cold_walkers_stay_hot_ones_leave_and_a_second_run_is_the_same(
    row, minimum, rule, monkeypatch
):
    monkeypatch.setattr(lives, "MAX_DESCENT", 1500)  # creeping descents are not what is tested here

    def run(target):
        lr = target / minimum.temperature(rule, 16)
        return live(Unit(PROBLEM, 4, tuple(row["w"]), rule, target, lr, 16, 4, 320))

    cold, hot = run(1e-6), run(0.2)
    assert cold["left"] == [None] * 4
    assert cold["last_home"] == [check_steps(320)[-1]] * 4
    assert any(step is not None for step in hot["left"])
    assert {**run(0.2), "cpu_seconds": 0} == {**hot, "cpu_seconds": 0}


def test_chosen_minima_are_distinct_converged_and_spread_over_ln_h():
    rows = [
        {"loss": 1 + 0.01 * i, "curvature": h, "converged": h != 2.5}
        for i, h in enumerate([1.0, 1.1, 1.2, 2.0, 2.5, 4.0])
    ]
    rows.append({**rows[0], "curvature": 1.0 + 1e-9})  # a copy by symmetry
    assert [r["curvature"] for r in select(rows, 3)] == [1.0, 2.0, 4.0]
    with pytest.raises(RuntimeError, match="Only 5 distinct minima converged, 6 are needed"):
        select(rows, 6)


def test_diagonals_that_follow_a_power_law_give_its_power():
    h = np.geomspace(0.1, 10, 50)
    seen = compare_diagonals(3 * h**1.5, h)
    assert (seen["gamma"], seen["r"], seen["left_out"]) == (
        pytest.approx(1.5),
        pytest.approx(1.0),
        0,
    )
    assert compare_diagonals(np.array([1.0, 2.0]), np.ones(2))["gamma"] is None
    assert compare_diagonals(np.array([1.0, 3.0, 2.0]), np.array([1.0, 2.0, -1.0]))["left_out"] == 1


def test_noise_is_the_hessian_where_the_model_is_right_and_another_multiple_of_it_for_least_squares(
    monkeypatch,
):
    monkeypatch.setattr(logistic, "NUM_BOOTSTRAPS", 3)
    right, squares = (logistic.compare(*case) for case in (logistic.CASES[0], logistic.CASES[-1]))
    assert right["top_ratio"] == pytest.approx(
        1.0, abs=0.05
    )  # 8,985 drawn labels: its interval is 0.97 to 1.03
    assert squares["top_ratio"] < 0.1  # the variance of the residuals, in the labels' own unit


def synthetic(rng, powers, num_minima=40):
    """Lives with known exponents: barriers differ from minimum to minimum, and are the same for all optimizers."""
    h, barrier = np.geomspace(0.3, 0.9, num_minima), np.exp(0.1 * rng.standard_normal(num_minima))
    checks = np.array([0, *check_steps(5120)])
    groups = []
    for name, power in powers.items():
        log_prefactor = math.log(60.0) - np.log(h)
        times = rng.exponential(
            np.exp(log_prefactor + 3.5 * barrier * (h / np.median(h)) ** power)[:, None],
            (num_minima, 10),
        )
        at = np.searchsorted(checks, times)
        left = np.append(checks, np.inf)[at].astype(float)
        groups.append(
            analysis.Lives(name, 0.01, 1.0, h, log_prefactor, checks[at - 1].astype(float), left)
        )
    return groups


def test_slopes_that_were_put_in_come_out_with_their_intervals(monkeypatch):
    monkeypatch.setattr(analysis, "NUM_BOOTSTRAPS", 40)
    powers = {"SGD": -1.0, "Adam": -0.5, "InvAdam": -1.5}
    groups = synthetic(np.random.default_rng(0), powers)
    assert any(np.isinf(g.left).any() for g in groups)  # some lives are censored
    for claim in [c for c in analysis._slopes(groups) if "exponent" in c.table]:
        assert claim.verdict == "held", claim
        assert claim.low < claim.value < claim.high
    for claim in analysis._differences(groups):
        assert claim.low < claim.theory < claim.high, claim
    swapped = synthetic(np.random.default_rng(0), {"SGD": -1.0, "Adam": -1.5, "InvAdam": -0.5})
    assert {c.verdict for c in analysis._differences(swapped)} == {"not held"}


def test_a_minimum_that_no_walker_left_counts_as_a_long_life_and_has_no_exponent_of_its_own():
    data = synthetic(np.random.default_rng(1), {"SGD": -1.0}, num_minima=6)[0]
    left = data.left.copy()
    left[0] = np.inf
    censored = analysis.Lives(
        "SGD",
        0.01,
        1.0,
        data.curvature,
        data.log_prefactor,
        np.where(np.isinf(left), 5120.0, data.home),
        left,
    )
    assert math.isinf(censored.log_times[0])
    assert math.isnan(censored.log_exponents[0])
    assert (
        analysis.fit(censored, np.ones(6), False)[0] < analysis.fit(data, np.ones(6), False)[0]
    )  # the flattest now lasts longer
