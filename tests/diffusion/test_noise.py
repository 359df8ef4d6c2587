"""Noise models against the covariance that they state."""

import numpy as np
import pytest
import torch

from dualadam.diffusion import (
    ConstantNoise,
    DoubleWell,
    HessianNoise,
    MeasuredNoise,
    PathNoise,
    SpectrumWell,
)


def mini_batch_gradients():
    draws = torch.randn(50, 2, generator=torch.Generator().manual_seed(1))
    return draws @ torch.tensor([[1.0, 0.3], [0.0, 2.0]])


@pytest.mark.parametrize(
    "noise",
    [
        ConstantNoise([4.0, 0.25]),
        ConstantNoise([[2.0, 0.6], [0.6, 0.5]]),
        MeasuredNoise(mini_batch_gradients()),
        HessianNoise(SpectrumWell((1.0, 3.0)), batch_size=2.0, floor=0.1),
    ],
    ids=lambda noise: type(noise).__name__,
)
def test_drawn_noise_has_the_variance_that_its_model_states(noise):
    x = torch.tensor([0.3, -0.2]).repeat(200_000, 1)
    z = torch.empty_like(x)
    noise.draw_(z, x, torch.Generator().manual_seed(0))
    stated = np.asarray(noise.variance(x[:1])).reshape(-1, 2)[0]
    # standard error of a variance is sqrt(2 / n) = 0.3 % for Gaussian noise; five of them
    np.testing.assert_allclose(z.var(0).numpy(), stated, rtol=0.016)
    np.testing.assert_allclose(z.mean(0).numpy(), 0, atol=5 * float(z.std(0).max()) / 200_000**0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ConstantNoise([[1.0, 2.0], [2.0, 1.0]]),
            "covariance must be a symmetric positive definite matrix",
        ),
        (lambda: HessianNoise(DoubleWell(), 0.0), "batch_size must be positive"),
        (lambda: HessianNoise(DoubleWell(), 1.0, -1.0), r"floor must be at least 0, got -1\.0\."),
        (lambda: PathNoise(DoubleWell(), 1.0, 0.0), "at_saddle must be positive"),
        (
            lambda: MeasuredNoise(torch.zeros(1, 3)),
            r"gradients must have shape \(num_batches >= 2, dim\), got \(1, 3\)\.",
        ),
    ],
)
def test_an_argument_out_of_range_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()
