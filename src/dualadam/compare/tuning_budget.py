"""The score that an arm reaches with a smaller budget of tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dualadam.compare.arm_summary import TunedPoint

BAND = (0.1, 0.9)  # quantiles over all choices of k points


@dataclass(frozen=True)
class BudgetPoint:
    """The best validation score of k points, over all choices of k of the tuned points."""

    k: int
    expected: float
    low: float  # ends of the central 80 %
    high: float


def budget_curve(points: Sequence[TunedPoint], sign: float) -> list[BudgetPoint]:
    r"""Return the expected best validation score after 1, 2, ..., N of the N tuned points.

    With the scores in order, worst first, the best of k points drawn without replacement is at
    most the i-th with probability

    .. math:: F_k(i) = \binom{i}{k} \Big/ \binom{N}{k}.

    The expectation over all choices is exact, and at k = N it is the score that was chosen. A point
    that diverged counts with its worst score.

    Args:
        points: of one arm.
        sign: -1 where a lower score is better.

    Example:
        >>> points = [TunedPoint({}, score, False) for score in (1.0, 3.0, 2.0)]
        >>> [round(p.expected, 3) for p in budget_curve(points, 1.0)]  # 8/3: two of three have 3
        [2.0, 2.667, 3.0]

    References:
        J. Dodge et al., Show your work, EMNLP 2019, whose estimator draws with replacement; R. Tang
        et al., Showing your work doesn't always work, ACL 2020, show that this is too low, and
        derive the one without replacement, used here.
    """
    scores = np.sort(sign * np.array([point.score for point in points]))  # the best is the last
    num_points = len(scores)
    at_most = np.ones(num_points)
    curve = []
    for k in range(1, num_points + 1):
        # C(i, k) / C(N, k) from C(i, k - 1) / C(N, k - 1)
        i = np.arange(1, num_points + 1)
        at_most = at_most * np.maximum(i - k + 1, 0) / (num_points - k + 1)
        expected = float(scores @ np.diff(at_most, prepend=0.0))
        # a choice may have exactly this probability, up to rounding
        low, high = (float(scores[np.searchsorted(at_most, q - 1e-12)]) for q in BAND)
        low, high = sorted((sign * low, sign * high))
        curve.append(BudgetPoint(k, sign * expected, low, high))
    return curve


def shown_budgets(num_points: int) -> list[int]:
    """Return the numbers of points that a table shows.

    Example:
        >>> shown_budgets(12)
        [1, 2, 4, 8, 12]
    """
    return [2**n for n in range(num_points.bit_length()) if 2**n < num_points] + [num_points]
