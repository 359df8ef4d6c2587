"""Adam's two moments and its direction, on lists of tensors. Needs torch alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

State = dict[str, Any]  # exp_avg, exp_avg_sq and step of one parameter; empty before its first


def real(tensor: Tensor) -> Tensor:
    """Return the numbers of a tensor: detached, real, in float32 where they have half precision."""
    numbers = torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor.detach()
    return numbers.float() if numbers.dtype in (torch.float16, torch.bfloat16) else numbers


def update_moments(
    states: Sequence[State], grads: Sequence[Tensor], betas: tuple[float, float]
) -> None:
    r"""Take the gradients g of a step into the moments, in place.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g,\quad
              v \leftarrow \beta_2 v + (1 - \beta_2) g^2
    """
    for state, grad in zip(states, grads, strict=True):
        if not state:
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(grad), torch.zeros_like(grad)
            state["step"] = 0
        state["step"] += 1
    beta1, beta2 = betas
    squares = [state["exp_avg_sq"] for state in states]
    torch._foreach_lerp_([state["exp_avg"] for state in states], list(grads), 1 - beta1)
    torch._foreach_mul_(squares, beta2)
    torch._foreach_addcmul_(squares, list(grads), list(grads), 1 - beta2)


def adam_directions(
    states: Sequence[State], betas: tuple[float, float], eps: float
) -> list[Tensor]:
    r"""Return Adam's directions as new tensors, one per parameter, without unit.

    .. math:: u = \frac{m}{1 - \beta_1^t} \Big/ \Big(\sqrt{\frac{v}{1 - \beta_2^t}} + \epsilon\Big)
    """
    beta1, beta2 = betas
    first = [1 - beta1 ** state["step"] for state in states]
    root = [(1 - beta2 ** state["step"]) ** 0.5 for state in states]
    # the correction of m is multiplied into the denominator, which saves a pass over the memory
    found = torch._foreach_sqrt([state["exp_avg_sq"] for state in states])
    torch._foreach_mul_(found, [a / b for a, b in zip(first, root, strict=True)])
    torch._foreach_add_(found, [eps * a for a in first])
    torch._foreach_reciprocal_(found)
    torch._foreach_mul_(found, [state["exp_avg"] for state in states])
    return list(found)
