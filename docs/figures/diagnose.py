"""Draws docs/images/diagnose.png: one training where the inverse part acts, one where it does not.

Run it from the top of the repository: python docs/figures/diagnose.py
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn

from dualadam import DualAdam, diagnose, switch_rate_for
from dualadam.harness.figures import COLOURS, STYLE

PICTURE = Path(__file__).parents[1] / "images/diagnose.png"
STEPS = 200
THRESHOLD = 0.1  # of inverse / Adam: from here on the inverse part counts
Batches = Iterator[tuple[Tensor, Tensor]]


class Curves(NamedTuple):
    """One value per step of the hand-over."""

    title: str
    ratio: list[float]
    effective_weight: list[float]
    warmup: list[float]


def regression() -> Batches:
    """Yield batches of the README's example: large errors, and so large gradients."""
    while True:
        x = torch.randn(16, 8)
        yield x, x.sum(1, keepdim=True)


def digits() -> Batches:
    """Yield batches of handwritten digits, as bright as 0 to 1."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    while True:
        rows = torch.randint(len(x), (32,))
        yield x[rows], y[rows]


def train(title: str, model: nn.Module, loss: Callable[..., Tensor], batches: Batches) -> Curves:
    """Train until the hand-over ends, and diagnose every step."""
    optimizer = DualAdam(model.parameters(), lr=1e-3, switch_rate=switch_rate_for(STEPS))
    curves = Curves(title, [], [], [])
    while True:
        x, y = next(batches)
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
        (row,) = diagnose(optimizer)
        if row.mixing_weight == 0:
            return curves
        curves.ratio.append(row.ratio)
        curves.effective_weight.append(row.effective_weight)
        curves.warmup.append(1 - row.mixing_weight)


def both() -> tuple[Curves, Curves]:
    """Return the training where the inverse part acts, and the one where it does not."""
    torch.manual_seed(0)
    small = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    acts = train("A regression: it acts", small, nn.functional.mse_loss, regression())
    wide = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    rests = train("Digits: it does not act", wide, nn.functional.cross_entropy, digits())
    return acts, rests


def draw(trainings: tuple[Curves, ...], picture: Path) -> None:
    """Draw the ratio of the parts, and the mean weight beside that of a warm-up."""
    with mpl.rc_context({**STYLE, "text.parse_math": True}):
        figure = Figure(figsize=(6.4, 5.6))
        above, below = figure.subplots(2, 1, sharex=True)
        for curves, colour, marker in zip(trainings, COLOURS, "os", strict=False):
            steps = range(1, len(curves.ratio) + 1)
            look = {"color": colour, "marker": marker, "ms": 3.5, "label": curves.title}
            above.plot(steps, curves.ratio, **look)
            below.plot(steps, curves.effective_weight, **look)
        below.plot(steps, curves.warmup, color="black", ls="--", lw=1, label="a linear warm-up")
        above.axhline(THRESHOLD, color="black", ls=":", lw=1)
        above.annotate("0.1", (steps[-1], THRESHOLD), xytext=(4, 3), textcoords="offset points")
        above.set_yscale("log")
        above.set_ylabel("inverse / Adam")
        below.set_ylabel("mean w")
        below.set_xlabel("step of the hand-over")
        for axes in (above, below):
            axes.legend(frameon=False, fontsize=9)
        figure.savefig(picture, dpi=120)


if __name__ == "__main__":
    draw(both(), PICTURE)
    print(f"Wrote {PICTURE}")
