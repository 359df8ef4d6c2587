"""Experiment: is the gradient noise the Hessian over the batch size, C = H / B?

At the network's minima, with intervals over the minima, and in regressions, with intervals over the
examples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from dualadam.harness.figures import COLOURS
from dualadam.studies.escape_networks.claims import (
    RATIO_BAND,
    Claim,
    Estimate,
    Floats,
    Table,
    bootstrap,
    weighted_slope,
)
from dualadam.studies.escape_networks.minima import MinimumRow
from dualadam.studies.escape_networks.regressions import RegressionRow

DIAGONAL_SLOPE = "slope of ln C_ii against ln H_ii"
TOP_RATIO = "B c / H along ten top eigenvectors"


def noise_claims(minima: Sequence[MinimumRow], regressions: Sequence[RegressionRow]) -> list[Claim]:
    """Return the claims on the network, then those on the regressions."""
    return [*_network_claims(minima), *_regression_claims(regressions)]


def _network_claims(minima: Sequence[MinimumRow]) -> list[Claim]:
    gamma = np.array([m.diagonal.gamma for m in minima])
    r = np.median([m.diagonal.r for m in minima])
    ratios = {
        "B c / H along the top eigenvector": np.array([m.noise_ratios[0] for m in minima]),
        TOP_RATIO: np.array([np.median(m.noise_ratios) for m in minima]),
        "B C_ii / H_ii": np.array([m.diagonal.ratio for m in minima]),
    }
    log_h, log_c = np.log([m.curvature for m in minima]), np.log([m.noise for m in minima])
    across = bootstrap(lambda w: weighted_slope(log_h, log_c, w), len(minima), seed=5)
    return [
        Claim.of_slope(
            Table.NOISE, f"network: {DIAGONAL_SLOPE}", 1.0, _median(gamma),
            f"median of {len(minima)}; {_range(gamma)}, r {r:.2f}",
        ),
        *(
            Claim.of_ratio(
                Table.NOISE, f"network: {label}", _median(values),
                f"median of {len(minima)}; {_range(values)}",
            )
            for label, values in ratios.items()
        ),
        Claim.of_slope(
            Table.NOISE, "network: slope of ln c against ln H from minimum to minimum", 1.0, across,
            "along the top eigenvector",
        ),
    ]  # fmt: skip


def _regression_claims(regressions: Sequence[RegressionRow]) -> list[Claim]:
    made, note = [], "bootstrap over examples"
    for row in regressions:
        if row.gamma is not None and "gamma" in row.intervals:
            slope = Estimate(row.gamma, *row.intervals["gamma"])
            label = f"{row.name}: {DIAGONAL_SLOPE}"
            made.append(Claim.of_slope(Table.NOISE, label, 1.0, slope, note))
        ratio = Estimate(row.top_ratio, *row.intervals["top_ratio"])
        made.append(Claim.of_ratio(Table.NOISE, f"{row.name}: {TOP_RATIO}", ratio, note))
    return made


def _median(values: Floats) -> Estimate:
    return bootstrap(
        lambda weights: float(np.median(np.repeat(values, weights.astype(int)))),
        len(values),
        seed=4,
    )


def _range(values: Floats) -> str:
    return f"{values.min():.2f} to {values.max():.2f}"


def noise_figure(minima: Sequence[MinimumRow], regressions: Sequence[RegressionRow]) -> Figure:
    """Draw B c / H along the top eigenvectors of the network's minima, and in the regressions."""
    figure = Figure(figsize=(10.5, 3.6))
    left, right = figure.subplots(1, 2)
    for m in minima:
        ranks = range(1, len(m.noise_ratios) + 1)
        left.plot(ranks, m.noise_ratios, ".", color=COLOURS[0], alpha=0.5)
    left.set(
        xlabel="eigenvector, by descending eigenvalue",
        ylabel="B c / H",
        title=f"Network, {len(minima)} minima",
        ylim=(0, 1.3),
    )
    from_below = list(reversed(regressions))
    for i, row in enumerate(from_below):
        right.plot(row.intervals["top_ratio"], [i, i], "-", color=COLOURS[1], lw=2)
        right.plot(row.top_ratio, i, "o", color=COLOURS[1])
    right.set_yticks(range(len(from_below)), [row.name for row in from_below], fontsize=8)
    right.set(xlabel="B c / H, median over ten eigenvectors", title="Regressions", xlim=(0, 1.3))
    _mark_one(left.axhspan, left.axhline)
    _mark_one(right.axvspan, right.axvline)
    return figure


def _mark_one(span: Callable[..., object], line: Callable[..., object]) -> None:
    """Shade the band of ratios that count as 1."""
    span(*RATIO_BAND, color="grey", alpha=0.12, lw=0)
    line(1.0, color="black", lw=0.8)
