"""What the shadows of an arm's judged runs found, together."""

from __future__ import annotations

from dualadam.compare import stats
from dualadam.compare.arm_summary import TunedArm
from dualadam.compare.report_tables import Table
from dualadam.compare.shadow_result import ShadowResult
from dualadam.compare.summary import Summary


def arm_shadow(row: TunedArm) -> ShadowResult | None:
    """Return the mean over an arm's judged runs that finished; None where there is no shadow."""
    found = [record.shadow for record in row.judged if record.shadow and not record.diverged]
    return ShadowResult.mean(found) if found else None


def shadow_table(summary: Summary) -> Table | None:
    """Return the mean unexplained share of every arm, or None where no run has a shadow."""
    if not any(record.shadow for row in summary.arms for record in row.judged):
        return None
    rows = []
    for row in summary.arms:
        runs = [record.shadow for record in row.judged if record.shadow and not record.diverged]
        shares = [share for run in runs if (share := run.mean_unexplained) is not None]
        rows.append((summary.label(row), _share(shares), str(len(shares))))
    return Table(("Arm", "Mean unexplained share", "n"), rows)


def _share(shares: list[float]) -> str:
    if not shares:
        return ""
    if len(shares) < 2:
        return f"{shares[0]:.3g}"
    interval = stats.mean_interval(shares)
    return f"{interval.mean:.3g} {interval.ends('.3g')}".rstrip()
