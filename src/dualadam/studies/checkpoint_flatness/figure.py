"""The figure of a flatness measurement: the spectral density of the Hessian."""

from __future__ import annotations

import math

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from dualadam.harness.figures import COLOURS, STYLE
from dualadam.studies.checkpoint_flatness.measure import FlatnessMeasures

SIZE = (5.6, 3.6)  # inches


def draw_spectrum(measures: FlatnessMeasures) -> Figure:
    """Draw the spectral density on a logarithmic axis, with the largest eigenvalues.

    The axis starts at a third of the height of a single eigenvalue.
    """
    density, values = measures.density, measures.top.values
    single = 1 / (measures.num_params * density.sigma * math.sqrt(2 * math.pi))
    floor = single / 3
    heights = np.maximum(density.density, floor)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE)
        axes = figure.subplots()
        axes.fill_between(density.grid, heights, floor, color=COLOURS[0], alpha=0.25, lw=0)
        axes.plot(density.grid, heights, color=COLOURS[0], lw=1.6, label="density")
        axes.axhline(single, color="black", lw=0.8, ls="--", label="height of one eigenvalue")
        label = "top eigenvalues (Lanczos)"
        axes.plot(values, [single] * len(values), "v", ms=6, color=COLOURS[1], label=label)
        axes.set_yscale("log")
        axes.set_ylim(floor, 3 * density.density.max())
        axes.set_xlabel("eigenvalue of the Hessian")
        axes.set_ylabel("density")
        axes.legend(fontsize=9, frameon=False)
    return figure
