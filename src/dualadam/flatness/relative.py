"""Flatness relative to the size of the weights."""

from __future__ import annotations

import torch
from torch import Tensor

from dualadam.errors import InvalidValueError
from dualadam.flatness.hessian_trace import TraceEstimate, mean_of_samples
from dualadam.flatness.mean_loss import MeanLoss
from dualadam.flatness.probes import generator_or_default


def relative_flatness(
    loss: MeanLoss,
    *,
    rtol: float = 0.05,
    min_samples: int = 10,
    max_samples: int = 200,
    generator: torch.Generator | None = None,
) -> TraceEstimate:
    r"""Return the relative flatness of the weight matrices: the smaller, the flatter.

    .. math::
        \kappa = \sum_l \sum_{s, s'} \langle w_s, w_{s'} \rangle\, \mathrm{tr}\, H_{s s'}
        = \mathbb{E}\left[ V^\top H V \right], \qquad V_l = W_l Z_l

    w_s is the row of output s in the weight matrix W_l of layer l, and H_ss' the block of the
    Hessian that belongs to the rows s and s'. The estimate is Hutchinson's: the elements of Z_l, a
    square matrix, are +1 or -1 with equal probability, so that the terms between layers vanish in
    the mean.

    Curvature counts relative to the weights, so kappa does not change where a ReLU network is
    rescaled layer by layer such that it computes the same function: H goes as 1 / c^2 where W goes
    as c. Nor does it change if single outputs of its layer are rescaled. It does change if single
    inputs of its layer are. One product of the Hessian is the cost of a sample.

    Args:
        loss: its parameters of two or more dimensions count, as matrices of shape (outputs, rest).
            Biases and other vectors are left out. ``MeanLoss(params=["4.weight"])`` measures one
            layer, as the source does.
        rtol, min_samples, max_samples: as for ``trace``.
        generator: of Z; None is one seeded with 0.

    Returns:
        kappa in the unit of the loss, with its standard error.

    Raises:
        InvalidValueError: an argument is out of range, or no parameter is a matrix.

    Example:
        >>> import torch
        >>> from torch.nn import Linear, ReLU, Sequential
        >>> from dualadam.flatness import MeanLoss, relative_flatness, trace
        >>> squares = lambda model, batch: (model(batch) - 2.0).square().mean()
        >>> def measured(measure, scale):
        ...     model = Sequential(Linear(1, 1, bias=False), ReLU(), Linear(1, 1, bias=False))
        ...     torch.nn.init.constant_(model[0].weight, scale)
        ...     torch.nn.init.constant_(model[2].weight, 1 / scale)  # relu(x) at every scale
        ...     loss = MeanLoss(model, squares, [torch.ones(4, 1)])
        ...     return round(measure(loss, rtol=0, max_samples=400).value, 1)
        >>> measured(trace, 1.0), measured(trace, 3.0)
        (4.0, 18.2)
        >>> measured(relative_flatness, 1.0) == measured(relative_flatness, 3.0)
        True

    References:
        H. Petzka, M. Kamp, L. Adilova, C. Sminchisescu, M. Boley, arXiv:2001.00939, definition 3.
        Deviations: the sum over layers, and the estimate in place of the exact trace.
    """
    sizes = [p.numel() for p in loss.params]
    if all(p.ndim < 2 for p in loss.params):
        raise InvalidValueError(
            f"params must hold a weight matrix, got {', '.join(loss.names)} of fewer than 2 "
            "dimensions."
        )
    generator = generator_or_default(generator)
    matrices = [_as_matrix(p) for p in loss.params]

    def sample() -> float:
        parts = [
            torch.zeros(size, device=loss.device, dtype=loss.dtype)
            if matrix is None
            else (matrix @ _signs(matrix, generator)).flatten().to(loss.device, loss.dtype)
            for matrix, size in zip(matrices, sizes, strict=True)
        ]
        v = torch.cat(parts)
        return torch.dot(v, loss.hvp(v)).item()

    return mean_of_samples(sample, rtol=rtol, min_samples=min_samples, max_samples=max_samples)


def _as_matrix(p: Tensor) -> Tensor | None:
    return p.detach().reshape(len(p), -1) if p.ndim >= 2 else None


def _signs(matrix: Tensor, generator: torch.Generator) -> Tensor:
    """Return a square matrix of +1 and -1, as wide as the given one."""
    shape = (matrix.shape[1], matrix.shape[1])
    signs = torch.randint(0, 2, shape, generator=generator, device=generator.device)
    return (2 * signs - 1).to(matrix)
