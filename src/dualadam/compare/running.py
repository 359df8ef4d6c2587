"""The runs of a study, from its plan to its records, for the command and for Python."""

from __future__ import annotations

import contextlib
from concurrent.futures import Executor

from dualadam.compare.determinism import check_determinism
from dualadam.compare.execution import StudyStore, execute
from dualadam.compare.live import LiveReport
from dualadam.compare.plan import Plan
from dualadam.harness.executors import Width
from dualadam.harness.progress import Progress
from dualadam.tasks import Source


def make_runs(
    plan: Plan,
    store: StudyStore,
    executors: contextlib.AbstractContextManager[tuple[Executor, Width]],
    *,
    progress: Progress,
    data: str | None,
    device: str,
    source: Source,
    extend: bool,
    live: bool,
) -> None:
    """Make the runs that the store lacks.

    Args:
        plan: of the study.
        store: open, of the study's folder.
        executors: gives the executor of the runs and its width, and ends it.
        progress: what is told of the runs; entered and left here.
        data: the folder that holds the data sets.
        device: where the runs train.
        source: where the name of a task of the user's own leads.
        extend: whether ranges are widened whose best point lies on an edge.
        live: whether report.html is kept fresh.
    """
    with (
        progress as told,
        LiveReport(store, told) if live else contextlib.nullcontext(told) as shown,
        executors as (executor, width),
    ):
        said = check_determinism(
            plan, store.folder, executor, data=data, device=device, source=source
        )
        if said:
            shown.said(said)
        execute(
            plan,
            store,
            executor,
            width,
            data=data,
            device=device,
            source=source,
            progress=shown,
            extend=extend,
        )
