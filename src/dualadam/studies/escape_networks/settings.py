"""What decides the numbers of the study."""

from __future__ import annotations

from dataclasses import dataclass, field

from dualadam.diffusion import ADAM, INVADAM, SGD
from dualadam.studies.escape_networks.network import NetworkProblem

RULES = (SGD, ADAM, INVADAM)
BETAS = (0.9, 0.999)


@dataclass(frozen=True)
class Settings:
    """The sizes of the study.

    Attributes:
        problem: the loss.
        batch_size: of the walkers' mini-batches, drawn with replacement.
        num_starts: trainings that the minima are chosen from.
        num_minima: minima that walkers escape from.
        temperatures: T along the top eigenvector at the median minimum, in the unit of the loss.
            They determine the learning rate of each optimizer.
        num_walkers: of each minimum, optimizer and temperature.
        num_steps: upper limit of a walker's steps. A walker still at home then is censored.
    """

    problem: NetworkProblem = field(default_factory=NetworkProblem)
    batch_size: int = 16
    num_starts: int = 80
    num_minima: int = 30
    temperatures: tuple[float, ...] = (0.008, 0.016)
    num_walkers: int = 40
    num_steps: int = 5120


FULL = Settings()
QUICK = Settings(num_starts=24, num_minima=10, num_walkers=8, num_steps=1280)
