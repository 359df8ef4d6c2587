"""Which path the step of a group takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import _default_to_fused_or_foreach

from dualadam.optim._step.columns import Columns, has_repeats
from dualadam.optim._step.foreach import update_foreach
from dualadam.optim._step.fused import update_fused
from dualadam.optim._step.loop import update_loop
from dualadam.optim._step.settings import StepSettings


def choose_path(
    group: dict[str, Any], params: list[Tensor]
) -> Callable[[Columns, StepSettings], None]:
    """Choose the path of a group by torch's rule; the first row that fits decides.

    | fused | tensor lr, not capturable | foreach | differentiable | devices  | path    |
    |-------|---------------------------|---------|----------------|----------|---------|
    | True  | any                       | any     | no             | any      | fused   |
    | else  | yes                       | True    | any            | any      | refused |
    | else  | yes                       | else    | any            | any      | loop    |
    | else  | no                        | True    | no             | any      | foreach |
    | else  | no                        | None    | no             | all CUDA | foreach |
    | else  | no                        | else    | any            | any      | loop    |

    A parameter that is listed twice takes two steps, one after the other. Where foreach would make
    both at once, the group takes the loop.
    """
    if group["fused"]:
        return update_fused
    foreach = group["foreach"]
    if isinstance(group["lr"], Tensor) and not group["capturable"]:
        if foreach:
            raise RuntimeError(
                "lr as a Tensor is not supported for capturable=False and foreach=True"
            )
        return update_loop
    if foreach is None:
        _, foreach = _default_to_fused_or_foreach(params, group["differentiable"], use_fused=False)
    if foreach and not torch.compiler.is_compiling() and has_repeats(params):
        return update_loop
    return update_foreach if foreach else update_loop
