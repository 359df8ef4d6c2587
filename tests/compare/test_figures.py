"""Figures show every run, also where there is little to draw."""

from dataclasses import replace

import pytest
from compare_cases import TINY, TWO_BLOCKS, drawn_records, finished

from dualadam.compare.figures import draw
from dualadam.compare.figures.plot import Look
from dualadam.compare.figures.training import curves
from dualadam.compare.spec_file import parse_spec
from dualadam.compare.summary import summarise


@pytest.mark.parametrize("points", [1, 2])
def test_a_learning_curve_of_one_point_can_be_seen(points):
    short = [replace(record, curve=record.curve[-points:]) for record in finished()[1]]
    above, below = curves(summarise(parse_spec(TINY), short)).figure.axes
    markers = {line.get_marker() for axes in (above, below) for line in axes.lines}
    assert markers == {"o" if points == 1 else "None"}


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
