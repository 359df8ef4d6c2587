"""The loss along random directions that are as long as the weights, filter by filter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dualadam.errors import InvalidValueError
from dualadam.flatness.mean_loss import MeanLoss
from dualadam.flatness.probes import generator_or_default

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def filter_normalised_direction(
    loss: MeanLoss, *, generator: torch.Generator | None = None
) -> Tensor:
    r"""Return a random direction in which every filter is as long as that of the weights.

    .. math:: d_{l,f} \leftarrow \frac{d_{l,f}}{\lVert d_{l,f} \rVert} \lVert w_{l,f} \rVert,
        \qquad d \sim \mathcal N(0, 1)

    A filter is what makes one output of a layer: a row of a weight matrix, or the weights of one
    output channel. A distance of 1 along d is therefore a step as long as the weights, in every
    network alike. Parameters of one dimension (biases, normalisation) do not move.

    Args:
        loss: gives the weights.
        generator: of d; None is one seeded with 0. Take one generator for two directions.

    Returns:
        d, shape (loss.num_params,).

    Example:
        >>> import torch
        >>> from dualadam.flatness import MeanLoss, filter_normalised_direction
        >>> mean_output = lambda model, batch: model(batch).mean()
        >>> loss = MeanLoss(torch.nn.Linear(3, 2), mean_output, [torch.ones(1, 3)])
        >>> d = loss.split(filter_normalised_direction(loss))
        >>> torch.allclose(d["weight"].norm(dim=1), loss.model.weight.norm(dim=1))
        True
        >>> d["bias"].tolist()
        [0.0, 0.0]

    References:
        H. Li, Z. Xu, G. Taylor, C. Studer, T. Goldstein, arXiv:1712.09913, section 4.
    """
    generator = generator_or_default(generator)
    parts = []
    for p in loss.params:
        drawn = torch.randn(p.shape, generator=generator, device=generator.device).to(p)
        if p.ndim < 2:
            drawn = torch.zeros_like(p)
        else:
            rows, weights = drawn.reshape(len(p), -1), p.detach().reshape(len(p), -1)
            drawn = rows / rows.norm(dim=1, keepdim=True) * weights.norm(dim=1, keepdim=True)
        parts.append(drawn.flatten().to(loss.device, loss.dtype))
    return torch.cat(parts)


def loss_along(loss: MeanLoss, direction: Tensor, distances: ArrayLike) -> NDArray[np.float64]:
    """Return L(w + a d) at distances a along one direction d.

    Args:
        loss: the loss, with its data and parameters.
        direction: d, shape (loss.num_params,).
        distances: a, shape (num_points,), in units of d.

    Returns:
        The losses, shape (num_points,). One evaluation each is the cost.

    Raises:
        InvalidValueError: a shape is wrong, or a loss is not finite.

    Example:
        >>> import torch
        >>> from dualadam.flatness import MeanLoss, loss_along
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> _ = torch.nn.init.zeros_(model.weight)
        >>> square = lambda model, batch: (model.weight * batch).square().sum() / 2
        >>> loss = MeanLoss(model, square, [torch.tensor([1.0, 2.0])])
        >>> loss_along(loss, torch.tensor([0.0, 1.0]), [-1, 0, 2]).tolist()
        [2.0, 0.0, 8.0]
    """
    d, a = _direction(loss, direction), _distances(distances)
    return np.array([_loss_at(loss, float(x) * d) for x in a])


def loss_across(
    loss: MeanLoss, first: Tensor, second: Tensor, distances: ArrayLike
) -> NDArray[np.float64]:
    """Return L(w + a d + b e) on the square grid that two directions d and e span.

    Args:
        loss: the loss, with its data and parameters.
        first, second: d and e, each of shape (loss.num_params,).
        distances: of a and of b, shape (num_points,).

    Returns:
        The losses, shape (num_points, num_points), with a along the rows' index and b along the
        columns'. The cost is num_points squared evaluations.

    Raises:
        InvalidValueError: a shape is wrong, or a loss is not finite.
    """
    d, e, grid = _direction(loss, first), _direction(loss, second), _distances(distances)
    return np.array([[_loss_at(loss, float(a) * d + float(b) * e) for b in grid] for a in grid])


def _loss_at(loss: MeanLoss, step: Tensor) -> float:
    with loss.moved_by(step):
        return loss.value()


def _direction(loss: MeanLoss, direction: Tensor) -> Tensor:
    if direction.shape != (loss.num_params,):
        raise InvalidValueError(
            f"direction must have the shape ({loss.num_params},), got {tuple(direction.shape)}."
        )
    return direction


def _distances(distances: ArrayLike) -> NDArray[np.float64]:
    a = np.asarray(distances, dtype=np.float64)
    if a.ndim != 1 or not np.isfinite(a).all():
        raise InvalidValueError(f"distances must be 1-D and finite, got shape {a.shape}.")
    return a
