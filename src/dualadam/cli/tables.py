"""What the commands print of a study: its plan, its estimate, its summary."""

from __future__ import annotations

import rich.box
from rich.console import Console
from rich.table import Table

from dualadam.compare.budget import duration
from dualadam.compare.control import reference_lr
from dualadam.compare.estimate import Estimate
from dualadam.compare.plan import Plan
from dualadam.compare.report_tables import score_rows, settings_text
from dualadam.compare.spec import Spec
from dualadam.compare.spec_tables import Block
from dualadam.compare.summary import Summary
from dualadam.compare.verdict_wording import interval_sentence, verdict_sentence
from dualadam.compare.wording import minus

MOST_POINTS = 20  # of an arm that a plan shows


def print_plan(plan: Plan, console: Console) -> None:
    """Print every point of every arm, the number of runs, and the primary comparison."""
    spec = plan.spec
    console.print(f"{spec.name}: {_training(spec)}")
    for block in spec.block:
        title = f"{block.name}: weight decay {_decay(spec, block)}"
        table = Table(title=title, title_justify="left")
        table.add_column("Arm")
        table.add_column("Points, in the order they are tried" if spec.points else "Setting")
        for arm in block.arm:
            points = plan.settings[block.name, arm.name]
            shown = "; ".join(map(settings_text, points[:MOST_POINTS]))
            more = len(points) - MOST_POINTS
            table.add_row(arm.name, f"{shown}; and {more:,} more" if more > 0 else shown)
        console.print(table)
    judged = plan.num_runs - plan.num_tuning_runs
    since = f", from {spec.first_seed:,} on" if spec.first_seed else ""
    console.print(
        f"{plan.num_tuning_runs:,} tuning runs, then {judged:,} judged runs "
        f"({spec.seeds} paired seeds per arm{since})."
    )
    console.print(
        f"Decided by: {minus(spec.primary.arm, spec.primary.against)}, the 95 % interval of the "
        f"paired differences against a margin of {_margin(spec)}."
    )


def _decay(spec: Spec, block: Block) -> str:
    decay, reference = block.weight_decay, reference_lr(spec, block)
    if reference is None:
        return f"{decay:g}"
    return f"{decay:g} at lr {reference:g}, {decay * reference:.3g} per step in every arm"


def _training(spec: Spec) -> str:
    if spec.train is not None:
        steps = f", {spec.steps:,} steps a run" if spec.steps else ""
        return f"your own training, {spec.command or spec.train}{steps}"
    length = f"{spec.total_steps:,} steps" if spec.total_steps else f"{spec.epochs} epochs"
    trained = ", ".join(filter(None, (spec.task, spec.model)))
    batches = f"batches of {spec.batch_size}, {spec.schedule} schedule"
    return f"{trained}, {length} a run, {batches}"


def print_estimate(cost: Estimate, console: Console) -> None:
    """Print the time of a step of every arm, or of a run, and of the study."""
    steps = any(arm.time.step is not None for arm in cost.arms)
    what = "Milliseconds a step" if steps else "Seconds a run"
    table = Table("Arm", what, "Runs", box=rich.box.SIMPLE_HEAD)
    for arm in cost.arms:
        number = f"{1000 * (arm.time.step or 0):.2f}" if steps else f"{arm.time.tuning:.2f}"
        table.add_row(arm.arm, number, str(cost.tuning_runs + cost.judged_runs))
    console.print(table)
    if cost.seconds is None:
        console.print("The number of steps depends on the size of your data, not known here.")
        return
    length = f" of {cost.steps_per_run:,} steps" if cost.steps_per_run else ""
    console.print(
        f"{cost.num_runs} runs{length}, {cost.width} side by side: about {duration(cost.seconds)}"
        f"{'' if cost.evaluations else ', evaluations not counted'}."
    )
    console.print(f"The start of the workers, once: {cost.start_up:.1f} s more.")


def print_summary(summary: Summary, console: Console) -> None:
    """Print the scores of every block, and the verdict; 80 columns are enough."""
    name, metric = summary.spec.judged_by
    unit = f" ({metric.unit})" if metric.unit else ""
    columns = ("Arm", "Tuned setting", "Mean and 95 %", "n", "Difference", "Verdict", "Div.")
    for block in summary.spec.block:
        title = f"Test {name}{unit}, {block.name}; control: {summary.control[block.name]}"
        table = Table(
            title=title, title_justify="left", box=rich.box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
        )
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in score_rows(summary, block):
            table.add_row(
                row.arm,
                row.setting.replace(", ", "\n"),
                f"{row.mean}\n{row.interval}",
                row.n,
                row.difference.replace(" [", "\n[").replace("; ", "\n"),
                row.verdict.partition(" (")[0],
                row.diverged.partition(" of ")[0],
            )
        console.print(table)
    console.print(verdict_sentence(summary))
    console.print(interval_sentence(summary))


def _margin(spec: Spec) -> str:
    margin = spec.primary.margin
    return "the spread of the tuning runs" if margin is None else f"{margin:g}"
