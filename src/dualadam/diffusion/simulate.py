"""Escape times measured with the package's own optimizers: one parameter of shape (walkers, dim) drives all walkers at once.

The optimizers act element by element, so the walkers do not see each other, and what is tested is the shipped code, not a copy of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dualadam.diffusion.escape import largest_stable_lr
from dualadam.diffusion.landscapes import Landscape, require_positive
from dualadam.diffusion.noise import Noise
from dualadam.diffusion.rules import Rule
from dualadam.optim import DualAdam, InvAdam, fused_status

PAST = 1e5  # the count of updates in the state: at a fresh one the bias correction would multiply v by 1 / (1 - beta2)
CHUNK = 1000  # steps between reports of progress, checks for divergence, and resets of the count


@dataclass(frozen=True)
class FirstPassages:
    """What a simulation saw: a list of lives, each ended by an escape or by the end of the simulation.

    Attributes:
        durations: steps of every life, shape (num_lives,), float64.
        escaped: whether it ended by an escape, shape (num_lives,); the others are censored: they count with the time that they lasted.
        counts: escapes of every walker, shape (num_walkers,).
    """

    durations: np.ndarray
    escaped: np.ndarray
    counts: np.ndarray

    @property
    def num_escapes(self) -> int:
        """Number of observed escapes."""
        return int(self.counts.sum())

    @property
    def walker_steps(self) -> float:
        """Time at risk: the steps of all lives, censored ones too."""
        return float(self.durations.sum())

    @property
    def escape_time(self) -> float:
        """Mean escape time in steps, walker_steps / num_escapes: the maximum likelihood estimate under censoring; inf without an escape.

        Unbiased to first order for a constant escape rate. A walker needs a few relaxation times before it can escape at all, which
        raises the estimate by about that lag over the length of the simulation: let it run for an escape time or longer.
        """
        return self.walker_steps / self.num_escapes if self.num_escapes else math.inf

    @property
    def log_time(self) -> float:
        """The logarithm of escape_time."""
        return math.log(self.escape_time)

    @property
    def log_time_error(self) -> float:
        """Standard error of log_time: 1 / sqrt(num_escapes), as for independent exponential waiting times; inf without an escape."""
        return self.num_escapes**-0.5 if self.num_escapes else math.inf


def make_optimizer(
    rule: Rule, x: Tensor, lr: float, betas: tuple[float, float]
) -> torch.optim.Optimizer:
    """Return the shipped optimizer that a rule stands for, fused where it can be.

    SGD has its momentum as an exponential average, as Adam has.
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
    max_escapes: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> FirstPassages:
    r"""Let walkers escape again and again, and return all their first-passage times.

    Every walker starts at the minimum with exp_avg = 0, exp_avg_sq = c (the noise variance there) and a count of 1e5 updates. When its
    first coordinate has reached the target's, that is one escape, and it starts again in the same way. A fixed mixture alpha is DualAdam
    with switch_rate = (1 - alpha) / t at step t.

    Args:
        landscape: where; walkers leave ``minimum`` for ``target``.
        noise: what is added to the gradient at every step.
        rule: the optimizer.
        lr: learning rate, > 0.
        num_walkers: >= 1; 4,000 to 16,000 use a core best.
        num_steps: steps of every walker, >= 1.
        seed: of the noise; equal seeds give equal results on one machine.
        betas: decay rates of the moments, each in [0, 1).
        max_escapes: stop at the end of the first thousand steps with this many; the estimate stays unbiased to first order.
        progress: called with the number of steps done since the last call, every thousand steps.

    Raises:
        ValueError: an argument is out of range, or the update is unstable at the minimum.
        RuntimeError: walkers diverged further out; lr is too large for the landscape.

    Example:
        >>> from dualadam.diffusion import INVADAM, ConstantNoise, DoubleWell, mean_first_passage_time
        >>> where = DoubleWell(height=0.06), ConstantNoise(1.0), INVADAM, 0.04
        >>> seen = simulate(*where, num_walkers=500, num_steps=6000, seed=0)
        >>> abs(seen.log_time - mean_first_passage_time(*where)) < 0.2
        True
    """
    require_positive(lr=lr, num_walkers=num_walkers, num_steps=num_steps)
    variances = np.broadcast_to(
        np.asarray(noise.variance(landscape.minimum), float), (landscape.dim,)
    )
    stable = min(
        largest_stable_lr(rule, h, c, betas[0])
        for h, c in zip(landscape.hessian_at_minimum, variances, strict=True)
    )
    if lr >= stable:  # walkers would be thrown over the saddle, and counted
        raise ValueError(
            f"lr must be below {stable:.4g}, where the update diverges at the minimum, got {lr}."
        )
    start, target = (
        torch.tensor(p, dtype=torch.float32) for p in (landscape.minimum, landscape.target)
    )
    sign = 1.0 if target[0] > start[0] else -1.0
    goal = np.float32(sign * float(target[0]))

    generator = torch.Generator().manual_seed(seed)
    x = start.repeat(num_walkers, 1)
    x.grad = torch.empty_like(x)
    optimizer = make_optimizer(rule, x, lr, betas)
    group, state = optimizer.param_groups[0], optimizer.state[x]
    fresh = {
        "momentum_buffer" if rule.mixing_weight is None else "exp_avg": torch.zeros_like(start)
    }
    if rule.mixing_weight is not None:
        fresh["exp_avg_sq"] = torch.tensor(variances, dtype=torch.float32)
        state["step"] = torch.tensor(PAST)
    state.update({key: value.repeat(num_walkers, 1) for key, value in fresh.items()})

    # NumPy views of the same memory: a restart costs microseconds, where indexing a tensor costs tens of them
    first = x.numpy()[:, 0]
    restarts = [
        (x.numpy(), start.numpy()),
        *((state[key].numpy(), value.numpy()) for key, value in fresh.items()),
    ]
    born, counts = np.zeros(num_walkers, np.int64), np.zeros(num_walkers, np.int64)
    durations: list[np.ndarray] = []
    step = 0
    with torch.no_grad():
        while step < num_steps and (max_escapes is None or counts.sum() < max_escapes):
            chunk = min(CHUNK, num_steps - step)
            if "step" in state:
                state["step"].fill_(PAST)
            for i in range(chunk):
                noise.draw_(x.grad, x, generator)
                landscape.add_gradient_(x.grad, x)
                if rule.mixing_weight is not None and "switch_rate" in group:
                    group["switch_rate"] = (1 - rule.mixing_weight) / (PAST + i + 1)
                optimizer.step()
                if (first.max() if sign > 0 else -first.min()) >= goal:
                    index = np.flatnonzero(first >= goal if sign > 0 else -first >= goal)
                    now = step + i + 1
                    durations.append(now - born[index])
                    counts[index] += 1
                    born[index] = now
                    for array, value in restarts:
                        array[index] = value
            step += chunk
            if not np.isfinite(first).all():
                raise RuntimeError(
                    f"{np.sum(~np.isfinite(first))} of {num_walkers} walkers diverged by step {step}; take a smaller lr than {lr}."
                )
            if progress is not None:
                progress(chunk)
    num_observed = int(counts.sum())
    lives = np.concatenate([*durations, step - born]).astype(float)
    return FirstPassages(lives, np.arange(len(lives)) < num_observed, counts)
