"""What `dualadam audit` prints."""

from __future__ import annotations

from pathlib import Path

import rich.box
from rich.console import Console
from rich.table import Table

from dualadam.compare.audit import Audit
from dualadam.compare.replay import Replay

MOST_FINDINGS = 20


def print_audit(audit: Audit, folder: Path, console: Console) -> None:
    """Print what the files state that does not follow, and every repeated run."""
    if audit.findings:
        table = Table("Place", "Stated", "From the runs", box=rich.box.SIMPLE_HEAD)
        for finding in audit.findings[:MOST_FINDINGS]:
            table.add_row(finding.place, finding.stated, finding.found)
        console.print(table)
        more = len(audit.findings) - MOST_FINDINGS
        also = f", {more} of them not shown" if more > 0 else ""
        console.print(
            f"{len(audit.findings)} statements in {folder} do not follow from its runs{also}. "
            "`dualadam report` draws the report again."
        )
    else:
        console.print(
            f"Every number and verdict in report.md and summary.json follows from the "
            f"{audit.num_runs} runs in {folder}, and these are the runs of its plan."
        )
    if audit.replays:
        _print_replays(audit, console)


def _print_replays(audit: Audit, console: Console) -> None:
    table = Table(
        "Run", "Recorded", "Made again", "Learning curve", "Result", box=rich.box.SIMPLE_HEAD
    )
    for one in audit.replays:
        table.add_row(one.recorded.run.label, *_scores(one), one.curve, _result(one))
    console.print(table)
    agreeing = sum(one.agrees for one in audit.replays)
    console.print(f"{agreeing} of {len(audit.replays)} runs gave the same bits again.")
    for difference in dict.fromkeys(d for one in audit.replays for d in one.environment):
        console.print(f"Recorded elsewhere, where bits may differ: {difference}.")
    if agreeing < len(audit.replays) and not any(one.environment for one in audit.replays):
        console.print("The versions are the recorded ones; another model of CPU may still differ.")


def _scores(one: Replay) -> tuple[str, str]:
    records = (one.recorded, one.replayed)
    splits = [None if r is None else r.test or r.validation for r in records]
    recorded, again = ("" if split is None else repr(split.score) for split in splits)
    return recorded, again


def _result(one: Replay) -> str:
    if one.error:
        return f"not made: {one.error}"
    return "the same" if one.agrees else f"differs: {', '.join(one.differing)}"
