"""The control as an optimizer: any torch optimizer with a linear warm-up of its learning rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from dualadam.errors import InvalidValueError

COUNT = "warmup_step"  # in every parameter group: updates so far, so that a checkpoint carries it


class LinearWarmup(Optimizer):
    r"""Wraps an optimizer and warms its learning rate up over 1 / rate steps.

    .. math:: \eta_t = \eta\, w_t, \quad \lambda_t = \lambda / w_t, \quad w_t = \min(1, \xi t)

    The learning rate eta is what the group holds when ``step`` is called, so that schedulers
    multiply with the warm-up. A decoupled weight decay lambda is divided by w_t: the decay per
    step, eta lambda, is not warmed. Parameter groups and state are the wrapped optimizer's own,
    with the count of steps in each group as ``warmup_step``: a run that is saved and resumed at
    any step equals the straight one bit for bit. Groups are back at their values after each step.

    GradScaler unscales the gradients itself, and skips the count together with the step.

    Args:
        optimizer: any torch optimizer.
        rate: xi per step, in (0, 1]; 1 warms nothing up.
        decoupled: whether the optimizer's weight decay is decoupled. A coupled decay (L2) is part
            of the gradient and keeps its value.

    Raises:
        InvalidValueError: rate is out of range.

    Example:
        >>> param = torch.nn.Parameter(torch.zeros(1))
        >>> control = LinearWarmup(torch.optim.SGD([param], lr=1.0), rate=0.25)
        >>> for _ in range(5):
        ...     param.grad = -torch.ones(1)
        ...     control.step()
        >>> param.item()  # 1/4 + 2/4 + 3/4 + 1 + 1
        3.5

    References:
        The control of every comparison here: DualAdam's step is Adam's times
        xi t + (1 - xi t) r^2, which is this warm-up where r^2 is far below 1.
    """

    def __init__(self, optimizer: Optimizer, rate: float, *, decoupled: bool = True) -> None:
        if not 0 < rate <= 1:
            raise InvalidValueError(f"rate must be in (0, 1], got {rate!r}.")
        super().__init__(optimizer.param_groups, dict(optimizer.defaults))
        self.optimizer, self.rate, self.decoupled = optimizer, rate, decoupled
        self._share()

    def _share(self) -> None:
        """Use the wrapped optimizer's own groups and state, which loading replaces."""
        self.param_groups, self.state = self.optimizer.param_groups, self.optimizer.state
        for group in self.param_groups:
            group.setdefault(COUNT, 0)

    def __getattr__(self, name: str) -> Any:
        """Offer what the wrapped optimizer has beyond torch's, such as ``train`` and ``eval``."""
        if name == "optimizer":  # not there yet, as in a constructor or in deepcopy
            raise AttributeError(name)
        return getattr(self.optimizer, name)

    def __getstate__(self) -> dict[str, Any]:
        return {key: self.__dict__[key] for key in ("optimizer", "rate", "decoupled", "defaults")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        LinearWarmup.__init__(self, state["optimizer"], state["rate"], decoupled=state["decoupled"])

    def state_dict(self) -> dict[str, Any]:
        """Return the wrapped optimizer's state, with the count of steps in each group."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state of this class, or of the wrapped optimizer alone: the count is then 0."""
        self.optimizer.load_state_dict(state_dict)
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step of the wrapped optimizer at the warmed learning rate.

        Returns:
            What the closure returned, or None.
        """
        before = []
        for group in self.param_groups:
            group[COUNT] += 1
            weight = min(1.0, self.rate * group[COUNT])
            lr, decay = group["lr"], group.get("weight_decay")
            before.append((lr, decay))
            group["lr"] = lr * weight
            if decay and self.decoupled:
                group["weight_decay"] = decay / weight
        try:
            return self.optimizer.step() if closure is None else self.optimizer.step(closure)
        finally:
            for group, (lr, decay) in zip(self.param_groups, before, strict=True):
                group["lr"] = lr
                if decay and self.decoupled:
                    group["weight_decay"] = decay

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the wrapped optimizer; its warm-up begins with its first step."""
        if "optimizer" not in self.__dict__:  # called by torch's constructor
            super().add_param_group(param_group)
            return
        self.optimizer.add_param_group(param_group)
        self._share()
