"""Adam with a recorded schedule: the control that is made from another optimizer's training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from dualadam.compare.adam_moments import adam_directions, real, update_moments
from dualadam.compare.shadow_result import ShadowResult
from dualadam.errors import InvalidTypeError, InvalidValueError

COUNT = "replayed_step"  # in every parameter group: updates so far, so that a checkpoint carries it


class ReplayedSchedule(Optimizer):
    r"""Adam whose learning rate is the equivalent schedule s_t that a shadow recorded.

    .. math:: \theta \leftarrow (1 - \eta\lambda)\,\theta - s_t\, u_t

    u_t is Adam's direction with the betas and the eps of the shadow. The learning rate eta, which
    schedulers set, multiplies the decay alone, since s_t has the schedule in it already. The paired
    difference between the recorded optimizer and this one says whether the share that no schedule
    explains does anything.

    Args:
        params: parameters or groups, in the order in which they were recorded; the k-th group gets
            the k-th schedule.
        schedule: what was recorded, or a file that ``ShadowResult.write`` made. Between recorded
            steps it is linear, and after the last one constant.
        lr: eta, at least 0.
        weight_decay: lambda per unit of eta, at least 0.

    Raises:
        InvalidValueError: lr or weight_decay is negative, or there are more groups than schedules.
        InvalidTypeError: in a step, a gradient is sparse.

    Example:
        >>> from dualadam.compare import shadow
        >>> def train(make):
        ...     param = torch.nn.Parameter(torch.tensor([3.0, -1.0]))
        ...     optimizer = make([param])
        ...     follower = shadow(optimizer)
        ...     for _ in range(5):
        ...         param.grad = 2 * param.detach()
        ...         optimizer.step()
        ...     return param.detach(), follower.result()
        >>> there, found = train(lambda params: torch.optim.Adam(params, lr=0.1))
        >>> again, _ = train(lambda params: ReplayedSchedule(params, found))
        >>> (there - again).abs().max().item() < 1e-5  # both end near [2.5, -0.5]
        True
    """

    def __init__(
        self,
        params: Any,
        schedule: ShadowResult | str | Path,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
    ) -> None:
        for name, value in (("lr", lr), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise InvalidValueError(f"{name} must be at least 0, got {value!r}.")
        found = schedule if isinstance(schedule, ShadowResult) else ShadowResult.read(schedule)
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, COUNT: 0})
        if len(self.param_groups) > len(found.schedule):
            raise InvalidValueError(
                f"params must have at most the {len(found.schedule)} recorded groups, "
                f"got {len(self.param_groups)}."
            )
        self.schedule = found

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"schedule": self.schedule}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step.

        Returns:
            What the closure returned, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for index, group in enumerate(self.param_groups):
            group[COUNT] += 1
            self._step_group(index, group)
        return loss

    def _step_group(self, index: int, group: dict[str, Any]) -> None:
        params = [param for param in group["params"] if param.grad is not None]
        if not params:
            return
        if any(param.grad.is_sparse for param in params):
            raise InvalidTypeError("gradients must be dense, got a sparse one.")
        adam = self.schedule.adam[index]
        states = [self.state[param] for param in params]
        update_moments(states, [real(param.grad) for param in params], adam.betas)
        directions = adam_directions(states, *adam)
        weights = [torch.view_as_real(p) if p.is_complex() else p for p in params]
        torch._foreach_mul_(weights, 1 - float(group["lr"]) * group["weight_decay"])
        torch._foreach_add_(weights, directions, alpha=-self.schedule.at(group[COUNT], index))
