"""The figure of score against flatness."""

from __future__ import annotations

from dualadam.compare.figures.plot import Look, Plot, metric_label, one_panel
from dualadam.compare.summary import Summary


def flatness(summary: Summary) -> Plot | None:
    """Draw the score of every judged run against its largest eigenvalue."""
    rows = [row for row in summary.arms if "top_eigenvalue" in row.flatness]
    if not rows:
        return None
    figure, ax = one_panel(3.6)
    look = Look.of(summary)
    found: list[float] = []
    for row in rows:
        marker, colour = look.marks[row.block].marker, look.colours[row.arm]
        for record in row.judged:
            top = record.flatness.top_eigenvalue if record.flatness else None
            if top is None or record.test is None:
                continue
            ax.scatter(top, record.test.score, s=24, alpha=0.7, color=colour, marker=marker)
            found.append(top)
    if min(found) > 0 and max(found) > 10 * min(found):
        ax.set_xscale("log")
    ax.set_xlabel("largest eigenvalue of the Hessian (smaller is flatter)")
    ax.set_ylabel(f"test {metric_label(summary)}")
    look.legend(figure, rows, points=True)
    caption = "Score against flatness: one point per judged run. The Hessian is that of the "
    caption += "training loss on the same examples in every run."
    return Plot("flatness", caption, figure)
