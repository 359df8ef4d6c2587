"""The figures of a flatness measurement: the spectral density, and slices of the loss."""

from __future__ import annotations

import math

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from dualadam.harness.figures import COLOURS, STYLE
from dualadam.studies.checkpoint_flatness.measures import FlatnessMeasures
from dualadam.studies.checkpoint_flatness.slices import LossSlices

SIZE, TWO_PANELS = (5.6, 3.6), (9.2, 3.8)  # inches


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
        error = np.nan_to_num(density.standard_error)
        low, high = (np.maximum(density.density + z * error, floor) for z in (-2, 2))
        label = "twice its standard error"
        axes.fill_between(density.grid, low, high, color=COLOURS[4], alpha=0.5, lw=0, label=label)
        axes.axhline(single, color="black", lw=0.8, ls="--", label="height of one eigenvalue")
        label = "top eigenvalues (Lanczos)"
        axes.plot(values, [single] * len(values), "v", ms=6, color=COLOURS[1], label=label)
        axes.set_yscale("log")
        axes.set_ylim(floor, 3 * density.density.max())
        axes.set_xlabel("eigenvalue of the Hessian")
        axes.set_ylabel("density")
        axes.legend(fontsize=9, frameon=False)
    return figure


def draw_slices(slices: LossSlices) -> Figure:
    """Draw the loss along two random directions, and across both as contours."""
    a = slices.distances
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=TWO_PANELS)
        along, across = figure.subplots(1, 2)
        for losses, colour, name in zip(slices.along, COLOURS, ("first", "second"), strict=False):
            along.plot(a, losses, "o-", ms=3, lw=1.4, color=colour, label=f"{name} direction")
        along.set(xlabel="distance, in lengths of the weights", ylabel="loss")
        along.legend(fontsize=9, frameon=False)
        lines = across.contour(a, a, slices.across.T, levels=12, cmap="viridis")
        across.clabel(lines, fontsize=7)
        across.plot(0, 0, "+", color="black", ms=9)
        across.set(xlabel="first direction", ylabel="second direction", aspect="equal")
    return figure
