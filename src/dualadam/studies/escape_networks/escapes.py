"""Walkers that start at a minimum, and when the shipped optimizers drive them out of its basin."""

from __future__ import annotations

import functools
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dualadam.diffusion import Rule
from dualadam.diffusion.simulate import SETTLED_STEP, make_optimizer
from dualadam.studies.escape_networks.descent import Basin, find_basins
from dualadam.studies.escape_networks.geometry import Minimum
from dualadam.studies.escape_networks.network import NetworkProblem
from dualadam.studies.escape_networks.rows import Row
from dualadam.studies.escape_networks.settings import BETAS

FIRST_CHECK = 20  # steps


@dataclass(frozen=True)
class EscapeRow(Row):
    """The walkers of one minimum, optimizer and temperature.

    A walker escapes between its last check at home and its first check elsewhere.

    Attributes:
        number: of the minimum.
        optimizer: its name.
        temperature: that lr was chosen for, in the unit of the loss.
        lr: learning rate.
        last_home: step of every walker's last check at home; 0 is the start.
        first_elsewhere: step of its first check elsewhere; None for a censored walker.
        num_descents: from the walkers' positions at the checks.
        num_undecided: descents that did not end; they count as home.
        num_diverged: walkers that were not finite at a check; they count as elsewhere.
        cpu_seconds: of the process.
    """

    JSON_NAMES: ClassVar[Mapping[str, str]] = {
        "temperature": "target",
        "first_elsewhere": "left",
        "num_descents": "descents",
        "num_undecided": "undecided",
        "num_diverged": "diverged",
    }

    number: int
    optimizer: str
    temperature: float
    lr: float
    last_home: tuple[int, ...]
    first_elsewhere: tuple[int | None, ...]
    num_descents: int
    num_undecided: int
    num_diverged: int
    cpu_seconds: float

    @property
    def key(self) -> str:
        """The name of the simulation."""
        return _key(self.number, self.optimizer, self.temperature)


@dataclass(frozen=True)
class EscapeSimulation:
    """The piece of the study that makes an EscapeRow.

    Attributes:
        problem: the loss.
        number, w: of the minimum.
        rule: the optimizer.
        temperature: that lr was chosen for.
        lr, batch_size, num_walkers: of the simulation.
        num_steps: upper limit.
    """

    problem: NetworkProblem
    number: int
    w: tuple[float, ...]
    rule: Rule
    temperature: float
    lr: float
    batch_size: int
    num_walkers: int
    num_steps: int

    @property
    def key(self) -> str:
        """The key of its row, which also seeds the simulation."""
        return _key(self.number, self.rule.name, self.temperature)

    def run(self) -> EscapeRow:
        """Drive the walkers until all have escaped, or for num_steps.

        They start at the minimum with exp_avg = 0, exp_avg_sq = C_ii / B and a step count of 1e5,
        as in ``dualadam.diffusion.simulate``.
        """
        started = time.process_time()
        minimum, problem = _minimum(self.problem, self.w), self.problem
        inputs, labels = problem.data.inputs.float(), problem.data.labels
        generator = torch.Generator().manual_seed(zlib.crc32(self.key.encode()))
        w = minimum.w.float().repeat(self.num_walkers, 1)
        optimizer = self._optimizer(minimum, w)
        last_home: list[int] = [0] * self.num_walkers
        first_elsewhere: list[int | None] = [None] * self.num_walkers
        step, num_undecided, num_descents, num_diverged = 0, 0, 0, 0
        home = torch.arange(self.num_walkers)  # indices of the walkers that have not escaped
        for check in check_steps(self.num_steps):
            for _ in range(check - step):
                size = (self.num_walkers, self.batch_size)
                batch = torch.randint(problem.num_examples, size, generator=generator)
                w.grad = problem.loss_and_gradient(w, inputs[batch], labels[batch])[1]
                optimizer.step()
            step = check
            finite = w[home].isfinite().all(1)
            basins = torch.full((len(home),), Basin.ELSEWHERE)
            basins[finite] = find_basins(minimum, w[home][finite])
            num_diverged += int((~finite).sum())
            num_descents += len(home)
            num_undecided += int((basins == Basin.UNDECIDED).sum())
            for walker, basin in zip(home.tolist(), basins.tolist(), strict=True):
                if basin == Basin.ELSEWHERE:
                    first_elsewhere[walker] = check
                else:
                    last_home[walker] = check
            home = home[basins != Basin.ELSEWHERE]
            if not len(home):
                break
        return EscapeRow(
            number=self.number,
            optimizer=self.rule.name,
            temperature=self.temperature,
            lr=self.lr,
            last_home=tuple(last_home),
            first_elsewhere=tuple(first_elsewhere),
            num_descents=num_descents,
            num_undecided=num_undecided,
            num_diverged=num_diverged,
            cpu_seconds=round(time.process_time() - started, 2),
        )

    def _optimizer(self, minimum: Minimum, w: Tensor) -> torch.optim.Optimizer:
        """Return the shipped optimizer of the walkers with its initial state."""
        optimizer = make_optimizer(self.rule, w, self.lr, BETAS)
        state = optimizer.state[w]
        if self.rule.mixing_weight is None:
            state["momentum_buffer"] = torch.zeros_like(w)
        else:
            second = torch.from_numpy(minimum.covariance.diagonal() / self.batch_size).float()
            state.update(
                step=torch.tensor(SETTLED_STEP),
                exp_avg=torch.zeros_like(w),
                exp_avg_sq=second.repeat(self.num_walkers, 1),
            )
        return optimizer


def check_steps(num_steps: int) -> list[int]:
    """Return the steps after which the walkers' basins are found; each is twice the one before.

    Example:
        >>> check_steps(200)
        [20, 40, 80, 160]
    """
    steps = [FIRST_CHECK]
    while 2 * steps[-1] <= num_steps:
        steps.append(2 * steps[-1])
    return steps


def _key(number: int, optimizer: str, temperature: float) -> str:
    return f"{number}/{optimizer}/{temperature:g}"


@functools.lru_cache(maxsize=64)
def _minimum(problem: NetworkProblem, w: tuple[float, ...]) -> Minimum:
    """Return the minimum; its Hessian is expensive, so a process keeps it for its simulations."""
    return Minimum(problem, torch.tensor(w, dtype=torch.float64))
