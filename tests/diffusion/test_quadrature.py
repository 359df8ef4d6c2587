"""The quadrature against finite differences, closed forms and Kramers' limit."""

import itertools
import math
import warnings

import numpy as np
import pytest
from scipy.linalg import solve_banded

from dualadam.diffusion import (
    ADAM,
    INVADAM,
    SGD,
    AsymmetricWells,
    ConstantNoise,
    DoubleWell,
    EscapeWarning,
    HessianNoise,
    PathNoise,
    SpectrumWell,
    StyblinskiTang,
    escape_time_on,
    log_barrier,
    mean_first_passage_time,
    mixture,
)
from dualadam.diffusion.quadrature import integrate_first_passage

RULES = [SGD, ADAM, INVADAM, mixture(0.9)]
WELL = DoubleWell(1.0, 0.1)
CASES = {
    "constant noise": (WELL, ConstantNoise(1.0)),
    "noise that varies": (WELL, PathNoise(WELL, 1.0, 0.5)),
    "unequal wells": (AsymmetricWells(4.0, 1.0), ConstantNoise(2.0)),
    "Hessian noise with a floor": (WELL, HessianNoise(WELL, 1.0, floor=0.3)),
    "leftwards": (StyblinskiTang().stretched(0.05), ConstantNoise(100.0)),
}


def finite_differences(landscape, noise, rule, lr, cells=4000):
    """Solve D T'' + b T' = -1, T' = 0 far behind the minimum, T = 0 at the target, for ln T(a)."""
    a, b = float(landscape.minimum[0]), float(landscape.target[0])
    lower = a - 1.2 * (b - a)
    x, h = np.linspace(lower, b, cells + 1, retstep=True)
    c = np.broadcast_to(noise.variance(x[:, None]), (cells + 1, 1))[:, 0]
    p = rule.preconditioner(c)
    drift, diffusion = -lr * p * landscape.gradient(x[:, None])[:, 0], lr**2 * p**2 * c / 2
    up, down = diffusion / h**2 + drift / (2 * h), diffusion / h**2 - drift / (2 * h)
    bands = np.zeros((3, cells))
    bands[0, 1:], bands[1], bands[2, :-1] = up[: cells - 1], -(up + down)[:cells], down[1:cells]
    bands[0, 1] += down[0]  # the mirror point of the reflecting wall
    times = solve_banded((1, 1), bands, -np.ones(cells))
    return math.log(np.interp(a, x[:-1], times) if b > a else np.interp(-a, -x[:-1], times))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize(("landscape", "noise"), CASES.values(), ids=CASES.keys())
def test_quadrature_solves_the_backward_equation(landscape, noise, rule):
    lr = 0.04 / float(rule.preconditioner(np.asarray(noise.variance(landscape.minimum))).max())
    exact = mean_first_passage_time(landscape, noise, rule, lr)
    # second-order differences: four times the cells leave a sixteenth of the error, 1e-3 at worst
    assert finite_differences(landscape, noise, rule, lr) == pytest.approx(exact, abs=2e-3)


def test_quadrature_gives_the_closed_form_of_a_walk_against_a_constant_drift():
    drift, diffusion, length = -2.0, 0.5, 3.0

    def constant(x):
        return np.full_like(x, drift), np.full_like(x, diffusion)

    z = -drift * length / diffusion
    closed = diffusion / drift**2 * (math.expm1(z) - z)  # from a reflecting wall at 0 to length
    log_time = integrate_first_passage(constant, [0.0, length], 0, 20_000)
    assert log_time == pytest.approx(math.log(closed), abs=1e-6)


@pytest.mark.parametrize("rule", [SGD, ADAM, INVADAM], ids=lambda rule: rule.name)
def test_kramers_formula_is_the_limit_of_high_barriers(rule):
    gaps = []
    for height in (0.4, 0.8, 1.6):
        well = DoubleWell(1.0, height)
        noise = PathNoise(well, 1.0, 0.5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", EscapeWarning)
            prefactor = escape_time_on(well, noise, rule, 0.04).log_prefactor
        exact = mean_first_passage_time(well, noise, rule, 0.04)
        gaps.append(exact - log_barrier(well, noise, rule, 0.04) - prefactor)
    # the correction is a series in temperature over barrier: twice the barrier, half of it
    for higher, lower in itertools.pairwise(reversed(gaps)):
        assert 0 < higher < 0.6 * lower
    assert gaps[-1] < 0.01


def test_noise_that_vanishes_at_the_inflection_stops_sgd_and_invadam_but_not_adam():
    well = DoubleWell(1.0, 0.02)
    literal = HessianNoise(well, 1.0)
    sgd, adam, inverse = (
        mean_first_passage_time(well, literal, rule, 0.04) for rule in (SGD, ADAM, INVADAM)
    )
    assert sgd == inverse == math.inf
    finer = mean_first_passage_time(well, literal, ADAM, 0.04, num_cells=80_000)
    assert adam == pytest.approx(finer, abs=1e-3)


def test_a_landscape_of_two_dimensions_is_refused():
    with pytest.raises(ValueError, match=r"landscape must have one dimension, got 2\."):
        mean_first_passage_time(SpectrumWell(), ConstantNoise(1.0), SGD, 0.01)
