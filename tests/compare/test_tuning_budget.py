"""The score that a smaller budget reaches is exact: it is that of all choices of k points."""

import itertools

import numpy as np
import pytest
from compare_cases import TINY, drawn_records

from dualadam.compare.arm_summary import TunedPoint
from dualadam.compare.figures.budget import budget
from dualadam.compare.report_tables import budget_table
from dualadam.compare.spec_file import parse_spec
from dualadam.compare.summary import summarise
from dualadam.compare.tuning_budget import budget_curve, shown_budgets


def points(scores):
    return [TunedPoint({"lr": 0.1}, score, False) for score in scores]


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("scores", [[3.0, 1.0, 4.0, 1.5, 9.0], [2.0, 2.0, 7.0], [5.0]])
def test_the_curve_is_the_mean_and_the_quantiles_over_all_choices(scores, sign):
    best = max if sign > 0 else min
    for point in budget_curve(points(scores), sign):
        chosen = [best(choice) for choice in itertools.combinations(scores, point.k)]
        assert point.expected == pytest.approx(np.mean(chosen), rel=1e-12)
        better = sorted(sign * score for score in chosen)
        ends = np.quantile(better, [0.1, 0.9], method="inverted_cdf")
        assert sorted(sign * ends) == pytest.approx([point.low, point.high])


def test_with_all_points_the_curve_ends_at_the_score_that_was_chosen():
    scores = np.random.default_rng(0).normal(90, 1, 40).tolist()
    curve = budget_curve(points(scores), 1.0)
    assert (curve[-1].expected, curve[-1].low, curve[-1].high) == pytest.approx([max(scores)] * 3)
    assert all(a.expected < b.expected for a, b in itertools.pairwise(curve))


def test_drawing_with_replacement_as_dodge_et_al_do_would_be_lower():
    scores = [1.0, 2.0, 3.0, 4.0]
    with_replacement = np.mean([max(c) for c in itertools.product(scores, repeat=4)])
    assert budget_curve(points(scores), 1.0)[-1].expected == 4.0 > with_replacement


@pytest.mark.parametrize(
    ("num_points", "shown"), [(1, [1]), (2, [1, 2]), (8, [1, 2, 4, 8]), (9, [1, 2, 4, 8, 9])]
)
def test_the_table_shows_powers_of_two_and_all_points(num_points, shown):
    assert shown_budgets(num_points) == shown


def test_the_table_and_the_figure_have_every_tuned_arm():
    spec = parse_spec(TINY.replace("points = 2", "points = 6"))
    summary = summarise(spec, drawn_records(spec))
    table, plot = budget_table(summary), budget(summary)
    assert table.columns == ("Arm", "1 point", "2 points", "4 points", "6 points")
    assert [row[0] for row in table.rows] == [arm.name for arm in spec.block[0].arm]
    for row, cells in zip(summary.arms, table.rows, strict=True):
        best = max(point.score for point in row.tuning)
        assert cells[-1] == f"{best:.4g} [{best:.4g}, {best:.4g}]"
    (axes,) = plot.figure.axes
    assert len(axes.lines) == len(summary.arms)
    assert all(line.get_xdata().tolist() == [1, 2, 3, 4, 5, 6] for line in axes.lines)
