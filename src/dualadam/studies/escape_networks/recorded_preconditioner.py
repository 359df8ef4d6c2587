"""What the preconditioners measured at the minima predict for the ratio of two optimizers.

The exponent is E = 2 barrier / (lr p c). At one minimum barrier and c are the same for two
optimizers, so theory predicts ln(E_1 / E_2) = ln p_2 - ln p_1 up to a constant, whatever p is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dualadam.studies.escape_networks.claims import Estimate, Floats, bootstrap, weighted_slope
from dualadam.studies.escape_networks.minima import MinimumRow
from dualadam.studies.escape_networks.paired_slopes import PAIRS, OptimizerPair
from dualadam.studies.escape_networks.samples import EscapeSample


@dataclass(frozen=True)
class RatioComparison:
    """Two optimizers: the ratio of their exponents by the recorded preconditioner, and measured.

    Attributes:
        pair: the optimizers.
        predicted: slope of the predicted ln(E_1 / E_2) against ln H, over the minima.
        correlations: of the predicted with the measured ln(E_1 / E_2) minimum by minimum, for each
            temperature.
    """

    pair: OptimizerPair
    predicted: Estimate
    correlations: dict[float, float]


def compare_ratios(
    minima: Sequence[MinimumRow], samples: Sequence[EscapeSample]
) -> list[RatioComparison]:
    """Compare every pair of optimizers, in the order of PAIRS.

    Args:
        minima: with their preconditioners.
        samples: the walkers at the same minima, in the same order.
    """
    by_name = {(sample.optimizer, sample.temperature): sample for sample in samples}
    temperatures = sorted({sample.temperature for sample in samples})
    log_h = np.log([minimum.curvature for minimum in minima])
    comparisons = []
    for pair in PAIRS:
        predicted = predicted_log_ratios(minima, pair)

        def slope(weights: Floats, predicted: Floats = predicted) -> float:
            return weighted_slope(log_h, predicted, weights)

        correlations = {
            t: _correlation(
                predicted,
                by_name[pair.first, t].log_exponents - by_name[pair.second, t].log_exponents,
            )
            for t in temperatures
        }
        estimate = bootstrap(slope, len(minima), seed=2)
        comparisons.append(RatioComparison(pair, estimate, correlations))
    return comparisons


def predicted_log_ratios(minima: Sequence[MinimumRow], pair: OptimizerPair) -> Floats:
    """Return ln p_2 - ln p_1 along the top eigenvector of every minimum."""
    first, second = (
        np.array([minimum.preconditioner[name] for minimum in minima]) for name in pair
    )
    return np.log(second) - np.log(first)


def _correlation(predicted: Floats, measured: Floats) -> float:
    """Return Pearson's r over the minima with a measured value."""
    known = np.isfinite(measured)
    return float(np.corrcoef(predicted[known], measured[known])[0, 1])
