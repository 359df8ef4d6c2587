"""Products of the Hessian with vectors, without forming the matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from dualadam.flatness.mean_loss import MeanLoss

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def hvp(loss: MeanLoss, vector: Tensor) -> Tensor:
    r"""Return the product of the Hessian and a vector, by differentiating twice.

    .. math:: H v = \nabla_w \left( \nabla_w L(w)^\top v \right)

    The cost is one double-backward pass over the data, the memory that of one batch. H is
    symmetric, so u . Hv = v . Hu is the cheapest check.

    Args:
        loss: the loss, with its data and parameters.
        vector: v, shape (loss.num_params,).

    Returns:
        H v, shape (loss.num_params,), on the loss's device. ``loss.split`` gives its parts by
        parameter.

    Raises:
        InvalidValueError: the vector has another shape, or the product is not finite.

    Example:
        >>> import torch
        >>> from dualadam.flatness import MeanLoss, hvp
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> x = torch.tensor([[1.0, 2.0]])  # L = (w . x)^2 / 2, so H = x x^T
        >>> loss = MeanLoss(model, lambda model, batch: model(batch).square().mean() / 2, [x])
        >>> hvp(loss, torch.tensor([1.0, 1.0]))
        tensor([3., 6.])

    References:
        B. A. Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6 (1994).
        Deviation: backward over backward instead of forward over backward, which more operations
        support.
    """
    return loss.hvp(vector)


def hessian_operator(loss: MeanLoss) -> LinearOperator:
    """Return the Hessian as a ``LinearOperator`` for SciPy's iterative methods.

    Args:
        loss: the loss, with its data and parameters.

    Returns:
        An operator of shape (num_params, num_params), in the loss's precision.

    Example:
        >>> import torch
        >>> from dualadam.flatness import MeanLoss, hessian_operator
        >>> model, x = torch.nn.Linear(2, 1, bias=False), torch.tensor([[1.0, 2.0]])
        >>> loss = MeanLoss(model, lambda model, batch: model(batch).square().mean() / 2, [x])
        >>> (hessian_operator(loss) @ [[1.0, 0.0], [0.0, 1.0]]).tolist()
        [[1.0, 2.0], [2.0, 4.0]]
    """

    def matvec(vector: ArrayLike) -> NDArray[Any]:
        return loss.hvp(torch.as_tensor(np.array(vector).reshape(-1))).cpu().numpy()

    dtype = np.float64 if loss.dtype == torch.float64 else np.float32
    return LinearOperator(
        (loss.num_params, loss.num_params), matvec=matvec, rmatvec=matvec, dtype=dtype
    )
