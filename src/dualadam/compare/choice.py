"""What the choice of settings adds to the noise of a difference, from the tuning runs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy.stats import t

from dualadam.compare.plan import Trials
from dualadam.compare.stats import QUANTILES, Difference, Floats

MIN_TUNING_SEEDS = 3  # two resampled seeds are often one seed twice
NUM_RESAMPLES = 2_000


def choice_spread(first: Trials, against: Trials, rng: np.random.Generator) -> float:
    r"""Return by how much another choice of both arms' settings would move their difference.

    The tuning seeds are drawn again with replacement, the same for all points of both arms, and
    each arm chooses its best point anew. The result is

    .. math:: \sqrt{\operatorname{mean}_b\,
        \bigl[(\bar v(k^b) - \bar v(\hat k)) - (\bar w(l^b) - \bar w(\hat l))\bigr]^2},

    where :math:`\bar v(k)` and :math:`\bar w(l)` are the mean validation scores of the arms'
    points, :math:`\hat k, \hat l` the points chosen and :math:`k^b, l^b` those chosen in resample
    b. Resampled means deviate from :math:`\bar v` by a factor of :math:`\sqrt{T / (T - 1)}` more
    than drawn, since the spread of T resampled seeds is too small by it.

    Args:
        first, against: by point, (score, -loss) of each tuning seed, in the same order of seeds.
            Greater is better.
        rng: draws the resamples.

    Example:
        >>> clear = {0: [(9.0, 0.0), (9.1, 0.0), (9.2, 0.0)], 1: [(5.0, 0.0), (5.2, 0.0), (5.1, 0)]}
        >>> choice_spread(clear, clear, np.random.default_rng(0))  # no seed chooses otherwise
        0.0

    References:
        X. Bouthillier et al., Accounting for variance in machine learning benchmarks, MLSys 2021:
        the variance of tuning is part of a benchmark's, and more judged seeds do not reduce it.
    """
    num_seeds = len(next(iter(first.values())))
    drawn = rng.integers(num_seeds, size=(NUM_RESAMPLES, num_seeds))
    weights = (drawn[:, :, None] == np.arange(num_seeds)).mean(1)  # (resamples, seeds)
    moved = _moved(first, weights) - _moved(against, weights)
    return float(np.sqrt((moved**2).mean()))


def add_choice(difference: Difference, spread: float, *, decides: bool) -> Difference:
    r"""Return a difference with its interval over the judged seeds and the choice of settings.

    Its half-width is :math:`t_{n-1, 0.975} \sqrt{s^2 / n + c^2}`.

    Args:
        difference: over the judged seeds.
        spread: c, see ``choice_spread``.
        decides: whether this interval, and its p value, are those that decide.

    Example:
        >>> from dualadam.compare.stats import paired_difference
        >>> rng = np.random.default_rng(0)
        >>> d = paired_difference([3.0, 4.0, 6.0], [1.0, 2.0, 3.0], rng)
        >>> wider = add_choice(d, 0.5, decides=True)
        >>> wider.low < d.low == wider.judged[0], wider.p > d.p
        (True, True)
    """
    if math.isnan(difference.low):  # too few seeds for an interval
        return difference
    if not difference.ends(""):
        return replace(difference, choice=spread)
    critical = float(t.ppf(QUANTILES[1], difference.n - 1))
    half = math.hypot(difference.high - difference.mean, critical * spread)
    low, high = difference.mean - half, difference.mean + half
    both = replace(difference, choice=spread, with_choice=(low, high))
    if not decides or not spread:
        return both
    p = 2 * float(t.sf(abs(difference.mean) * critical / half, difference.n - 1))
    return replace(both, low=low, high=high, p=p)


def _moved(trials: Trials, weights: Floats) -> Floats:
    """Return the score of the point that each resample chooses, less that of the chosen point."""
    table = np.array([trials[trial] for trial in sorted(trials)])  # (points, seeds, 2)
    scores = table[:, :, 0]
    losses = np.maximum(table[:, :, 1], -1e300)  # a diverged run's is infinite
    num_seeds, means = scores.shape[1], scores.mean(1)
    enlarged = means + math.sqrt(num_seeds / (num_seeds - 1)) * (weights @ scores.T - means)
    chosen = _best(means[None], losses.mean(1)[None])
    again = _best(enlarged, weights @ losses.T)
    return means[again] - means[chosen]


def _best(scores: Floats, minus_losses: Floats) -> np.ndarray:
    """Return the best point of each row, by the rule of ``plan.best_trial``."""
    rounding = 1e-12 * np.abs(scores).max()
    tied = scores >= scores.max(1, keepdims=True) - rounding
    return np.where(tied, minus_losses, -np.inf).argmax(1)
