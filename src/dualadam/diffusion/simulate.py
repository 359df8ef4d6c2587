"""Escape times measured with the package's own optimizers.

The optimizers act element by element, so one parameter of shape (walkers, dim) drives all walkers
at once, independently of each other. The simulation tests the shipped code, not a copy of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from dualadam.diffusion.checks import require_positive
from dualadam.diffusion.first_passages import FirstPassages
from dualadam.diffusion.landscapes import Landscape
from dualadam.diffusion.noise import Noise
from dualadam.diffusion.rotation import check_rotation, rotated_variances
from dualadam.diffusion.rules import Rule
from dualadam.diffusion.temperature import largest_stable_lr
from dualadam.errors import DualAdamError, InvalidValueError
from dualadam.optim import DualAdam, InvAdam, fused_status

# The optimizer's step count at a walker's start, so large that the bias correction is 1.
SETTLED_STEP = 1e5
# Steps between two reports of progress, checks for divergence and resets of the step count.
CHUNK = 1000


class DivergedError(DualAdamError, RuntimeError):
    """Walkers of a simulation diverged; the message names the remedy."""

    exit_status = 1


def make_optimizer(
    rule: Rule, x: Tensor, lr: float, betas: tuple[float, float]
) -> torch.optim.Optimizer:
    """Return the shipped optimizer of a rule, fused where a fused step is available.

    SGD gets its momentum as an exponential average, as Adam has it.
    """
    if rule.mixing_weight is None:
        return torch.optim.SGD([x], lr=lr, momentum=betas[0], dampening=betas[0])
    fused = fused_status().available or None
    if rule.mixing_weight == 1.0:
        return InvAdam([x], lr=lr, betas=betas, fused=fused)
    return DualAdam([x], lr=lr, betas=betas, switch_rate=1.0, fused=fused)


def simulate(
    landscape: Landscape,
    noise: Noise,
    rule: Rule,
    lr: float,
    *,
    num_walkers: int,
    num_steps: int,
    seed: int,
    betas: tuple[float, float] = (0.9, 0.999),
    rotation: np.ndarray | None = None,
    max_escapes: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> FirstPassages:
    r"""Let walkers escape again and again, and return all their first-passage times.

    Every walker starts at the minimum with exp_avg = 0, exp_avg_sq = c (the noise variance there)
    and a step count of 1e5. When its first coordinate reaches the target's, it has escaped, and it
    starts again in the same way. A fixed mixture alpha is DualAdam with
    switch_rate = (1 - alpha) / t at step t.

    Args:
        landscape: walkers leave its ``minimum`` for its ``target``.
        noise: added to the gradient at every step.
        rule: the optimizer.
        lr: learning rate, > 0.
        num_walkers: >= 1; 4,000 to 16,000 use a core best.
        num_steps: steps of every walker, >= 1.
        seed: of the noise; equal seeds give equal results on one machine.
        betas: decay rates of the moments, each in [0, 1).
        rotation: R, orthogonal of shape (dim, dim): the optimizer acts on the coordinates y = R x,
            so that the Hessian is not diagonal for it (``spread_over`` makes one). None is the
            identity.
        max_escapes: stop at the end of the first thousand steps with this many escapes; the
            estimate stays unbiased to first order.
        progress: called every thousand steps with the number of steps since the last call.

    Raises:
        InvalidValueError: an argument is out of range, or the update is unstable at the minimum.
        DivergedError: walkers diverged away from the minimum; lr is too large for the landscape.

    Example:
        >>> from dualadam.diffusion import INVADAM, ConstantNoise, DoubleWell
        >>> from dualadam.diffusion import mean_first_passage_time
        >>> where = DoubleWell(height=0.06), ConstantNoise(1.0), INVADAM, 0.04
        >>> passages = simulate(*where, num_walkers=500, num_steps=6000, seed=0)
        >>> abs(passages.log_time - mean_first_passage_time(*where)) < 0.2
        True
    """
    require_positive(lr=lr, num_walkers=num_walkers, num_steps=num_steps)
    walkers = _Walkers(landscape, noise, rule, lr, betas, num_walkers, seed, rotation)
    with torch.no_grad():
        while walkers.step < num_steps:
            if max_escapes is not None and walkers.counts.sum() >= max_escapes:
                break
            chunk = min(CHUNK, num_steps - walkers.step)
            walkers.advance(chunk)
            if progress is not None:
                progress(chunk)
    return walkers.passages()


class _Walkers:
    """All walkers, as one parameter of one optimizer."""

    def __init__(
        self,
        landscape: Landscape,
        noise: Noise,
        rule: Rule,
        lr: float,
        betas: tuple[float, float],
        num_walkers: int,
        seed: int,
        rotation: np.ndarray | None,
    ) -> None:
        self.landscape, self.noise, self.rule, self.lr = landscape, noise, rule, lr
        variances = np.broadcast_to(
            np.asarray(noise.variance(landscape.minimum), float), (landscape.dim,)
        )
        if rotation is None:
            stable = min(
                largest_stable_lr(rule, h, c, betas[0])
                for h, c in zip(landscape.hessian_at_minimum, variances, strict=True)
            )
        else:
            check_rotation(rotation, landscape.dim)
            variances = rotated_variances(noise, landscape.minimum, rotation)
            root = rule.preconditioner(variances)[:, None] ** 0.5 * rotation
            seen = np.linalg.eigvalsh(root @ np.diag(landscape.hessian_at_minimum) @ root.T)[-1]
            stable = 2 * (1 + betas[0]) / (1 - betas[0]) / seen
        if lr >= stable:  # such steps would throw walkers over the saddle and count as escapes
            raise InvalidValueError(
                f"lr must be below {stable:.4g}, where the update diverges at the minimum, "
                f"got {lr}."
            )
        start = torch.tensor(landscape.minimum, dtype=torch.float32)
        target = torch.tensor(landscape.target, dtype=torch.float32)
        self.sign = 1.0 if target[0] > start[0] else -1.0
        self.goal = np.float32(self.sign * float(target[0]))
        self.generator = torch.Generator().manual_seed(seed)
        self.x = start.repeat(num_walkers, 1)  # in the landscape's coordinates
        self.x_grad = torch.empty_like(self.x)
        self.rotation = None if rotation is None else torch.tensor(rotation, dtype=torch.float32)
        self.y, self.grad = self.x, self.x_grad  # in the optimizer's
        if self.rotation is not None:
            start = self.rotation @ start
            self.y, self.grad = start.repeat(num_walkers, 1), torch.empty_like(self.x)
        self.y.grad = self.grad
        self.optimizer = make_optimizer(rule, self.y, lr, betas)
        self.group, self.state = self.optimizer.param_groups[0], self.optimizer.state[self.y]
        fresh = self._fresh_state(start, variances)
        self.state.update({key: value.repeat(num_walkers, 1) for key, value in fresh.items()})
        # NumPy views of the same memory: a restart by indexing a tensor costs ten times as much
        self.first = self.x.numpy()[:, 0]
        self.restarts = [
            (self.y.numpy(), start.numpy()),
            *((self.state[key].numpy(), value.numpy()) for key, value in fresh.items()),
        ]
        self.step = 0
        self.started = np.zeros(num_walkers, np.int64)
        self.counts = np.zeros(num_walkers, np.int64)
        self.durations: list[np.ndarray] = []

    def _fresh_state(self, start: Tensor, variances: np.ndarray) -> dict[str, Tensor]:
        if self.rule.mixing_weight is None:
            return {"momentum_buffer": torch.zeros_like(start)}
        self.state["step"] = torch.tensor(SETTLED_STEP)
        return {
            "exp_avg": torch.zeros_like(start),
            "exp_avg_sq": torch.tensor(variances, dtype=torch.float32),
        }

    def advance(self, num_steps: int) -> None:
        """Take steps, and let every walker that reaches the target start again."""
        x, x_grad, group, rotation = self.x, self.x_grad, self.group, self.rotation
        first, sign, goal = self.first, self.sign, self.goal
        alpha = self.rule.mixing_weight if "switch_rate" in group else None
        if "step" in self.state:
            self.state["step"].fill_(SETTLED_STEP)
        for i in range(1, num_steps + 1):
            self.noise.draw_(x_grad, x, self.generator)
            self.landscape.add_gradient_(x_grad, x)
            if rotation is not None:
                torch.mm(x_grad, rotation.T, out=self.grad)
            if alpha is not None:
                group["switch_rate"] = (1 - alpha) / (SETTLED_STEP + i)
            self.optimizer.step()
            if rotation is not None:
                torch.mm(self.y, rotation, out=x)
            if (first.max() if sign > 0 else -first.min()) >= goal:
                self._restart(np.flatnonzero(first >= goal if sign > 0 else -first >= goal), i)
        self.step += num_steps
        diverged = int(np.sum(~np.isfinite(first)))
        if diverged:
            raise DivergedError(
                f"{diverged} of {len(first)} walkers diverged by step {self.step}; "
                f"take a smaller lr than {self.lr}."
            )

    def _restart(self, index: np.ndarray, i: int) -> None:
        now = self.step + i
        self.durations.append(now - self.started[index])
        self.counts[index] += 1
        self.started[index] = now
        for array, value in self.restarts:
            array[index] = value
        if self.rotation is not None:
            self.x.numpy()[index] = self.landscape.minimum

    def passages(self) -> FirstPassages:
        """Return all durations; each walker's last one is censored."""
        num_escapes = int(self.counts.sum())
        durations = np.concatenate([*self.durations, self.step - self.started]).astype(float)
        return FirstPassages(durations, np.arange(len(durations)) < num_escapes, self.counts)
