"""Which points `dualadam escape` measures: pure, so that the tables can be planned, counted and resumed without running anything."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np

from dualadam.diffusion.landscapes import DoubleWell, Landscape, SpectrumWell
from dualadam.diffusion.noise import ConstantNoise, HessianNoise, Noise, PathNoise
from dualadam.diffusion.quadrature import mean_first_passage_time
from dualadam.diffusion.rules import ADAM, INVADAM, SGD, Rule, mixture

RULES = (SGD, ADAM, INVADAM)
HEIGHT, LR = (
    0.1,
    0.04,
)  # with k = B = 1 every optimizer has an exponent of 5: the centre of all slopes
CENTRE = 2 * HEIGHT / LR
MIXING_WEIGHTS = (0.0, 0.5, 0.9, 0.98, 0.998, 1.0)
MIXTURE_V = 0.02
FLIP_V = (0.5, 1.0, 2.0)
FLOORS = (1e-2, 1e-3, 1e-4, 0.0)
STEPS = (0.04, 0.1, 0.25, 0.5, 1.0)  # lr p H
STEPPERS = (*((rule.name, rule, 0.9) for rule in RULES), ("SGD without momentum", SGD, 0.0))


@dataclass(frozen=True)
class Point:
    """One escape time: measured, and by quadrature where the landscape has one dimension.

    Attributes:
        key: names the point and seeds it; table/series/number.
        x: what the series varies (a curvature, a batch size, a learning rate, a second moment, ...).
        longest: most steps that a walker is given; beyond it the result is censored.
    """

    key: str
    x: float
    landscape: Landscape
    noise: Noise
    rule: Rule
    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    longest: int = 2_000_000

    @property
    def seed(self) -> int:
        """A seed of its own for every key, the same in every run."""
        return zlib.crc32(self.key.encode())

    def size(self, num_escapes: int, shortest: int) -> tuple[int, int]:
        """Return (num_walkers, num_steps) expected to give num_escapes, with at least `shortest` steps, many relaxation times."""
        one_dimensional = self.landscape.dim == 1
        log_time = (
            mean_first_passage_time(self.landscape, self.noise, self.rule, self.lr, frozen=True)
            if one_dimensional
            else CENTRE + 6
        )
        tau = math.exp(min(log_time, 30.0))
        num_walkers = int(min(16_384, max(256, num_escapes * tau / shortest)))
        if (
            num_walkers * self.longest < num_escapes * tau
        ):  # it will be censored whatever is spent on it
            num_walkers = min(2048, max(256, num_escapes))
        return num_walkers, int(min(self.longest, max(shortest, num_escapes * tau / num_walkers)))


@dataclass(frozen=True)
class Effort:
    """How much is spent on a plan: points per slope, largest exponent, escapes per point, fewest steps of a walker."""

    num_points: int = 5
    largest: float = 7.4
    num_escapes: int = 4000
    shortest: int = 20_000  # a walker's first relaxation takes about 150 steps, which then weighs under a per cent


FULL, QUICK = Effort(), Effort(num_points=3, largest=5.5, num_escapes=650, shortest=7000)


def plan(effort: Effort = FULL) -> list[Point]:
    """Return all points, with exponents from 3 to the largest in every slope."""
    exponents = np.geomspace(3, effort.largest, effort.num_points)
    points = [
        *_slopes(exponents),
        *_mixtures(exponents),
        *_order_flip(),
        *_selectivity(),
        *_several_dimensions(),
        *_failures(),
    ]
    assert len({p.key for p in points}) == len(points)
    return points


def _slopes(exponents: np.ndarray) -> list[Point]:
    points = []
    for rule in RULES:
        local = rule.local_exponent(1.0)
        for i, e in enumerate(exponents):
            k = float((CENTRE / e) ** (1 / local))
            points += [
                Point(
                    f"slope/{rule.name}/H/{i}", k, DoubleWell(k, HEIGHT), ConstantNoise(k), rule, LR
                ),
                Point(
                    f"slope/{rule.name}/B/{i}",
                    1 / k,
                    DoubleWell(1.0, HEIGHT),
                    ConstantNoise(k),
                    rule,
                    LR,
                ),
                Point(
                    f"slope/{rule.name}/lr/{i}",
                    LR * CENTRE / e,
                    DoubleWell(1.0, HEIGHT),
                    ConstantNoise(1.0),
                    rule,
                    float(LR * CENTRE / e),
                ),
            ]
    return points


def _mixtures(exponents: np.ndarray) -> list[Point]:
    points = []
    for a in MIXING_WEIGHTS:
        rule = mixture(a)
        lr = LR / rule.preconditioner(MIXTURE_V)  # so that lr p H is the same for all
        for i, e in enumerate(exponents):
            k = float((CENTRE / e) ** (1 / rule.local_exponent(MIXTURE_V)))
            points.append(
                Point(
                    f"mixture/{a:g}/H/{i}",
                    k,
                    DoubleWell(k, HEIGHT * MIXTURE_V),
                    ConstantNoise(k * MIXTURE_V),
                    rule,
                    lr,
                )
            )
    return points


def _order_flip() -> list[Point]:
    return [
        Point(
            f"flip/{rule.name}/{v:g}", v, DoubleWell(1.0, HEIGHT * v), ConstantNoise(v), rule, 0.05
        )
        for rule in RULES
        for v in FLIP_V
    ]


def _selectivity() -> list[Point]:
    points = []
    for rule in RULES:
        lr = (
            2 * HEIGHT / (3 * 1.6 ** rule.local_exponent(1.0))
        )  # an exponent of 3 at the sharp minimum
        for name, k in (("sharp", 1.6), ("flat", 1.0)):
            points.append(
                Point(
                    f"selectivity/{rule.name}/{name}",
                    k,
                    DoubleWell(k, HEIGHT),
                    ConstantNoise(k),
                    rule,
                    lr,
                )
            )
    return points


def _several_dimensions() -> list[Point]:
    return [
        Point(
            f"dimensions/{rule.name}/{r:g}",
            r,
            SpectrumWell((1.0, 1.0, 1.5), HEIGHT, narrowing=r),
            ConstantNoise(1.0),
            rule,
            LR,
        )
        for rule in RULES
        for r in (1.0, 2.0)
    ]


def _failures() -> list[Point]:
    well, lr = DoubleWell(1.0, HEIGHT), 0.06
    points = [
        Point("prefactor/SGD", 0.0, well, PathNoise(well, 1.0, 0.5), SGD, lr, (0.0, 0.0)),
        Point("momentum/SGD", 0.9, well, PathNoise(well, 1.0, 0.5), SGD, lr, (0.9, 0.0)),
        *(
            Point(
                f"memory/{rule.name}",
                0.999,
                well,
                PathNoise(well, 1.0, 0.5),
                rule,
                lr,
                (0.0, 0.999),
            )
            for rule in (ADAM, INVADAM)
        ),
    ]
    low = DoubleWell(1.0, 0.02)
    for rule in RULES:
        for floor in FLOORS:
            points.append(
                Point(
                    f"literal/{rule.name}/{floor:g}",
                    floor,
                    low,
                    HessianNoise(low, 1.0, floor),
                    rule,
                    LR,
                    (0.0, 0.9),
                    longest=20_000,
                )
            )
    for name, rule, beta1 in STEPPERS:
        for step in STEPS:
            steep = DoubleWell(1.0, CENTRE * step / 2)
            points.append(
                Point(
                    f"step/{name}/{step:g}",
                    step,
                    steep,
                    ConstantNoise(1.0),
                    rule,
                    step,
                    (beta1, 0.999),
                )
            )
    for rule in RULES:
        for i, e in enumerate(np.geomspace(3, 5.5, 3)):
            k = float((CENTRE / e) ** (1 / (2 * rule.local_exponent(1.0))))
            points.append(
                Point(
                    f"gamma/{rule.name}/{i}",
                    k,
                    DoubleWell(k, HEIGHT),
                    ConstantNoise(k**2),
                    rule,
                    LR,
                )
            )
    return points
