"""From a plan to records on disk: tune with equal budgets, then judge."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from dualadam.compare.extend import next_extensions
from dualadam.compare.extension import extension_sentence
from dualadam.compare.own_loop import train_own
from dualadam.compare.plan import Plan, make_plan
from dualadam.compare.recorded_task import record_task
from dualadam.compare.run import Record, Run
from dualadam.compare.spec import Spec, older
from dualadam.compare.spec_file import SPEC_FILE
from dualadam.compare.train import train
from dualadam.errors import FailedRunsError, InvalidValueError
from dualadam.harness.executors import Width, run_window
from dualadam.harness.isolation import call_isolated
from dualadam.harness.progress import Progress
from dualadam.harness.store import (
    Store,
    check_identity,
    make_folder,
    read_lines,
    sole_writer,
    write_whole,
)
from dualadam.tasks import HERE, Source

RUNS_FILE = "runs.jsonl"
LOGS = "logs"  # what runs print, a file each


class StudyStore(Store[Record]):
    """A study's folder: ``spec.json`` says which study it holds, ``runs.jsonl`` its records.

    Raises:
        InvalidValueError: the folder holds another study, or a damaged line.
    """

    def __init__(self, folder: Path, spec: Spec) -> None:
        self.folder, self.spec = folder, spec
        runs = folder / RUNS_FILE
        identity = json.loads(spec.model_dump_json())
        defaults = {name: field.default for name, field in Spec.model_fields.items()}
        defaults |= older(identity)
        check_identity(folder / SPEC_FILE, identity, defaults=defaults, has_records=runs.exists())
        record_task(folder, spec)
        super().__init__(
            runs, encode=Record.to_json, decode=Record.from_json, key=lambda record: record.key
        )

    def replace_spec(self, spec: Spec) -> None:
        """Write the spec of the same study with wider ranges."""
        self.spec = spec
        text = json.dumps(json.loads(spec.model_dump_json()), indent=1)
        write_whole(self.folder / SPEC_FILE, text + "\n")

    def add(self, record: Record) -> None:
        """Keep a finished run.

        Raises:
            FailedRunsError: the run used other data or another model than those before it, or the
                line could not be written.
        """
        mine = made_of(record)
        theirs = next((found for r in self.records.values() if (found := made_of(r))), mine)
        if changed := [name for name in mine if mine[name] != theirs[name]]:
            raise FailedRunsError(
                f"The {' and '.join(changed)} changed since the runs in {self.path} were made. "
                "Restore them, or choose another --out."
            )
        super().add(record)


def check_unchanged(store: StudyStore, spec: Spec) -> None:
    """Check that the user's own task is the one that a folder's runs were made with.

    Raises:
        InvalidValueError: its code changed.
    """
    mine = getattr(spec.entry, "fingerprint", None)
    recorded = {made_of(record).get("problem") for record in store.records.values()} - {None}
    if mine and recorded and mine not in recorded:
        raise InvalidValueError(
            f"The code of {spec.task} changed since the runs in {store.path} were made. "
            "Restore it, or choose another --out (in Python: out)."
        )


def made_of(record: Record) -> dict[str, Any]:
    """Return the fingerprints of a language task's texts and weights; empty for other tasks."""
    return (record.data or {}).get("made_of", {})


@contextlib.contextmanager
def open_study(folder: Path, spec: Spec) -> Iterator[StudyStore]:
    """Open a study's folder for this process alone.

    Raises:
        InvalidValueError: another process writes into the folder, or it holds another study.
    """
    with sole_writer(folder):
        yield StudyStore(folder, spec)


def read_records(folder: Path) -> Iterator[Record]:
    """Yield the records of a study's folder.

    Raises:
        InvalidValueError: a line is damaged.
    """
    return read_lines(folder / RUNS_FILE, Record.from_json)


def _is_one_fault(failures: list[tuple[Run, Exception]], runs: list[Run]) -> bool:
    """Whether every arm of the runs failed, and all with the same error."""
    arms, failed = ({(r.block, r.arm) for r in some} for some in (runs, [r for r, _ in failures]))
    return failed == arms and len({str(error) for _, error in failures}) == 1


def execute(
    plan: Plan,
    store: StudyStore,
    executor: Executor,
    width: Width,
    *,
    data: str | None = None,
    device: str = "cpu",
    source: Source = HERE,
    progress: Progress | None = None,
    extend: bool = False,
) -> list[Record]:
    """Make every run of the plan that the store lacks, and return all records in the plan's order.

    Args:
        plan: what to run.
        store: where the records are and go.
        executor: any ``concurrent.futures`` executor.
        width: returns how many runs may be running at once.
        data, device, source: as for ``train``.
        progress: is told what happens.
        extend: whether ranges whose best point lies on an edge are widened before any judged run,
            see ``extend.py``. The store's spec then says which.

    Raises:
        FailedRunsError: some runs raised. All others have been made, unless every arm's first
            run failed with the same error.
        InvalidValueError: a range would have to be widened after judged runs.
    """
    progress = progress or Progress()
    make_folder(store.folder / LOGS)
    num_judged = sum(record.run.phase == "judge" for record in store.records.values())

    def submit(run: Run) -> Future[Record]:
        log = store.folder / LOGS / f"{run.key}.log"
        if run.own_loop is not None:
            timeout = plan.spec.timeout
            return executor.submit(
                call_isolated,
                train_own,
                run,
                device=device,
                source=source,
                timeout=timeout,
                log=log,
            )
        return executor.submit(
            call_isolated, train, run, data=data, device=device, source=source, log=log
        )

    def perform(runs: list[Run]) -> None:
        missing = [run for run in runs if run.key not in store]
        failures = run_window(
            missing,
            submit,
            width,
            store.add,
            label=lambda run: run.label,
            progress=progress,
            give_up=lambda failures: not store.records and _is_one_fault(failures, runs),
        )
        if failures:
            lines = "\n".join(f"  {run.label}: {error}" for run, error in failures)
            left = len(missing) - len(failures) - sum(run.key in store for run in missing)
            stopped = (
                "No run finished, and every arm failed with the same error. "
                f"Runs not started because of it: {left}.\n"
            )
            raise FailedRunsError(
                f"{len(failures)} of {len(runs)} runs failed:\n{lines}\n"
                f"{stopped if left else ''}What finished is in {store.path}."
            )

    def tune(plan: Plan) -> list[Record]:
        runs = plan.tuning_runs
        progress.start(plan.num_runs, sum(run.key in store for run in runs) + num_judged)
        perform(runs)
        return [store.records[run.key] for run in runs]

    tuned = tune(plan)
    while extend and (more := next_extensions(plan, tuned)):
        if num_judged:
            raise InvalidValueError(
                f"{store.folder} has judged runs, and ranges are widened before any judged run. "
                "Start without --extend (in Python: extend), or choose another --out."
            )
        plan = make_plan(plan.spec.model_copy(update={"extended": [*plan.spec.extended, *more]}))
        store.replace_spec(plan.spec)
        progress.said(extension_sentence(more))
        tuned = tune(plan)
    judged = plan.judged_runs(plan.winners(tuned))
    perform(judged)
    return [*tuned, *(store.records[run.key] for run in judged)]
