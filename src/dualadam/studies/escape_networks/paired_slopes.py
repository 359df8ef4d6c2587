"""Experiment: slopes of the exponent from pairs at the same minimum, where the barrier cancels.

Two optimizers at one temperature give the difference of their slopes against H. One optimizer at
two temperatures gives its slope against the learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from dualadam.harness.figures import COLOURS
from dualadam.studies.escape_networks.against_curvature import COLOUR, THEORY
from dualadam.studies.escape_networks.claims import (
    Claim,
    Floats,
    Table,
    bootstrap,
    subject,
    weighted_slope,
)
from dualadam.studies.escape_networks.samples import EscapeSample
from dualadam.studies.escape_networks.settings import RULES, Settings


class OptimizerPair(NamedTuple):
    """Two optimizers whose slopes are compared."""

    first: str
    second: str


PAIRS = (
    OptimizerPair("Adam", "SGD"),
    OptimizerPair("InvAdam", "SGD"),
    OptimizerPair("InvAdam", "Adam"),
)
SLOPE_AGAINST_LR = -1.0  # theory's, of ln E against ln lr


def paired_claims(samples: Sequence[EscapeSample], settings: Settings) -> list[Claim]:
    """Return the differences of slopes against H, then the slopes against lr."""
    by_name = {(sample.optimizer, sample.temperature): sample for sample in samples}
    cold, hot = min(settings.temperatures), max(settings.temperatures)
    differences = [
        _difference(by_name[pair.first, t], by_name[pair.second, t])
        for pair in PAIRS
        for t in settings.temperatures
    ]
    if cold == hot:
        return differences
    against_lr = [
        _slope_against_lr(by_name[rule.name, hot], by_name[rule.name, cold]) for rule in RULES
    ]
    return differences + against_lr


def _difference(first: EscapeSample, second: EscapeSample) -> Claim:
    log_ratio = first.log_exponents - second.log_exponents
    x = np.log(first.curvature)
    return Claim.of_slope(
        Table.DIFFERENCE,
        subject(first.optimizer, first.temperature, minus=second.optimizer),
        THEORY[first.optimizer] - THEORY[second.optimizer],
        bootstrap(lambda weights: weighted_slope(x, log_ratio, weights), len(x), seed=2),
        f"{np.isfinite(log_ratio).sum()} minima; the barrier cancels",
    )


def _slope_against_lr(hot: EscapeSample, cold: EscapeSample) -> Claim:
    slopes = (hot.log_exponents - cold.log_exponents) / math.log(hot.lr / cold.lr)
    known = np.isfinite(slopes)

    def mean(weights: Floats) -> float:
        total = weights[known].sum()
        return float(weights[known] @ slopes[known] / total) if total else math.nan

    return Claim.of_slope(
        Table.EXPONENT_AGAINST_LR,
        hot.optimizer,
        SLOPE_AGAINST_LR,
        bootstrap(mean, len(slopes), seed=3),
        f"{known.sum()} minima, each against itself",
    )


def slopes_figure(claims: Sequence[Claim], settings: Settings) -> Figure:
    """Draw every slope of the exponent with its interval, beside theory's."""
    shown = {
        Table.EXPONENT_AGAINST_CURVATURE: " against H",
        Table.DIFFERENCE: "",
        Table.EXPONENT_AGAINST_LR: " against lr",
    }
    colours = COLOUR | {
        subject(name, t): colour for name, colour in COLOUR.items() for t in settings.temperatures
    }
    slopes = [claim for claim in reversed(claims) if claim.table in shown]
    figure = Figure(figsize=(7.5, 0.34 * len(slopes) + 1.2))
    axes = figure.subplots()
    for i, claim in enumerate(slopes):
        colour = colours.get(claim.label, COLOURS[2])
        axes.plot([claim.low, claim.high], [i, i], "-", color=colour, lw=2)
        axes.plot(claim.value, i, "o", color=colour, ms=5)
        axes.plot(claim.theory, i, "|", color="black", ms=13, mew=2)
    axes.set_yticks(range(len(slopes)), [f"{c.label}{shown[c.table]}" for c in slopes])
    axes.set(xlabel="slope of the exponent (black: theory)")
    axes.axvline(0, color="grey", lw=0.8)
    return figure
