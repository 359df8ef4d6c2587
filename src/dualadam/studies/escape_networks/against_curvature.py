"""Experiment: how do the exponent and the escape time depend on the curvature of the minimum?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dualadam.harness.figures import COLOURS
from dualadam.studies.escape_networks.claims import Claim, Floats, Table, bootstrap, subject
from dualadam.studies.escape_networks.samples import (
    EscapeSample,
    WeibullFit,
    fit_exponents,
    fit_times,
)
from dualadam.studies.escape_networks.settings import RULES

# theory's slope of ln E against ln H, by optimizer
THEORY = {rule.name: -rule.local_exponent(1.0) for rule in RULES}
COLOUR = dict(zip(THEORY, (COLOURS[6], COLOURS[0], COLOURS[1]), strict=True))
# ln tau: from the first check up to the time at risk of 40 walkers (12.2), with room for a legend
LOG_TIME_AXIS = (2.0, 14.5)


def curvature_claims(samples: Sequence[EscapeSample]) -> list[Claim]:
    """Return the slopes of the exponents, then those of the escape times."""
    exponents = [_exponent_claim(sample) for sample in samples]
    return [*exponents, *map(_time_claim, samples)]


def _exponent_claim(sample: EscapeSample) -> Claim:
    best = fit_exponents(sample, _ones(sample))

    def slope(weights: Floats) -> float:
        return float(fit_exponents(sample, weights, best).slope)

    return Claim.of_slope(
        Table.EXPONENT_AGAINST_CURVATURE,
        subject(sample.optimizer, sample.temperature),
        THEORY[sample.optimizer],
        bootstrap(slope, len(sample.curvature), seed=1),
        _note(f"E {math.exp(best.level):.2f}", best, sample),
    )


def _time_claim(sample: EscapeSample) -> Claim:
    """Return the slope of ln tau; theory's is E times that of ln E, the prefactor left out."""
    best = fit_times(sample, _ones(sample))
    exponent = math.exp(fit_exponents(sample, _ones(sample)).level)

    def slope(weights: Floats) -> float:
        return float(fit_times(sample, weights, best).slope)

    return Claim.of_slope(
        Table.TIME_AGAINST_CURVATURE,
        subject(sample.optimizer, sample.temperature),
        THEORY[sample.optimizer] * exponent,
        bootstrap(slope, len(sample.curvature), seed=1),
        _note(f"ln tau {best.level:.2f}", best, sample),
    )


def _ones(sample: EscapeSample) -> Floats:
    return np.ones(len(sample.curvature))


def _note(level: str, fit: WeibullFit, sample: EscapeSample) -> str:
    return (
        f"{level} at the median H, Weibull shape {math.exp(fit.log_shape):.2f}, "
        f"{sample.num_escapes.sum()} of {sample.first_elsewhere.size} left"
    )


def escapes_figure(samples: Sequence[EscapeSample]) -> Figure:
    """Draw every minimum's ln tau against H, with the fitted law of the exponent."""
    figure = Figure(figsize=(10.5, 3.9))
    for axes, rule in zip(figure.subplots(1, len(RULES), sharey=True), RULES, strict=True):
        for sample in (s for s in samples if s.optimizer == rule.name):
            _draw_sample(axes, sample, filled=sample.temperature == samples[0].temperature)
        axes.set(
            xscale="log",
            xlabel="largest eigenvalue H",
            title=f"{rule.name} (theory {THEORY[rule.name]:g})",
            ylim=LOG_TIME_AXIS,
        )
        axes.set_xticks(ticks := [0.35, 0.4, 0.5, 0.6, 0.7], [f"{t:g}" for t in ticks])
        axes.minorticks_off()
        axes.legend(fontsize=8, loc="upper left")
        if rule is RULES[0]:
            axes.set_ylabel("ln escape time (steps)")
    figure.suptitle(
        "Dots: one minimum each. Triangles: no escape, the time at risk. "
        "Lines: fitted law of the exponent.",
        fontsize=10,
    )
    return figure


def _draw_sample(axes: Axes, sample: EscapeSample, filled: bool) -> None:
    h, log_times, colour = sample.curvature, sample.log_times, COLOUR[sample.optimizer]
    escaped = np.isfinite(log_times)
    fit = fit_exponents(sample, _ones(sample))
    face = colour if filled else "white"
    label = f"T = {sample.temperature:g}, slope {fit.slope:.1f}"
    axes.plot(h[escaped], log_times[escaped], "o", ms=4, color=colour, mfc=face, label=label)
    lasted = np.where(np.isfinite(sample.first_elsewhere), sample.first_elsewhere, sample.last_home)
    at_risk = np.log(lasted.sum(1))
    axes.plot(h[~escaped], at_risk[~escaped], "^", ms=6, color=colour, mfc=face)
    law = sample.log_prefactor + np.exp(fit.level + fit.slope * sample.log_curvature)
    axes.plot(h, np.clip(law, *LOG_TIME_AXIS), "-" if filled else "--", lw=1, color=colour)
