"""The sharpness that an adaptive optimizer sees, beside the value at which it is unstable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

from dualadam.errors import InvalidTypeError, InvalidValueError
from dualadam.flatness.eigenvalues import extreme_eigenvalues
from dualadam.flatness.mean_loss import MeanLoss
from dualadam.optim import DualAdam, InvAdam, mixing_weight, moments_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class PreconditionedSharpness:
    """The largest eigenvalue of D^(1/2) H D^(1/2), and the edge of stability.

    Attributes:
        value: the eigenvalue, in units of 1 / lr.
        residual: some true eigenvalue lies within it.
        threshold: the value above which the optimizer with D held fixed is unstable.
    """

    value: float
    residual: float
    threshold: float

    @property
    def ratio(self) -> float:
        """Value / threshold: 1 is the edge of stability of every optimizer."""
        return self.value / self.threshold


def preconditioner(loss: MeanLoss, optimizer: Optimizer) -> Tensor:
    r"""Return the diagonal D of an optimizer's next step theta <- theta - lr D m, from its state.

    .. math::
        D = \frac{1}{1 - \beta_1^t} \left[ \frac{1 - \alpha_t}{r} + \alpha_t r \right], \qquad
        r = \sqrt{\hat v} + \epsilon

    alpha is 0 for Adam, 1 for InvAdam and the mixing weight of the last step for DualAdam. The
    first factor is the bias correction of m, which is 1 after some hundred steps.

    Args:
        loss: its parameters are those of D, in its order and precision.
        optimizer: a DualAdam, an InvAdam, or torch's Adam or AdamW, after a step at least.

    Returns:
        D, shape (loss.num_params,).

    Raises:
        InvalidTypeError: the optimizer is of another class.
        InvalidValueError: it has no state for a parameter of the loss.

    Example:
        >>> import torch
        >>> from dualadam import InvAdam
        >>> from dualadam.flatness import MeanLoss, preconditioner
        >>> model = torch.nn.Linear(1, 2, bias=False)
        >>> optimizer = InvAdam(model.parameters(), betas=(0.0, 0.9), eps=0.0)
        >>> model.weight.grad = torch.tensor([[0.5], [2.0]])
        >>> optimizer.step()
        >>> square = lambda model, batch: model(batch).square().sum()
        >>> preconditioner(MeanLoss(model, square, [torch.ones(1, 1)]), optimizer)  # the root of v
        tensor([0.5000, 2.0000])
    """
    settings = _settings_of(optimizer)
    parts = []
    for name, p in zip(loss.names, loss.own_params, strict=True):
        state = optimizer.state.get(p)
        if id(p) not in settings or not state:
            raise InvalidValueError(
                f"optimizer must have taken a step with every parameter of the loss, got none of "
                f"{name!r}; choose parameters with params=."
            )
        group = settings[id(p)]
        parts.append(_diagonal(optimizer, group, state, p).flatten().to(loss.device, loss.dtype))
    return torch.cat(parts)


def preconditioned_sharpness(
    loss: MeanLoss,
    optimizer: Optimizer,
    *,
    tol: float = 1e-4,
    maxiter: int = 100,
    generator: torch.Generator | None = None,
) -> PreconditionedSharpness:
    r"""Return the largest eigenvalue of D^(1/2) H D^(1/2), and the edge of stability.

    .. math::
        \lambda_{\max}(D^{1/2} H D^{1/2}) \ \text{against}\
        \frac{2 (1 + \beta_1)}{\eta (1 - \beta_1)}

    It is the curvature in the coordinates of the optimizer's step. Gradient descent with a fixed
    diagonal preconditioner D and the momentum of Adam diverges on a quadratic loss above the
    threshold: 2 / lr without momentum, 38 / lr with beta1 = 0.9. In full-batch training Adam rises
    to it and stays there. One product of the Hessian for each Lanczos step is the cost.

    Args:
        loss: over all the data, with parameters that the optimizer trains.
        optimizer: as for ``preconditioner``; lr and beta1 must be the same for all parameters of
            the loss.
        tol, maxiter, generator: as for ``top_eigenvalues``.

    Returns:
        The eigenvalue, its residual and the threshold.

    Raises:
        InvalidTypeError, InvalidValueError: as for ``preconditioner``, or parameters differ in lr
            or beta1, or lr is 0.
        NotConvergedError: maxiter restarts were not enough.

    Example:
        The loss is 2 w^2, so H = 4, and Adam's D is 1 / 0.5.

        >>> import torch
        >>> from dualadam.flatness import MeanLoss, preconditioned_sharpness
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.1, betas=(0.0, 0.9), eps=0.0)
        >>> model.weight.grad = torch.tensor([[0.5]])
        >>> optimizer.step()
        >>> square = lambda model, batch: 2 * model(batch).square().sum()
        >>> found = preconditioned_sharpness(MeanLoss(model, square, [torch.ones(1, 1)]), optimizer)
        >>> round(found.value, 4), found.threshold, round(found.ratio, 4)
        (8.0, 20.0, 0.4)

    References:
        J. Cohen et al., "Adaptive gradient methods at the edge of stability", arXiv:2207.14484,
        equation 2 (its beta1 = 0.9 gives 38 / lr). Deviation: InvAdam and DualAdam.
    """
    root = preconditioner(loss, optimizer).sqrt()
    settings = _settings_of(optimizer)
    steps = {_StepSize.of(settings[id(p)]) for p in loss.own_params}
    if len(steps) > 1:
        raise InvalidValueError(
            f"lr and beta1 must be the same for all parameters of the loss, got {sorted(steps)}; "
            "measure one group at a time with params=."
        )
    step = steps.pop()
    if not step.lr > 0:
        raise InvalidValueError(f"lr must be above 0, got {step.lr}.")

    def matvec(vector: ArrayLike) -> NDArray[Any]:
        v = torch.as_tensor(np.array(vector).reshape(-1)).to(root)
        return (root * loss.hvp(root * v)).cpu().numpy()

    dtype = np.float64 if loss.dtype == torch.float64 else np.float32
    shape = (loss.num_params, loss.num_params)
    operator = LinearOperator(shape, matvec=matvec, rmatvec=matvec, dtype=dtype)
    top = extreme_eigenvalues(operator, 1, tol=tol, maxiter=maxiter, generator=generator)
    threshold = 2 * (1 + step.beta1) / (1 - step.beta1) / step.lr
    return PreconditionedSharpness(float(top.values[0]), float(top.residuals[0]), threshold)


class _StepSize(NamedTuple):
    lr: float
    beta1: float

    @classmethod
    def of(cls, group: dict[str, Any]) -> _StepSize:
        return cls(float(group["lr"]), float(group["betas"][0]))


def _settings_of(optimizer: Optimizer) -> dict[int, dict[str, Any]]:
    """Return the parameter group of every parameter, by its id."""
    if not isinstance(optimizer, DualAdam | InvAdam) and type(optimizer) not in (Adam, AdamW):
        raise InvalidTypeError(
            "optimizer must be a DualAdam, an InvAdam, or torch's Adam or AdamW, "
            f"got {type(optimizer).__name__}."
        )
    return {id(p): group for group in optimizer.param_groups for p in group["params"]}


def _diagonal(
    optimizer: Optimizer, group: dict[str, Any], state: dict[str, Tensor], param: Tensor
) -> Tensor:
    """Return D of one parameter, in double precision."""
    step, (beta1, beta2) = float(state["step"]), map(float, group["betas"])
    amsgrad = group.get("amsgrad")
    second = state["max_exp_avg_sq"] if amsgrad else moments_of(state, param).exp_avg_sq
    r = (second.double() / (1 - beta2**step)).sqrt() + group["eps"]
    alpha = 0.0
    if isinstance(optimizer, DualAdam | InvAdam):
        alpha = float(mixing_weight(step, group.get("switch_rate", 0.0)))
    return ((1 - alpha) / r + alpha * r) / (1 - beta1**step)
