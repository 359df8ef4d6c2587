"""Figures show every run, also where there is little to draw."""

from dataclasses import replace

import pytest
from compare_cases import TINY, TWO_BLOCKS, drawn_records, finished

from dualadam.compare.figures import draw
from dualadam.compare.figures.plot import Look
from dualadam.compare.figures.scores import learning_rates
from dualadam.compare.figures.training import curves
from dualadam.compare.spec_file import parse_spec
from dualadam.compare.summary import summarise


@pytest.mark.parametrize("points", [1, 2])
def test_a_learning_curve_of_one_point_can_be_seen(points):
    short = [replace(record, curve=record.curve[-points:]) for record in finished()[1]]
    above, below = curves(summarise(parse_spec(TINY), short)).figure.axes
    for axes in (above, below):
        assert all(line.get_marker() != "None" for line in axes.lines)
        assert all(line.get_markevery() is None for line in axes.lines)


def test_lines_that_lie_on_each_other_have_markers_of_their_own_at_other_places():
    spec = parse_spec(TINY)
    drawn = curves(summarise(spec, finished()[1])).figure.axes[0].lines
    assert len({line.get_marker() for line in drawn}) == len(drawn) == len(spec.block[0].arm)
    assert len({line.get_markevery() for line in drawn}) == len(drawn)


@pytest.mark.parametrize(("lost", "panels"), [(0.0, 1), (40.0, 2)])
def test_points_that_a_bad_one_would_press_together_are_drawn_again_larger(lost, panels):
    spec = parse_spec(TINY)
    summary = summarise(spec, finished()[1])
    rows = [
        replace(
            row,
            tuning=tuple(
                replace(t, score=90.0 + i - (lost if k == 0 and i == 0 else 0))
                for i, t in enumerate(row.tuning)
            ),
        )
        for k, row in enumerate(summary.arms)
    ]
    axes = learning_rates(replace(summary, arms=rows)).figure.axes
    assert len(axes) == panels
    if panels == 2:
        assert axes[1].get_ylim()[0] > 80 > axes[0].get_ylim()[0]


def test_an_arm_has_one_colour_in_all_blocks_and_a_block_one_line():
    spec = parse_spec(TWO_BLOCKS)
    summary = summarise(spec, drawn_records(spec))
    look = Look.of(summary)
    drawn = curves(summary).figure.axes[0].lines
    styles = {(line.get_color(), line.get_linestyle()) for line in drawn}
    assert styles == {(c, m.line) for c in look.colours.values() for m in look.marks.values()}


def test_every_caption_begins_with_a_title_and_every_picture_has_it_as_its_label():
    for plot in draw(summarise(parse_spec(TINY), finished()[1])):
        assert 0 < len(plot.title) < 40
        assert plot.caption.endswith(".")
        assert f'aria-label="{plot.title}"' in plot.svg()
