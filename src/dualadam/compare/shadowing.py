"""A shadow of an optimizer: an Adam that sees the same gradients and changes nothing."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from dualadam.compare.adam_moments import State, adam_directions, real, update_moments
from dualadam.compare.optimizers import decoupled_by_class
from dualadam.compare.shadow_result import ShadowAdam, ShadowResult
from dualadam.compare.warmup import LinearWarmup
from dualadam.errors import InvalidTypeError, InvalidValueError

GROWTH = 1.05  # ratio of two recorded steps where ``every`` is None
NUMBERS = 3  # s_t, unexplained share, norm of the update


class Shadow:
    """An Adam that follows an optimizer; made by ``shadow``.

    Attributes:
        optimizer: the optimizer that it follows.
        num_steps: the steps that it has seen.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        every: int | None = 1,
        betas: tuple[float, float] | None = None,
        eps: float | None = None,
        decoupled: bool | None = None,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            got = type(optimizer).__name__
            raise InvalidTypeError(f"optimizer must be a torch.optim.Optimizer, got {got}.")
        inner = optimizer.optimizer if isinstance(optimizer, LinearWarmup) else optimizer
        if isinstance(inner, torch.optim.LBFGS):
            raise InvalidTypeError(
                "optimizer must use one gradient per step, got LBFGS, which evaluates its closure "
                "several times."
            )
        if every is not None and every < 1:
            raise InvalidValueError(f"every must be at least 1, or None, got {every}.")
        if betas is not None and not _are_betas(betas):
            raise InvalidValueError(f"betas must be two numbers in [0, 1), got {betas!r}.")
        if eps is not None and not 0 <= eps < math.inf:
            raise InvalidValueError(f"eps must be finite and at least 0, got {eps}.")
        self.optimizer, self.num_steps = optimizer, 0
        self._every, self._betas, self._eps = every, betas, eps
        self._decoupled = decoupled_by_class(inner) if decoupled is None else decoupled
        self._states: dict[Tensor, State] = {}
        self._next = 1
        self._before: dict[Tensor, Tensor] = {}  # the parameters before a recorded step
        self._decays: list[float] = []  # lr x weight_decay of each group at that step
        self._points: list[tuple[int, Tensor]] = []  # on the device: no step waits for it
        self._hooks = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]

    def remove(self) -> None:
        """Stop following the optimizer and free the moments; what was recorded stays."""
        for hook in self._hooks:
            hook.remove()
        self._states.clear()
        self._before.clear()

    @property
    def memory_bytes(self) -> int:
        """Bytes held between two steps: two moments per parameter that has moved."""
        return sum(s["exp_avg"].nbytes + s["exp_avg_sq"].nbytes for s in self._states.values())

    def result(self) -> ShadowResult:
        """Return what was recorded so far; it waits for the device."""
        num_groups = len(self.optimizer.param_groups)
        points = torch.full((len(self._points), num_groups, NUMBERS), math.nan, dtype=torch.float64)
        for row, (_, found) in zip(points, self._points, strict=True):
            row[: len(found)] = found.cpu()
        values = points.permute(2, 1, 0).tolist()
        schedule, unexplained, norm = (
            tuple(tuple(x if math.isfinite(x) else None for x in column) for column in columns)
            for columns in values
        )
        adam = tuple(self._adam(group) for group in self.optimizer.param_groups)
        steps = tuple(step for step, _ in self._points)
        return ShadowResult(steps, schedule, unexplained, norm, adam)

    def _adam(self, group: dict[str, Any]) -> ShadowAdam:
        """Return the Adam of a group: the arguments, else the group's own pair, else torch's."""
        own, has_pair = group.get("eps"), _are_betas(group.get("betas"))
        betas = self._betas or (tuple(map(float, group["betas"])) if has_pair else (0.9, 0.999))
        eps = own if has_pair and isinstance(own, float) else 1e-8
        return ShadowAdam((betas[0], betas[1]), eps if self._eps is None else self._eps)

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Read the gradients, and copy the parameters if this step is recorded."""
        self._before.clear()
        self._decays.clear()
        found_inf = getattr(optimizer, "found_inf", None)  # where a fused step skips by itself
        if found_inf is not None and float(found_inf):
            return
        self.num_steps += 1
        has_closure = _has_closure(args, kwargs)
        if self.num_steps >= self._next:
            self._plan_next()
            for group in optimizer.param_groups:
                decay = float(group.get("weight_decay") or 0.0) * self._decoupled
                self._decays.append(float(group.get("lr", 0.0)) * decay if decay else 0.0)
                for param in group["params"]:
                    if has_closure or param.grad is not None:
                        copied = param.detach().clone(memory_format=torch.preserve_format)
                        self._before[param] = real(copied)
        if not has_closure:  # else they are computed during the step
            self._see(optimizer)

    def _plan_next(self) -> None:
        if self._every is None:
            self._next = max(self.num_steps + 1, math.ceil(GROWTH * self.num_steps))
        else:
            self._next = self.num_steps + self._every

    @torch.no_grad()
    def _see(self, optimizer: Optimizer) -> None:
        """Take the gradients into the moments, as the optimizer sees them."""
        scale = getattr(optimizer, "grad_scale", None)  # where a fused step unscales by itself
        for group in optimizer.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            if any(param.grad.is_sparse for param in params):
                raise InvalidTypeError("gradients must be dense for a shadow, got a sparse one.")
            grads = [real(param.grad) for param in params]
            if scale is not None:
                grads = [grad / scale.to(grad.device) for grad in grads]
            if group.get("maximize"):
                grads = [-grad for grad in grads]
            if grads:
                states = [self._states.setdefault(param, {}) for param in params]
                update_moments(states, grads, self._adam(group).betas)

    @torch.no_grad()
    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Project the update on Adam's direction, if this step is recorded."""
        if _has_closure(args, kwargs):
            self._see(optimizer)
        if not self._decays:
            return
        found = [
            self._project(group, decay)
            for group, decay in zip(optimizer.param_groups, self._decays, strict=True)
        ]
        device = next((x.device for x in found if x is not None), torch.device("cpu"))
        nothing = torch.full((NUMBERS,), math.nan, device=device)
        rows = [nothing if x is None else x.to(device) for x in found]
        self._points.append((self.num_steps, torch.stack(rows)))
        self._before.clear()
        self._decays.clear()

    def _project(self, group: dict[str, Any], decay: float) -> Tensor | None:
        """Return s_t, the unexplained share and the norm of a group's update."""
        params = [p for p in group["params"] if p in self._before and p in self._states]
        params = [p for p in params if p.grad is not None]
        if not params:
            return None
        updates = [self._before[param] for param in params]
        if decay:
            torch._foreach_mul_(updates, 1 - decay)
        torch._foreach_sub_(updates, [real(param) for param in params])
        adam = self._adam(group)
        directions = adam_directions([self._states[param] for param in params], *adam)
        device = updates[0].device
        norm, length = _norm(updates, device), _norm(directions, device)
        pairs = zip(updates, directions, strict=True)
        inner = torch.stack([(d.flatten() @ u.flatten()).to(device) for d, u in pairs]).sum()
        schedule = inner / length.square()
        factor = torch.where(length > 0, schedule, torch.zeros_like(schedule))
        for direction, update in zip(directions, updates, strict=True):
            update.addcmul_(direction, factor.to(update.device, update.dtype), value=-1)
        share = (_norm(updates, device) / norm).square()
        return torch.stack([schedule, share, norm])


def _has_closure(args: Any, kwargs: Any) -> bool:
    """Whether ``optimizer.step`` was called with a closure; the first argument is the optimizer."""
    return any(value is not None for value in (*args[1:2], kwargs.get("closure")))


def _norm(tensors: list[Tensor], device: torch.device) -> Tensor:
    """Return the 2-norm over all tensors, on a device."""
    norms = [norm.to(device) for norm in torch._foreach_norm(tensors)]
    return torch.linalg.vector_norm(torch.stack(norms))


def _are_betas(betas: Any) -> bool:
    """Whether these are the two numbers of an Adam."""
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        return False
    return all(isinstance(beta, float | int) and 0 <= beta < 1 for beta in betas)


def shadow(
    optimizer: Optimizer,
    *,
    every: int | None = 1,
    betas: tuple[float, float] | None = None,
    eps: float | None = None,
    decoupled: bool | None = None,
) -> Shadow:
    r"""Follow an optimizer with an Adam: how much of its training is Adam with a schedule?

    The shadow sees the gradients of every step and changes nothing. At a recorded step it compares
    the update d of each parameter group with Adam's direction u. The least-squares coefficient

    .. math:: s_t = \frac{\langle d, u\rangle}{\lVert u\rVert^2}

    is the learning rate at which Adam comes closest; :math:`1 - \cos^2(d, u)` is the share of the
    squared update that no learning rate explains. It works by hooks on ``optimizer.step``, so
    schedulers, closures, accumulated gradients and GradScaler need nothing. Attach it before the
    first step, or its moments begin at 0 later than the optimizer's.

    The decay is removed from d where the class decouples it: with the group's lr and weight_decay
    before the step, d = (1 - lr weight_decay) before - after, as AdamW decays. A coupled decay
    (L2), and a decay of another form, stays in d.

    The moments take twice the memory of the parameters; a recorded step takes twice more for its
    duration. They have float32 where parameters have half precision. The difference of two
    parameters has their rounding error: where the update is only a few units in the last place of
    the parameters, the share measures rounding.

    Args:
        optimizer: any torch optimizer with one dense gradient per step.
        every: record every so many steps, at least 1. None records each of the first 20 steps and
            then steps 5 % apart: about 200 points in 100,000 steps.
        betas: of the shadow; None takes the group's own pair, or (0.9, 0.999) where it has none.
        eps: of the shadow; None takes that of a group with a pair of betas, or 1e-8.
        decoupled: whether weight decay is decoupled; None takes what the class says.

    Raises:
        InvalidTypeError: the optimizer is none of torch's, or LBFGS, which evaluates its closure
            several times a step; later, in a step, a gradient is sparse.
        InvalidValueError: every, betas or eps is out of range.

    Example:
        >>> param = torch.nn.Parameter(torch.tensor([3.0, -1.0]))
        >>> optimizer = torch.optim.AdamW([param], lr=0.25)
        >>> follower = shadow(optimizer)
        >>> for _ in range(3):
        ...     optimizer.zero_grad()
        ...     param.square().sum().backward()
        ...     optimizer.step()
        >>> found = follower.result()
        >>> [round(s, 4) for s in found.schedule[0]], found.mean_unexplained < 1e-10
        ([0.25, 0.25, 0.25], True)
    """
    return Shadow(optimizer, every=every, betas=betas, eps=eps, decoupled=decoupled)
