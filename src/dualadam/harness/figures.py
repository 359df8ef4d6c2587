"""Colours and style of every figure."""

from typing import Any

# Okabe and Ito's colours, then two more
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8C510A",
)  # fmt: skip
STYLE: Any = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "dualadam",  # the same records draw the same bytes
    "svg.fonttype": "path",
    "text.parse_math": False,  # a dollar sign in the name of an arm is a dollar sign
}
