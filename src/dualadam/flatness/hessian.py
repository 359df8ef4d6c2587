"""The Hessian of a loss without ever forming it: products with vectors, and its trace."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dualadam.flatness.mean_loss import MeanLoss

try:
    import numpy as np
    from scipy.sparse.linalg import LinearOperator
except ImportError as error:
    raise ImportError(
        "dualadam.flatness needs numpy and scipy: pip install 'dualadam[theory]'"
    ) from error

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class TraceEstimate:
    """A trace in the unit of the loss; ``converged`` says that the stopping rule was met."""

    value: float
    standard_error: float
    num_samples: int
    converged: bool


def hvp(loss: MeanLoss, vector: Tensor) -> Tensor:
    r"""Return the product of the Hessian and a vector, by differentiating twice.

    .. math:: H v = \nabla_w \left( \nabla_w L(w)^\top v \right)

    Costs one double-backward pass over the data; memory is that of one batch. H is symmetric, which is the cheapest check: u . Hv = v . Hu.

    Args:
        loss: the loss, data and parameters.
        vector: v, shape (loss.num_params,).

    Returns:
        H v, shape (loss.num_params,), on the loss's device; ``loss.split`` gives its parts by parameter.

    Raises:
        ValueError: the vector has another shape, or the product is not finite.

    Example:
        >>> import torch
        >>> from dualadam.flatness import MeanLoss, hvp
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> x = torch.tensor([[1.0, 2.0]])  # L = (w . x)^2 / 2, so H = x x^T
        >>> loss = MeanLoss(model, lambda model, batch: model(batch).square().mean() / 2, [x])
        >>> hvp(loss, torch.tensor([1.0, 1.0]))
        tensor([3., 6.])

    References:
        B. A. Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6 (1994). Deviation: backward over backward
        instead of forward over backward, since more operations have it.
    """
    return loss.hvp(vector)


def hessian_operator(loss: MeanLoss) -> LinearOperator:
    """Return the Hessian as a scipy ``LinearOperator`` of shape (num_params, num_params), for any of scipy's iterative methods.

    Example:
        >>> import torch
        >>> from dualadam.flatness import MeanLoss, hessian_operator
        >>> x = torch.tensor([[1.0, 2.0]])
        >>> loss = MeanLoss(torch.nn.Linear(2, 1, bias=False), lambda model, batch: model(batch).square().mean() / 2, [x])
        >>> (hessian_operator(loss) @ [[1.0, 0.0], [0.0, 1.0]]).tolist()
        [[1.0, 2.0], [2.0, 4.0]]
    """

    def matvec(vector: ArrayLike) -> NDArray[Any]:
        return loss.hvp(torch.as_tensor(np.array(vector).reshape(-1))).cpu().numpy()

    dtype = np.float64 if loss.dtype == torch.float64 else np.float32
    return LinearOperator(
        (loss.num_params, loss.num_params), matvec=matvec, rmatvec=matvec, dtype=dtype
    )


def trace(
    loss: MeanLoss,
    *,
    rtol: float = 0.05,
    min_samples: int = 10,
    max_samples: int = 200,
    generator: torch.Generator | None = None,
) -> TraceEstimate:
    r"""Return an estimate of the Hessian's trace, the sum of its eigenvalues, with its standard error (Hutchinson).

    .. math:: \mathrm{tr}\, H = \mathbb{E}\left[ z^\top H z \right], \quad z_i = \pm 1 \text{ with equal chance}

    Unbiased, since E[z z^T] is the identity; the variance of one sample is twice the sum of the squares of H's off-diagonal
    elements. Sampling stops when the standard error is at most rtol times the size of the estimate, or at max_samples: then ``converged``
    is False and the standard error says how far to trust the estimate (a trace near 0 of large eigenvalues of both signs never
    converges relatively).

    Args:
        loss: the loss, data and parameters.
        rtol: standard error over estimate at which to stop, at least 0 (0 always takes max_samples).
        min_samples: products before the rule is asked, at least 2: a standard error from few samples is itself uncertain.
        max_samples: products at most, at least min_samples.
        generator: of z; None is one seeded with 0.

    Returns:
        Estimate, standard error, number of samples, and whether the rule was met.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> import torch
        >>> from dualadam.flatness import MeanLoss, trace
        >>> x = torch.randn(50, 20, generator=torch.Generator().manual_seed(1))
        >>> loss = MeanLoss(torch.nn.Linear(20, 1), lambda model, batch: model(batch).square().mean() / 2, [x])
        >>> exact = x.square().sum().item() / 50 + 1  # H is the second moment of (x, 1)
        >>> rough, fine = trace(loss, rtol=0.1), trace(loss, rtol=0.01, max_samples=2000)
        >>> rough.num_samples < fine.num_samples and abs(fine.value - exact) < abs(rough.value - exact) < 3 * rough.standard_error
        True

    References:
        M. F. Hutchinson, "A stochastic estimator of the trace of the influence matrix for Laplacian smoothing splines" (1990).
    """
    if not 0.0 <= rtol < math.inf:
        raise ValueError(f"rtol must be at least 0 and finite, got {rtol}.")
    if not 2 <= min_samples <= max_samples:
        raise ValueError(
            f"min_samples must be in [2, max_samples], got {min_samples} with max_samples={max_samples}."
        )
    generator, samples = seeded(generator), []
    while True:
        z = random_signs(loss, generator)
        samples.append(torch.dot(z, loss.hvp(z)).item())
        num_samples = len(samples)
        if num_samples >= min_samples:
            value, standard_error = (
                float(np.mean(samples)),
                float(np.std(samples, ddof=1) / math.sqrt(num_samples)),
            )
            converged = rtol > 0 and standard_error <= rtol * abs(value)
            if converged or num_samples == max_samples:
                return TraceEstimate(value, standard_error, num_samples, converged)


def seeded(generator: torch.Generator | None) -> torch.Generator:
    """Return the generator, or one seeded with 0 for None."""
    return torch.Generator().manual_seed(0) if generator is None else generator


def random_signs(loss: MeanLoss, generator: torch.Generator) -> Tensor:
    """Return a flat vector of +1 and -1 with equal chance."""
    signs = torch.randint(0, 2, (loss.num_params,), generator=generator, device=generator.device)
    return (2 * signs - 1).to(loss.device, loss.dtype)
