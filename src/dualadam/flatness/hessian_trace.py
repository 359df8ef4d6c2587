"""The trace of the Hessian, estimated from products with random vectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from dualadam.errors import InvalidValueError
from dualadam.flatness.mean_loss import MeanLoss
from dualadam.flatness.probes import generator_or_default, random_signs


@dataclass(frozen=True)
class TraceEstimate:
    """An estimate of a trace, in the unit of the loss.

    Attributes:
        value: the estimate.
        standard_error: of the estimate.
        num_samples: how many products it took.
        converged: whether the standard error met the tolerance.
    """

    value: float
    standard_error: float
    num_samples: int
    converged: bool


def trace(
    loss: MeanLoss,
    *,
    rtol: float = 0.05,
    min_samples: int = 10,
    max_samples: int = 200,
    generator: torch.Generator | None = None,
) -> TraceEstimate:
    r"""Return Hutchinson's estimate of the Hessian's trace, with its standard error.

    .. math:: \mathrm{tr}\, H = \mathbb{E}\left[ z^\top H z \right], \quad
        z_i = \pm 1 \text{ with equal probability}

    Unbiased, since E[z z^T] is the identity. The variance of one sample is twice the sum of the
    squares of H's off-diagonal elements. Sampling stops when the standard error is at most rtol
    times the size of the estimate, or at max_samples. In the second case ``converged`` is False: a
    trace near 0 of large eigenvalues of both signs never meets a relative tolerance.

    Args:
        loss: the loss, with its data and parameters.
        rtol: ratio of standard error to estimate at which to stop, at least 0. 0 always takes
            max_samples.
        min_samples: products before the first check, at least 2. A standard error from few samples
            is itself uncertain.
        max_samples: upper limit of products, at least min_samples.
        generator: of z; None is one seeded with 0.

    Returns:
        The estimate with its standard error.

    Raises:
        InvalidValueError: an argument is out of range.

    Example:
        >>> import torch
        >>> from dualadam.flatness import MeanLoss, trace
        >>> x = torch.randn(50, 20, generator=torch.Generator().manual_seed(1))
        >>> half_square = lambda model, batch: model(batch).square().mean() / 2
        >>> loss = MeanLoss(torch.nn.Linear(20, 1), half_square, [x])
        >>> exact = x.square().sum().item() / 50 + 1  # H is the second moment of (x, 1)
        >>> rough, fine = trace(loss, rtol=0.1), trace(loss, rtol=0.01, max_samples=2000)
        >>> rough.num_samples < fine.num_samples
        True
        >>> abs(fine.value - exact) < abs(rough.value - exact) < 3 * rough.standard_error
        True

    References:
        M. F. Hutchinson, "A stochastic estimator of the trace of the influence matrix for Laplacian
        smoothing splines" (1990).
    """
    generator = generator_or_default(generator)

    def sample() -> float:
        z = random_signs(loss, generator)
        return torch.dot(z, loss.hvp(z)).item()

    return mean_of_samples(sample, rtol=rtol, min_samples=min_samples, max_samples=max_samples)


def mean_of_samples(
    sample: Callable[[], float], *, rtol: float, min_samples: int, max_samples: int
) -> TraceEstimate:
    """Return the mean of unbiased samples, stopped as ``trace`` describes.

    Raises:
        InvalidValueError: an argument is out of range.
    """
    check_sampling(rtol, min_samples, max_samples)
    samples: list[float] = []
    while True:
        samples.append(sample())
        if len(samples) >= min_samples:
            value = float(np.mean(samples))
            standard_error = float(np.std(samples, ddof=1) / math.sqrt(len(samples)))
            converged = rtol > 0 and standard_error <= rtol * abs(value)
            if converged or len(samples) == max_samples:
                return TraceEstimate(value, standard_error, len(samples), converged)


def check_sampling(rtol: float, min_samples: int, max_samples: int) -> None:
    """Check when sampling may stop.

    Raises:
        InvalidValueError: an argument is out of range.
    """
    if not 0.0 <= rtol < math.inf:
        raise InvalidValueError(f"rtol must be at least 0 and finite, got {rtol}.")
    if not 2 <= min_samples <= max_samples:
        raise InvalidValueError(
            f"min_samples must be in [2, max_samples], got {min_samples} "
            f"with max_samples={max_samples}."
        )
