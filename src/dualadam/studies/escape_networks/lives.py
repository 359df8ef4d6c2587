"""Walkers that start at a minimum, driven by the shipped optimizers, and how long it takes until descent leads them elsewhere."""

from __future__ import annotations

import functools
import time
import zlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dualadam.diffusion import Rule
from dualadam.diffusion.simulate import SETTLED_STEP, make_optimizer
from dualadam.studies.escape_networks.minima import Minimum
from dualadam.studies.escape_networks.problem import Problem

BETAS = (0.9, 0.999)
AGREEMENT = (
    0.2  # at home: the gradient is that of the minimum's own quadratic, within this part of it
)
LOWER = 1e-5  # elsewhere: the loss is lower than the minimum's by this, which descent cannot undo
AT_REST = 1e-5  # elsewhere: the gradient's norm at which descent has ended without being home
VALLEY = 3e-3  # gradient norm below which descent goes on with momentum, along a valley's floor
MOMENTUM = 0.95
MAX_DESCENT = 4000
HOME, ELSEWHERE, UNDECIDED = 1, 2, 0


def check_steps(num_steps: int, first: int = 20) -> list[int]:
    """Return the steps after which walkers are looked at: each twice the last.

    Example:
        >>> check_steps(200)
        [20, 40, 80, 160]
    """
    steps = [first]
    while 2 * steps[-1] <= num_steps:
        steps.append(2 * steps[-1])
    return steps


def where_descent_leads(minimum: Minimum, w: Tensor) -> Tensor:
    """Return HOME, ELSEWHERE or UNDECIDED for every vector (walkers, num_params): full-batch gradient descent with step 1 / H.

    Down to a valley's floor it is plain; there, where plain descent would take thousands of steps, it has momentum. A test follows plain
    descent to its end, and finds the same.
    """
    problem, dtype = minimum.problem, w.dtype
    inputs, labels = problem.data[0].to(dtype), problem.data[1]
    centre, hessian = minimum.w.to(dtype), torch.from_numpy(minimum.hessian).to(dtype)
    verdict, live = torch.full((len(w),), UNDECIDED), torch.arange(len(w))
    moving = torch.zeros_like(w)
    for step in range(MAX_DESCENT):
        loss, gradient = problem.loss_and_gradient(w, inputs, labels)
        norm = gradient.norm(dim=1)
        if step % 10 == 0:
            own = (w - centre) @ hessian
            home = (gradient - own).norm(dim=1) <= AGREEMENT * own.norm(dim=1)
            elsewhere = ~home & ((loss < minimum.loss - LOWER) | (norm < AT_REST))
            verdict[live[home]], verdict[live[elsewhere]] = HOME, ELSEWHERE
            left = ~(home | elsewhere)
            live, w, moving, gradient, norm = (
                live[left],
                w[left],
                moving[left],
                gradient[left],
                norm[left],
            )
            if not len(live):
                break
        moving = torch.where((norm < VALLEY)[:, None], MOMENTUM * moving, 0.0) + gradient
        w = w - moving / minimum.curvature
    return verdict


@dataclass(frozen=True)
class Unit:
    """The lives of some walkers: one minimum, one optimizer, one learning rate."""

    problem: Problem
    number: int  # of the minimum
    w: tuple[float, ...]
    rule: Rule
    target: float  # the temperature that lr was chosen for
    lr: float
    batch_size: int
    num_walkers: int
    num_steps: int

    @property
    def key(self) -> str:
        """Names the unit and seeds it."""
        return f"{self.number}/{self.rule.name}/{self.target:g}"


@functools.lru_cache(maxsize=64)
def _minimum(problem: Problem, w: tuple[float, ...]) -> Minimum:
    """Return the minimum, whose Hessian costs as much as its walkers do: a process computes it once."""
    return Minimum(problem, torch.tensor(w, dtype=torch.float64))


def live(unit: Unit) -> dict[str, Any]:
    """Run a unit: a JSON-ready row with, for every walker, the last check at home and the first elsewhere (None: never).

    Walkers start at the minimum with exp_avg = 0, exp_avg_sq = C_ii / B and a count of 1e5, as ``dualadam.diffusion.simulate`` does.
    """
    started = time.process_time()
    minimum = _minimum(unit.problem, unit.w)
    problem = minimum.problem
    inputs, labels = problem.data[0].float(), problem.data[1]
    generator = torch.Generator().manual_seed(zlib.crc32(unit.key.encode()))
    w = minimum.w.float().repeat(unit.num_walkers, 1)
    optimizer = make_optimizer(unit.rule, w, unit.lr, BETAS)
    state = optimizer.state[w]
    if unit.rule.mixing_weight is None:
        state["momentum_buffer"] = torch.zeros_like(w)
    else:
        second = torch.from_numpy(minimum.covariance.diagonal() / unit.batch_size).float()
        state.update(
            step=torch.tensor(SETTLED_STEP),
            exp_avg=torch.zeros_like(w),
            exp_avg_sq=second.repeat(unit.num_walkers, 1),
        )
    last_home: list[int] = [0] * unit.num_walkers
    left: list[int | None] = [None] * unit.num_walkers
    step, num_undecided, num_descents, num_diverged = 0, 0, 0, 0
    home = torch.arange(unit.num_walkers)
    for check in check_steps(unit.num_steps):
        for _ in range(check - step):
            batch = torch.randint(
                problem.num_examples, (unit.num_walkers, unit.batch_size), generator=generator
            )
            w.grad = problem.loss_and_gradient(w, inputs[batch], labels[batch])[1]
            optimizer.step()
        step = check
        finite = w[home].isfinite().all(1)
        verdict = torch.full((len(home),), ELSEWHERE)  # a walker that diverged has left
        verdict[finite] = where_descent_leads(minimum, w[home][finite])
        num_diverged += int((~finite).sum())
        num_descents += len(home)
        num_undecided += int((verdict == UNDECIDED).sum())
        for walker, found in zip(home.tolist(), verdict.tolist(), strict=True):
            if found == ELSEWHERE:
                left[walker] = check
            else:  # an undecided descent counts as home: it has not led elsewhere
                last_home[walker] = check
        home = home[verdict != ELSEWHERE]
        if not len(home):
            break
    return {
        "key": unit.key,
        "number": unit.number,
        "optimizer": unit.rule.name,
        "target": unit.target,
        "lr": unit.lr,
        "last_home": last_home,
        "left": left,
        "descents": num_descents,
        "undecided": num_undecided,
        "diverged": num_diverged,
        "cpu_seconds": round(time.process_time() - started, 2),
    }
