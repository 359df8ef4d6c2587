"""What the subcommands of the command line do."""

from __future__ import annotations

import functools
import os
import shlex
import sys
import time
from concurrent.futures import Executor
from pathlib import Path

import rich.box
from rich.console import Console
from rich.table import Table

from dualadam.compare.execute import execute, open_study
from dualadam.compare.optimizers import OPTIMIZERS
from dualadam.compare.plan import Plan, make_plan
from dualadam.compare.report import console_table, write_report
from dualadam.compare.spec_file import builtin_specs, load_spec
from dualadam.compare.summary import Summary
from dualadam.compare.train import time_step
from dualadam.harness.executors import dask_executor, process_executor
from dualadam.harness.progress import ConsoleProgress
from dualadam.tasks import TASKS, TaskEntry, check_data, check_device, get_task


def compare(
    source: str,
    out: Path | None,
    *,
    data: str | None,
    workers: int,
    cluster: str | None,
    device: str,
    dry_run: bool,
    estimate: bool,
    smoke: bool,
) -> None:
    """Run a study, or go on with it, and report."""
    console, errors = _console(), Console(stderr=True, markup=False, soft_wrap=True)
    spec = load_spec(source)
    spec = spec.smoke_test(device) if smoke else spec
    for warning in spec.warnings():
        errors.print(f"Warning: {warning}", markup=False)
    plan = make_plan(spec)
    if dry_run:
        _print_plan(plan, console)
        try:
            check_data(spec.task, data, spec.fine_tuning)
        except (FileNotFoundError, ImportError) as error:
            errors.print(f"Warning: {error}")
        return
    if not cluster:  # whose machines have devices and folders of their own
        check_device(device)
    workers = workers or (_num_cores() if device == "cpu" else 1)
    executors = dask_executor(cluster) if cluster else process_executor(workers)
    if estimate:
        with executors as (executor, width):
            _print_estimate(plan, executor, width(), device, console)
        return
    if not cluster:
        if spec.fine_tuning:  # read and tokenised here: what is wrong with texts or tokenizer is told once, and not by every run
            get_task(spec.task, data, spec.subset, device, spec.precision, spec.fine_tuning)
        else:
            check_data(spec.task, data)
    folder = out or Path("runs") / spec.name
    given = {
        "--out": out,
        "--data": data,
        "--cluster": cluster,
        "--device": device if device != "cpu" else None,
    }
    again = shlex.join(
        [
            "dualadam",
            "compare",
            source,
            *(str(part) for k, v in given.items() if v for part in (k, v)),
            *["--smoke"] * smoke,
        ]
    )
    where = f"on {cluster}" if cluster else f"{workers} side by side"
    with open_study(folder, spec) as store:
        console.print(
            f"{spec.title or spec.name}: {plan.num_runs} runs, {where}, into {folder}",
            markup=False,
            highlight=False,
        )
        started = time.monotonic()
        try:
            with ConsoleProgress(console) as progress, executors as (executor, width):
                execute(plan, store, executor, width, data=data, device=device, progress=progress)
        except KeyboardInterrupt:
            ready = f"{len(store.records)} finished runs are in {store.path}"
            errors.print(f"\nStopped. {ready}; `{again}` goes on from there.", markup=False)
            sys.exit(130)
        summary = write_report(folder)
    _print_summary(summary, console)
    console.print(
        f"\nReport: {folder / 'report.html'} (and report.md, summary.json, runs.jsonl), after {time.monotonic() - started:.0f} s",
        markup=False,
    )


def report(folder: Path) -> None:
    """Draw a report again."""
    console = _console()
    _print_summary(write_report(folder), console)
    console.print(f"\nReport: {folder / 'report.html'}", markup=False)


def list_everything() -> None:
    """Print what a spec can name."""
    console = _console()
    for title, rows in (
        (
            "Tasks",
            {
                name: f"{t.summary}; models: {', '.join(t.models)}{_others(t)}"
                for name, t in TASKS.items()
            },
        ),
        ("Optimizers", {name: entry.summary for name, entry in OPTIMIZERS.items()}),
        ("Built-in specs", {name: load_spec(name).title for name in builtin_specs()}),
    ):
        table = Table(
            title=title, title_justify="left", show_header=False, box=None, padding=(0, 2)
        )
        for name, summary in rows.items():
            table.add_row(name, summary)
        console.print(table)


def _others(entry: TaskEntry) -> str:
    return (
        f", a folder or a hub's name; metrics: {', '.join(entry.metrics)}" if entry.language else ""
    )


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _print_estimate(
    plan: Plan, executor: Executor, width: int, device: str, console: Console
) -> None:
    """Time one step of every arm on synthetic batches, as many side by side as runs will be, and say how long the study takes."""
    spec = plan.spec
    runs = list(
        {
            (run.block, run.arm): run for run in plan.judged_runs(dict.fromkeys(plan.settings, 0))
        }.values()
    )
    seconds = list(executor.map(functools.partial(time_step, device=device), runs))
    table = Table("Arm", "Milliseconds a step", "Runs", box=rich.box.SIMPLE_HEAD)
    per_arm = plan.num_runs // len(runs)
    for run, second in zip(runs, seconds, strict=True):
        table.add_row(run.arm, f"{1000 * second:.2f}", str(per_arm))
    console.print(table)
    if spec.total_steps is None:
        console.print(
            f"How many steps a run has, only the data of {spec.task!r} tells.", markup=False
        )
        return
    total = sum(seconds) * per_arm * spec.total_steps / width
    length = f"{plan.num_runs} runs of {spec.total_steps:,} steps, {width} side by side"
    console.print(
        f"{length}: about {_duration(total)}, evaluations not counted.",
        markup=False,
        highlight=False,
    )


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def _console() -> Console:
    """A console that does not fold lines at 80 columns where there is no terminal to fold them for."""
    console = Console(markup=False)  # a name such as "[/b]" stands for itself
    return console if console.is_terminal else Console(width=max(120, console.width), markup=False)


def _print_plan(plan: Plan, console: Console) -> None:
    spec = plan.spec
    steps = f"{spec.total_steps:,} steps" if spec.total_steps else f"{spec.epochs} epochs"
    console.print(
        f"{spec.name}: {spec.task}, {spec.model}, {steps} a run, batches of {spec.batch_size}, {spec.schedule} schedule",
        markup=False,
    )
    for block in spec.block:
        table = Table(
            title=f"{block.name}: weight decay {block.weight_decay:g}", title_justify="left"
        )
        table.add_column("Arm")
        table.add_column("Points, in the order they are tried" if spec.points else "Setting")
        for arm in block.arm:
            points = plan.settings[block.name, arm.name]
            table.add_row(
                arm.name,
                "; ".join(
                    ", ".join(f"{k} {v}" for k, v in p.items()) or "defaults" for p in points
                ),
            )
        console.print(table)
    tuning = len(plan.tuning_runs)
    console.print(
        f"{tuning} tuning runs, then {plan.num_runs - tuning} judged ones ({spec.seeds} paired seeds an arm).",
        markup=False,
    )
    p = spec.primary
    console.print(
        f"Decided by: {p.arm} less {p.against}, 95 % interval of paired differences against a margin of {p.margin:g}.",
        markup=False,
    )


def _print_summary(summary: Summary, console: Console) -> None:
    for table in console_table(summary):
        console.print(table)
    console.print(summary.sentence, markup=False, highlight=False)
