"""Closed forms against the exponents they must have; landscapes against finite differences; errors against their sentences."""

import math
import warnings

import numpy as np
import pytest
import torch

from dualadam.diffusion import (
    ADAM,
    INVADAM,
    SGD,
    AsymmetricWells,
    ConstantNoise,
    DoubleWell,
    EscapeWarning,
    HessianNoise,
    MeasuredNoise,
    PathNoise,
    Rule,
    SpectrumWell,
    StyblinskiTang,
    effective_temperature,
    escape_time,
    escape_time_on,
    largest_stable_lr,
    mean_first_passage_time,
    mixture,
    quasi_equilibrium_threshold,
)

LANDSCAPES = [
    DoubleWell(2.0, 0.3),
    StyblinskiTang(num_dims=2),
    StyblinskiTang(num_dims=3, from_deep=True),
    SpectrumWell((1.0, 2.0, 3.0), 0.2, narrowing=2.5),
    AsymmetricWells(start_curvature=4.0, target_curvature=1.0),
    AsymmetricWells(start_curvature=1.0, target_curvature=9.0, height=0.4),
]
LANDSCAPES += [landscape.stretched(1.7) for landscape in LANDSCAPES]
RULES = [SGD, ADAM, INVADAM]
# exponent of tau per 1/H, of the determinant, of the prefactor's own Hessian: the table of the theory, row by row
EXPONENTS = {"SGD": (1.0, 0.0), "Adam": (0.5, 0.25), "InvAdam": (1.5, -0.25)}


def differences(function, x, step=1e-5):
    unit = np.eye(x.shape[-1])
    return np.stack(
        [(function(x + step * e) - function(x - step * e)) / (2 * step) for e in unit], -1
    )


@pytest.mark.parametrize("landscape", LANDSCAPES, ids=repr)
def test_gradient_and_hessian_are_the_derivatives_of_the_loss(landscape):
    x = np.random.default_rng(0).normal(size=(20, landscape.dim))
    scale = abs(landscape.curvature(x)).max()
    # central differences: rounding 1e-16 / 1e-5 and a third derivative times 1e-10, both relative to the values
    np.testing.assert_allclose(
        landscape.gradient(x), differences(landscape.loss, x), atol=1e-7 * scale
    )
    hessian = differences(landscape.gradient, x)
    np.testing.assert_allclose(
        landscape.curvature(x), np.diagonal(hessian, axis1=1, axis2=2), atol=1e-4 * scale
    )


@pytest.mark.parametrize("landscape", LANDSCAPES, ids=repr)
def test_torch_and_numpy_give_the_same_landscape(landscape):
    x = np.random.default_rng(1).normal(size=(20, landscape.dim))
    t = torch.tensor(x)
    for name in ("loss", "gradient", "curvature"):
        np.testing.assert_allclose(
            getattr(landscape, name)(t).numpy(), getattr(landscape, name)(x), rtol=1e-12, atol=1e-12
        )
    grad = torch.ones_like(t)
    landscape.add_gradient_(grad, t)
    np.testing.assert_allclose(grad.numpy(), 1 + landscape.gradient(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("landscape", LANDSCAPES, ids=repr)
def test_minima_and_saddle_are_what_they_claim(landscape):
    for point in (landscape.minimum, landscape.saddle, landscape.target):
        scale = abs(landscape.curvature(point)).max()
        np.testing.assert_allclose(landscape.gradient(point), 0, atol=1e-12 * scale)
        hessian = differences(landscape.gradient, point)
        np.testing.assert_allclose(
            hessian, np.diag(np.diagonal(hessian)), atol=1e-6 * scale
        )  # diagonal, as the preconditioners are
    assert (landscape.hessian_at_minimum > 0).all()
    assert (landscape.curvature(landscape.target) > 0).all()
    assert landscape.hessian_at_saddle[0] < 0
    assert (landscape.hessian_at_saddle[1:] > 0).all()
    assert landscape.barrier > 0


@pytest.mark.parametrize("landscape", LANDSCAPES[:6], ids=repr)
def test_stretching_multiplies_every_curvature_and_keeps_the_barrier(landscape):
    sharp = landscape.stretched(3.0)
    np.testing.assert_allclose(
        sharp.hessian_at_minimum, 3 * landscape.hessian_at_minimum, rtol=1e-12
    )
    np.testing.assert_allclose(sharp.hessian_at_saddle, 3 * landscape.hessian_at_saddle, rtol=1e-12)
    assert sharp.barrier == pytest.approx(landscape.barrier, rel=1e-12)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_exponent_is_two_barriers_over_lr_times_a_power_of_batch_size_over_curvature(rule):
    power, _ = EXPONENTS[rule.name]
    for k, batch_size, lr in (
        (1.0, 4.0, 0.01),
        (2.5, 4.0, 0.01),
        (1.0, 16.0, 0.01),
        (1.0, 4.0, 0.003),
    ):
        value = escape_time_on(DoubleWell(k, 0.3), ConstantNoise(k / batch_size), rule, lr)
        assert value.exponent == pytest.approx(2 * 0.3 / lr * (batch_size / k) ** power, rel=1e-12)
        assert not value.broken


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_papers_determinant_factor_has_its_power(rule):
    _, power = EXPONENTS[rule.name]
    lr, batch_size = 1e-3, 8.0
    h_a, h_b = np.array([1.0, 2.0, 3.0]), np.array([-0.5, 5.0, 4.0])
    with (
        pytest.warns(EscapeWarning, match="follows the noise")
        if rule != SGD
        else warnings.catch_warnings()
    ):
        value = escape_time(
            rule,
            lr,
            barrier=0.1,
            hessian_at_minimum=h_a,
            hessian_at_saddle=h_b,
            noise_at_minimum=h_a / batch_size,
            noise_at_saddle=abs(h_b) / batch_size,
            betas=(0.0, 0.9999),
            prefactor="paper",
        )
    p_b = rule.preconditioner(0.5 / batch_size)
    expected = math.log(2 * math.pi / (lr * p_b * 0.5)) + power * math.log(
        np.prod(abs(h_b)) / np.prod(h_a)
    )
    assert value.log_prefactor == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_papers_prefactor_lacks_the_ratio_of_diffusions_at_saddle_and_minimum(rule):
    settings = {
        "barrier": 1.0,
        "hessian_at_minimum": 1.0,
        "hessian_at_saddle": -0.5,
        "noise_at_minimum": 1.0,
        "noise_at_saddle": 0.5,
        "betas": (0.0, 0.0),
    }
    gap = (
        escape_time(rule, 0.01, prefactor="paper", **settings).log_time
        - escape_time(rule, 0.01, **settings).log_time
    )
    assert gap == pytest.approx(math.log({"SGD": 2, "Adam": 1, "InvAdam": 4}[rule.name]), abs=1e-12)


def test_momentum_changes_the_prefactor_as_kramers_says_and_not_the_exponent():
    plain, averaged = (
        escape_time_on(DoubleWell(), ConstantNoise(1.0), SGD, 0.04, betas=(b, 0.0))
        for b in (0.0, 0.9)
    )
    assert averaged.exponent == plain.exponent
    ratio = (
        math.sqrt(1 + 4 * 0.04 * 0.5 / 0.1) + 1
    ) / 2  # pi [sqrt(1 + 4 lr p |H_b| / (1 - b1)) + 1] over 2 pi
    assert averaged.time / plain.time == pytest.approx(ratio, rel=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.98, 1.0])
def test_the_local_exponent_of_a_mixture_is_its_logarithmic_derivative(alpha):
    rule, v, h = mixture(alpha), 0.02, 1e-5
    log_pv = [math.log(rule.preconditioner(x) * x) for x in (v * math.exp(-h), v * math.exp(h))]
    assert rule.local_exponent(v) == pytest.approx((log_pv[1] - log_pv[0]) / (2 * h), rel=1e-8)


def test_a_mixture_crosses_over_where_its_two_parts_are_equal():
    rule = mixture(0.98)
    assert rule.local_exponent(0.02 / 0.98) == pytest.approx(
        1.0, rel=1e-12
    )  # halfway between 1/2 and 3/2


def test_at_equal_lr_invadam_is_slower_than_adam_below_a_second_moment_of_one_and_faster_above():
    for v in (0.1, 0.5, 1.0, 2.0, 10.0):
        inverse, adam = (
            escape_time_on(DoubleWell(1.0, v), ConstantNoise(v), rule, 0.01).exponent
            for rule in (INVADAM, ADAM)
        )
        assert inverse / adam == pytest.approx(1 / v, rel=1e-12)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_at_the_edge_of_stability_no_preconditioner_is_hotter_than_one_over_batch_size(rule):
    hessian, batch_size = 3.0, 50.0
    for beta1, bound in ((0.0, 1.0), (0.9, 19.0)):
        lr = largest_stable_lr(rule, hessian, hessian / batch_size, beta1)
        assert effective_temperature(rule, lr, hessian / batch_size) == pytest.approx(
            bound / batch_size, rel=1e-12
        )


def test_the_released_settings_need_a_second_moment_of_two_hundredths():
    assert quasi_equilibrium_threshold(8e-5, 1e-2, 128) == pytest.approx(0.0208, abs=5e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"barrier": 0.05}, "Small noise: the barrier is only 2.5 temperatures"),
        ({"barrier": 10.0, "lr": 0.6}, "Small steps: lr p H is 0.6"),
        ({"barrier": 50.0, "lr": 2.5}, "unstable, at or above 2"),
        ({"noise_at_saddle": 0.5, "betas": (0.0, 0.999)}, "beta2 remembers longer"),
        ({"noise_at_saddle": 0.5, "betas": (0.9, 0.0)}, "Overdamped motion"),
    ],
)
def test_a_value_outside_the_theory_says_which_assumption_broke(settings, words):
    case = {
        "lr": 0.04,
        "barrier": 0.1,
        "hessian_at_minimum": 1.0,
        "hessian_at_saddle": -0.5,
        "noise_at_minimum": 1.0,
        "noise_at_saddle": 1.0,
    }
    case |= settings
    with pytest.warns(EscapeWarning, match=words):
        value = escape_time(ADAM, case.pop("lr"), **case)
    assert any(words in sentence for sentence in value.broken)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DoubleWell(k=0.0), "k must be positive and finite, got 0.0."),
        (lambda: DoubleWell().stretched(-1.0), "stretch must be positive and finite, got -1.0."),
        (lambda: StyblinskiTang(num_dims=0), "num_dims must be at least 1, got 0."),
        (lambda: SpectrumWell((1.0, -2.0)), r"spectrum\[1\] must be positive"),
        (lambda: SpectrumWell(narrowing=0.5), "narrowing must be at least 1, got 0.5."),
        (lambda: Rule("x", 1.5), "mixing_weight must be in"),
        (
            lambda: ConstantNoise([[1.0, 2.0], [2.0, 1.0]]),
            "covariance must be a symmetric positive definite matrix",
        ),
        (lambda: HessianNoise(DoubleWell(), 0.0), "batch_size must be positive"),
        (lambda: PathNoise(DoubleWell(), 1.0, 0.0), "at_saddle must be positive"),
        (
            lambda: MeasuredNoise(torch.zeros(1, 3)),
            r"gradients must have shape \(num_batches >= 2, dim\), got \(1, 3\).",
        ),
        (lambda: escape_time_on(DoubleWell(), ConstantNoise(1.0), SGD, 0.0), "lr must be positive"),
        (
            lambda: escape_time_on(DoubleWell(), ConstantNoise(1.0), SGD, 0.01, path_weight=1.0),
            "path_weight must be in",
        ),
        (
            lambda: escape_time_on(DoubleWell(), ConstantNoise(1.0), SGD, 0.01, betas=(1.0, 0.0)),
            "betas must each be in",
        ),
        (
            lambda: mean_first_passage_time(SpectrumWell(), ConstantNoise(1.0), SGD, 0.01),
            "landscape must have one dimension, got 2.",
        ),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "noise",
    [
        ConstantNoise([4.0, 0.25]),
        ConstantNoise([[2.0, 0.6], [0.6, 0.5]]),
        MeasuredNoise(
            torch.randn(50, 2, generator=torch.Generator().manual_seed(1))
            @ torch.tensor([[1.0, 0.3], [0.0, 2.0]])
        ),
        HessianNoise(SpectrumWell((1.0, 3.0)), batch_size=2.0, floor=0.1),
    ],
    ids=lambda noise: type(noise).__name__,
)
def test_drawn_noise_has_the_variance_that_its_model_states(noise):
    x = torch.tensor([0.3, -0.2]).repeat(200_000, 1)
    z = torch.empty_like(x)
    noise.draw_(z, x, torch.Generator().manual_seed(0))
    # standard error of a variance is sqrt(2 / n) = 0.3 % for Gaussian noise; five of them
    np.testing.assert_allclose(
        z.var(0).numpy(),
        np.asarray(noise.variance(x)[0] if noise.variance(x).ndim == 2 else noise.variance(x)),
        rtol=0.016,
    )
    np.testing.assert_allclose(z.mean(0).numpy(), 0, atol=5 * float(z.std(0).max()) / 200_000**0.5)
