"""``compare``: a whole study from one call, in a script or in a notebook."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from dualadam.compare.arms import RateRange
from dualadam.compare.budget import plan_for_hours
from dualadam.compare.check import check_machine, check_spec
from dualadam.compare.continued import continued
from dualadam.compare.execution import check_unchanged, open_study
from dualadam.compare.optimizers import find_entry
from dualadam.compare.own_task import bind_task, check_own_task
from dualadam.compare.plan import make_plan
from dualadam.compare.quick_spec import DEFAULT_ARMS, What, quick_spec
from dualadam.compare.report import write_report
from dualadam.compare.result import Result
from dualadam.compare.running import make_runs
from dualadam.compare.spec_warnings import spec_warnings
from dualadam.compare.workers import choose_executor
from dualadam.harness.cluster import check_reachable
from dualadam.harness.notebook import choose_progress
from dualadam.harness.progress import Progress


def compare(
    what: What,
    *,
    lr: float | RateRange,
    arms: Sequence[str | type[Optimizer] | dict[str, Any]] = DEFAULT_ARMS,
    primary: tuple[str, str] | None = None,
    margin: float | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    batch_size: int = 32,
    points: int = 8,
    tuning_seeds: int = 1,
    seeds: int = 5,
    weight_decay: float = 0.0,
    switch_rate: RateRange | None = None,
    name: str | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    threads: int | None = None,
    device: str = "cpu",
    data: str | None = None,
    cluster: str | None = None,
    progress: Progress | None = None,
    extend: bool = False,
    hours: float | None = None,
    live: bool = False,
    **fields: Any,
) -> Result:
    """Compare optimizers on a training of your own, or on a built-in task.

    Every arm is tuned with the same budget and judged on paired seeds; then a report is written.
    A second call with the same ``out`` makes only the runs that are missing. Functions and lambdas
    from a notebook or a script travel to the worker processes.

    Args:
        what: a function that returns a `Problem`, a `Problem`, a training function of one argument
            (a `Trial`), "FILE.py:FUNCTION", "package.module:function", or the name of a built-in
            task (then ``model`` too). A training function needs ``direction``.
        lr: the learning rate, tuned over a decade either side; or its range (low, high).
        arms: each a name of ``dualadam list``, the path of an importable class, such a path with
            "+warmup", an optimizer class, or a table with the fields of a spec's arm.
        primary: the comparison that decides, (arm, against). Default: DualAdam, or the last arm,
            against the first warm-up control, or the first arm.
        margin: of equivalence, in the unit of the metric; None takes it from the spread of the
            tuning runs, before any judged run.
        steps, epochs: length of a run; exactly one is set.
        batch_size: examples per step; a training function decides it itself.
        points: settings tried per arm, at least 2 without a margin.
        tuning_seeds: runs per point.
        seeds: judged runs per arm, paired.
        weight_decay: at the middle of the control's range of lr; all arms decay by as much.
        switch_rate: its range; None takes a factor of 3 either side of ``switch_rate_for``.
        name: of the study; None takes the function's name.
        out: the output folder; None takes "runs/NAME".
        workers: processes; None takes as many as the cores allow, or one on a GPU. 0 runs
            everything in this process, for a debugger.
        threads: of each process; None takes one.
        device: where model and data live.
        data: the folder with the data sets of the built-in tasks.
        cluster: the address of a Dask scheduler, instead of ``workers``.
        progress: is told what happens. None shows a bar in a notebook and on a terminal;
            ``harness.progress.Progress()`` shows nothing.
        extend: whether to widen ranges whose best point lies on an edge, before any judged run:
            by a factor of 4, for all arms alike, up to three times.
        hours: in which the study should end; points and seeds are then chosen to fit, after timing
            the training.
        live: whether ``report.html`` is kept fresh while the study runs.
        fields: further keys of a spec, such as ``schedule``, ``accumulate`` or ``flatness``.

    Raises:
        SpecError: something cannot run; every mistake is named before any training.
        FailedRunsError: some runs raised; the others are on disk.
    """
    spec, source = quick_spec(
        what,
        lr=lr,
        arms=arms,
        primary=primary,
        margin=margin,
        steps=steps,
        epochs=epochs,
        batch_size=batch_size,
        points=points,
        tuning_seeds=tuning_seeds,
        seeds=seeds,
        weight_decay=weight_decay,
        switch_rate=switch_rate,
        name=name,
        **fields,
    )
    folder = Path(out) if out is not None else Path("runs") / spec.name
    spec = bind_task(continued(spec, folder), source)
    check_spec(spec)
    check_own_task(spec)
    for warning in spec_warnings(spec, find_entry):
        warnings.warn(warning, stacklevel=2)
    if cluster:  # its machines have devices and folders of their own
        check_reachable(cluster)
    else:
        for note in check_machine(spec, data=data, device=device):
            warnings.warn(note, stacklevel=2)
    progress = progress or choose_progress()
    if hours is not None:
        timers = choose_executor(workers, threads, device, cluster)
        spec, said = plan_for_hours(
            spec, folder, hours, timers, device=device, data=data, source=source
        )
        progress.said(said)
    executors = choose_executor(workers, threads, device, cluster)
    with open_study(folder, spec) as store:
        check_unchanged(store, spec)
        make_runs(
            make_plan(spec),
            store,
            executors,
            progress=progress,
            data=data,
            device=device,
            source=source,
            extend=extend,
            live=live,
        )
        return Result(write_report(folder), folder)
