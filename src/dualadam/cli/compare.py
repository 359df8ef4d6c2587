"""`dualadam compare`."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from dualadam.cli.console import DataOption, DeviceOption
from dualadam.errors import DualAdamError, InvalidValueError


def compare(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SPEC", help="A TOML file, or the name of a built-in spec. [default: digits]"
        ),
    ] = None,
    problem: Annotated[
        str | None,
        typer.Option(
            "--problem",
            help="Instead of SPEC: FILE.py:FUNCTION, which returns a Problem or trains by itself.",
        ),
    ] = None,
    lr: Annotated[
        str | None,
        typer.Option("--lr", help="With --problem: a number, tuned a decade around, or LOW,HIGH."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="With --problem: the length of a run.")
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(
            "--arm",
            help="With --problem, several times: a name or a class. "
            "[default: AdamW, AdamW+warmup, DualAdam]",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="With --problem, several times: KEY=VALUE of a spec, such as seeds=10."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The output folder; a second start continues what the folder holds. "
            "[default: runs/NAME]",
        ),
    ] = None,
    data: DataOption = None,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            min=0,
            help="Runs side by side; 0: as many as the cores allow, on a GPU one.",
        ),
    ] = 0,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            help="Threads of each run; workers x threads must fit the cores. [default: 1]",
        ),
    ] = None,
    device: DeviceOption = "cpu",
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", help="A Dask scheduler, tcp://HOST:PORT, instead of --workers."),
    ] = None,
    extend: Annotated[
        bool,
        typer.Option(
            "--extend",
            help="Widen ranges whose best point lies on an edge, for all arms, before judging.",
        ),
    ] = False,
    hours: Annotated[
        float | None,
        typer.Option(
            "--hours", help="Time the training, and choose points and seeds that fit this time."
        ),
    ] = None,
    live: Annotated[
        bool,
        typer.Option("--live", help="Keep report.html fresh while the study runs."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and stop; needs no data.")
    ] = False,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate", help="Time a part of a run of every arm, print the duration, and stop."
        ),
    ] = False,
    smoke: Annotated[
        bool,
        typer.Option(
            "--smoke", help="Two steps of the two arms compared, into runs/NAME-smoke: do they run?"
        ),
    ] = False,
) -> None:
    """Compare optimizers as a spec says.

    Every arm is tuned with the same budget and judged on paired seeds; then a report is written.
    """
    from dualadam.cli import tables
    from dualadam.cli.console import stderr, stdout
    from dualadam.cli.quick import spec_of_options
    from dualadam.compare.budget import plan_for_hours
    from dualadam.compare.check import check_machine, check_spec
    from dualadam.compare.continued import continued
    from dualadam.compare.estimate import estimate as estimate_cost
    from dualadam.compare.execution import open_study
    from dualadam.compare.optimizers import find_entry
    from dualadam.compare.own_task import bind_task, check_own_task
    from dualadam.compare.plan import make_plan
    from dualadam.compare.report import write_report
    from dualadam.compare.running import make_runs
    from dualadam.compare.smoke import smoke_test
    from dualadam.compare.spec_file import parse_spec, read_spec_text
    from dualadam.compare.spec_warnings import spec_warnings
    from dualadam.compare.workers import choose_executor, side_by_side
    from dualadam.harness.cluster import check_reachable
    from dualadam.harness.progress import ConsoleProgress
    from dualadam.tasks import Source, check_data, check_device

    console, errors = stdout(), stderr()
    only = {"--dry-run": dry_run, "--estimate": estimate, "--smoke": smoke}
    if hours is not None and (others := [name for name, given in only.items() if given]):
        raise InvalidValueError(
            f"{others[0]} must be left out with --hours, which times the training and runs it."
        )
    quick = {"--lr": lr, "--steps": steps, "--arm": arm, "--set": set_}
    if problem is not None:
        if source is not None:
            raise InvalidValueError(f"SPEC must be left out with --problem, got {source!r}.")
        text = None
        spec, own = spec_of_options(problem, lr=lr, steps=steps, arms=arm, settings=set_)
    elif given := [option for option, value in quick.items() if value]:
        raise InvalidValueError(f"{given[0]} must come with --problem; a spec sets it itself.")
    else:
        source = source or "digits"
        text = read_spec_text(source)
        spec = parse_spec(text)
        beside = Path(source).resolve().parent if Path(source).is_file() else Path.cwd()
        own = Source(folder=str(beside))
    if not smoke:
        spec = continued(spec, out or Path("runs") / spec.name)
    spec = bind_task(spec, own, text)
    check_spec(spec, text)
    check_own_task(spec, text)
    spec = smoke_test(spec, device) if smoke else spec
    for warning in spec_warnings(spec, find_entry):
        errors.print(f"Warning: {warning}")
    plan = make_plan(spec)
    if dry_run:
        tables.print_plan(plan, console)
        try:
            notes = check_data(spec.task, data, spec.fine_tuning)
        except DualAdamError as error:
            notes = (str(error),)
        for note in notes:
            errors.print(f"Warning: {note}")
        return
    executors = choose_executor(workers or None, threads, device, cluster)
    if estimate:
        if not cluster:
            check_device(device)
        with executors as (executor, width):
            cost = estimate_cost(plan, executor, width(), device=device, source=own)
        tables.print_estimate(cost, console)
        return
    if cluster:  # its machines have devices and folders of their own
        check_reachable(cluster)
    else:
        for note in check_machine(spec, data=data, device=device):
            errors.print(f"Warning: {note}")
    folder = out or Path("runs") / spec.name
    if hours is not None:
        timers = choose_executor(workers or None, threads, device, cluster)
        spec, said = plan_for_hours(
            spec, folder, hours, timers, device=device, data=data, source=own
        )
        console.print(said)
        plan = make_plan(spec)
    where = f"on {cluster}" if cluster else side_by_side(workers or None, threads, device)
    with open_study(folder, spec) as store:
        console.print(f"{spec.title or spec.name}: {plan.num_runs} runs, {where}, into {folder}")
        started = time.monotonic()
        try:
            make_runs(
                plan,
                store,
                executors,
                progress=ConsoleProgress(console),
                data=data,
                device=device,
                source=own,
                extend=extend,
                live=live,
            )
        except KeyboardInterrupt:
            options = {
                "--out": out,
                "--data": data,
                "--cluster": cluster,
                "--device": device,
                "--threads": threads,
                "--hours": hours,
            }
            flags = {"--smoke": smoke, "--extend": extend, "--live": live}
            again = _command_line(source, {"--problem": problem, **quick, **options}, flags)
            errors.print(
                f"\nStopped. {len(store.records)} finished runs are in {store.path}; "
                f"`{again}` goes on from there."
            )
            sys.exit(130)
        summary = write_report(folder)
    tables.print_summary(summary, console)
    console.print(
        f"\nReport: {folder / 'report.html'} (and report.md, summary.json, runs.jsonl), "
        f"after {time.monotonic() - started:.0f} s"
    )


def _command_line(
    source: str | None, options: Mapping[str, object], flags: Mapping[str, bool]
) -> str:
    words = ["dualadam", "compare", *([source] if source else [])]
    for name, value in options.items():
        if value and (name, value) != ("--device", "cpu"):
            for each in value if isinstance(value, list) else [value]:
                words += [name, str(each)]
    return shlex.join(words + [name for name, given in flags.items() if given])
