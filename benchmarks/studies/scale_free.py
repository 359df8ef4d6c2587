"""Forms of DualAdam's idea whose scale is taken out: for the question, not for users.

The inverse direction m r grows with the square of the gradients' scale, so in ordinary training it
is much smaller than Adam's direction m / r, and DualAdam is Adam with a warm-up.  These forms let
it act at any scale.  With a = m / (r + eps), bias-corrected, per tensor:

* ``MixLong``: d = (1 - alpha) a + alpha rms(a) / rms(m r) m r.
* ``BoundLong``: d = a ((1 - alpha) + alpha min(r^2 / mean(r^2), 2)).

alpha falls linearly from 1 to 0 over ``mix_steps`` steps, and the learning rate has a warm-up over
1 / switch_rate steps beside it.  A form's direction and its size per tensor are separated by two
controls: ``*Size`` is Adam's direction with the size of d, ``BoundLongDirection`` is the direction
of d with the size of a.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

BOUND = 2.0  # of a weight, in means of its tensor
TINY = 1e-30  # below every size of a direction that is not 0


def mixed(adam: Tensor, inverse: Tensor, root: Tensor, alpha: float) -> Tensor:
    """Return Adam's direction mixed with the inverse one at Adam's size."""
    return adam.lerp(inverse * (size(adam) / size(inverse)), alpha)


def bounded(adam: Tensor, inverse: Tensor, root: Tensor, alpha: float) -> Tensor:
    """Return Adam's direction weighted by r^2 over its mean, at most twice."""
    squares = root.square()
    weight = (squares / squares.mean().clamp_min(TINY)).clamp_max(BOUND)
    return adam * (1 - alpha + alpha * weight)


def size(direction: Tensor) -> Tensor:
    """Return the norm of a tensor, above 0."""
    return direction.norm().clamp_min(TINY)


class ScaleFree(Optimizer):
    """The common step. A subclass has the form, and what it takes from it.

    Args:
        params: float32 parameters.
        lr: learning rate, above 0.
        betas: of the two moments, in [0, 1).
        eps: added to r.
        weight_decay: decoupled, as AdamW's.
        switch_rate: the warm-up takes 1 / switch_rate steps, in (0, 1].
        mix_steps: steps until alpha is 0.
    """

    form: Callable[[Tensor, Tensor, Tensor, float], Tensor]
    takes_size = takes_direction = True

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        switch_rate: float = 1e-2,
        mix_steps: int = 1000,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"switch_rate": switch_rate, "mix_steps": mix_steps})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    self._update(param, param.grad, group)
        return loss

    def _update(self, param: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[param]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(param)
            state["exp_avg_sq"] = torch.zeros_like(param)
        state["step"] += 1
        t, (beta1, beta2) = int(state["step"]), group["betas"]
        state["exp_avg"].lerp_(grad, 1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        first = state["exp_avg"] / (1 - beta1**t)
        root = (state["exp_avg_sq"] / (1 - beta2**t)).sqrt()
        adam = first / (root + group["eps"])
        alpha = max(0.0, 1 - t / group["mix_steps"])
        direction = adam
        if alpha:
            formed = type(self).form(adam, first * root, root, alpha)
            if self.takes_direction:
                direction = formed if self.takes_size else formed * (size(adam) / size(formed))
            else:
                direction = adam * (size(formed) / size(adam))
        param.mul_(1 - group["lr"] * group["weight_decay"])
        param.sub_(direction, alpha=group["lr"] * min(1.0, group["switch_rate"] * t))


class MixLong(ScaleFree):
    """The inverse direction at Adam's size per tensor, mixed in."""

    form = staticmethod(mixed)


class MixLongSize(MixLong):
    """The control: Adam's direction with the size of ``MixLong``."""

    takes_direction = False


class BoundLong(ScaleFree):
    """Adam's direction with bounded weights r^2."""

    form = staticmethod(bounded)


class BoundLongSize(BoundLong):
    """The control: Adam's direction with the size of ``BoundLong``."""

    takes_direction = False


class BoundLongDirection(BoundLong):
    """The control: the direction of ``BoundLong`` with Adam's size."""

    takes_size = False
