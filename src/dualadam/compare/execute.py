"""From a spec to finished runs: plan, tune with equal budgets, judge; every finished run is on disk before the next is waited for."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scipy.stats import qmc

try:
    import fcntl
except ImportError:  # Windows: two processes on one folder are not noticed there
    fcntl = None  # type: ignore[assignment]

from dualadam.compare.spec import Arm, Block, Spec
from dualadam.compare.train import Run, train

Record = dict[str, Any]
TUNING_SEED = 10_000  # tuning uses seeds from here on, judged runs 0, 1, ...: no seed is in both


@dataclass(frozen=True)
class Plan:
    """All of a study that is decided before anything runs: the settings to try, and how many runs there will be."""

    spec: Spec
    settings: dict[tuple[str, str], list[dict[str, Any]]]  # (block, arm) -> the points

    @property
    def tuning_runs(self) -> list[Run]:
        """Every arm at every point; none where the arms are fixed."""
        spec = self.spec
        if not spec.points:
            return []
        seeds = range(TUNING_SEED, TUNING_SEED + spec.tuning_seeds)
        return [
            self.run("tune", block, arm, trial, seed)
            for trial in range(spec.points)
            for seed in seeds
            for block in spec.block
            for arm in block.arm
        ]

    @property
    def num_runs(self) -> int:
        """Tuning and judged runs together."""
        return len(self.tuning_runs) + self.spec.seeds * len(self.settings)

    def run(self, phase: Any, block: Block, arm: Arm, trial: int, seed: int) -> Run:
        """Return one run of an arm at one of its points."""
        spec = self.spec
        return Run(
            phase=phase,
            block=block.name,
            arm=arm.name,
            trial=trial,
            seed=seed,
            task=spec.task,
            metric=spec.judged_by[0],
            model=spec.model,
            optimizer=arm.optimizer,
            settings=self.settings[block.name, arm.name][trial],
            weight_decay=block.weight_decay,
            epochs=spec.epochs,
            steps=spec.steps,
            batch_size=spec.batch_size,
            schedule=arm.schedule or spec.schedule,
            final_fraction=spec.final_fraction,
            precision=spec.precision,
            augment=spec.augment,
            subset=spec.subset,
            loss_scale=arm.loss_scale,
            flatness=spec.flatness and phase == "judge",
            accumulate=spec.accumulate,
            evaluations=spec.evaluations,
            evaluate_at_most=spec.evaluate_at_most,
            language={k: v for k, v in asdict(spec.fine_tuning).items() if k != "model"}
            if spec.fine_tuning
            else None,
        )

    def winners(self, records: Iterable[Record]) -> dict[tuple[str, str], int]:
        """Return the point of each arm with the best mean validation score over the tuning seeds; ties go to the lower loss.

        A diverged run counts with the task's worst score and an infinite loss.
        """
        if not self.spec.points:
            return dict.fromkeys(self.settings, 0)
        sign = self.spec.judged_by[1].sign
        results: dict[tuple[str, str], dict[int, list[tuple[float, float]]]] = {
            key: {} for key in self.settings
        }
        for record in records:
            run = record["run"]
            if run["phase"] == "tune":
                loss = record["validation"]["loss"]
                pair = (sign * record["validation"]["score"], -math.inf if loss is None else -loss)
                results[run["block"], run["arm"]].setdefault(run["trial"], []).append(pair)
        return {
            key: max(
                trials, key=lambda t: (*(sum(x) / len(x) for x in zip(*trials[t], strict=True)), -t)
            )
            for key, trials in results.items()
            if trials
        }

    def judged_runs(self, winners: dict[tuple[str, str], int]) -> list[Run]:
        """Every arm at its best point, on the paired seeds."""
        return [
            self.run("judge", block, arm, winners[block.name, arm.name], seed)
            for seed in range(self.spec.seeds)
            for block in self.spec.block
            for arm in block.arm
        ]


def make_plan(spec: Spec) -> Plan:
    """Draw every point of every arm, before any run.

    One scrambled Halton sequence, a dimension per tuned name, serves all arms: where two arms tune the same name, the k-th point of both
    stands at the same place of its range, so that equal ranges give equal values. Ranges are sampled on a logarithmic scale.
    """
    names = sorted(
        {name for block in spec.block for arm in block.arm for name in arm.tune},
        key=lambda n: (n != "lr", n),
    )
    if not spec.points:
        return Plan(spec, {(b.name, a.name): [dict(a.args)] for b in spec.block for a in b.arm})
    sample = qmc.Halton(len(names), scramble=True, rng=spec.sampler_seed).random(spec.points)
    points = [dict(zip(names, row.tolist(), strict=True)) for row in sample]

    def settings(arm: Arm, point: dict[str, float]) -> dict[str, Any]:
        tuned = {
            k: float(f"{low * (high / low) ** point[k]:.4g}") for k, (low, high) in arm.tune.items()
        }
        return {**arm.args, **tuned}

    return Plan(
        spec,
        {(b.name, a.name): [settings(a, p) for p in points] for b in spec.block for a in b.arm},
    )


class Store:
    """An output folder: ``spec.json`` says whose it is, ``runs.jsonl`` has one line per finished run and is the only truth.

    One process writes, each line at once and to the disk itself. What a killed process left of a line is cut off.
    """

    def __init__(self, folder: Path, spec: Spec) -> None:
        self.folder, self.path = folder, folder / "runs.jsonl"
        make_folder(folder)
        mine, stored = json.loads(spec.model_dump_json()), folder / "spec.json"
        if stored.exists():
            theirs = json.loads(stored.read_text())
            defaults = {
                name: field.default for name, field in Spec.model_fields.items()
            }  # of keys that were not yet there
            keys = sorted(
                k
                for k in mine.keys() | theirs.keys()
                if mine.get(k) != theirs.get(k, defaults.get(k))
            )
            if keys and self.path.exists():
                raise ValueError(
                    f"{folder} holds a study of another spec (they differ in {', '.join(keys)}). Choose another --out."
                )
            elif keys:  # no run of it is there: it was put right before it began
                write_whole(stored, spec.model_dump_json(indent=1))
        else:
            if self.path.exists():
                raise ValueError(
                    f"{folder} holds runs but no spec.json that says of which study. Choose another --out."
                )
            write_whole(stored, spec.model_dump_json(indent=1))
        self.records = {r["key"]: r for r in read_records(self.path)}
        if self.path.exists():
            with self.path.open("r+b") as file:
                content = file.read()
                file.truncate(content.rfind(b"\n") + 1)

    def add(self, record: Record) -> None:
        """Keep a finished run.

        Raises:
            FailedRunsError: it was made of other data or another model than those before it, or the line could not be written, as on a
                full disk.
        """
        mine = _made_of(record)
        theirs = next((made for r in self.records.values() if (made := _made_of(r))), mine)
        if changed := [key for key in mine if mine[key] != theirs[key]]:
            raise FailedRunsError(
                f"The {' and '.join(changed)} are not those that the runs in {self.path} were made of. "
                "Bring them back, or choose another --out."
            )
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        try:
            with self.path.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise FailedRunsError(
                f"{self.path} could not be written ({error}); make room and start again to go on."
            ) from error
        self.records[record["key"]] = record


def _made_of(record: Record) -> dict[str, Any]:
    """Return the fingerprints of a language task's texts and weights; none for others, and for records that are older than they."""
    return record.get("data", {}).get("made_of", {})


@contextlib.contextmanager
def sole_store(folder: Path, spec: Spec) -> Iterator[Store]:
    """Open the store of an output folder for this process alone, for as long as it lives at most.

    Raises:
        ValueError: another process writes into the folder, or it cannot be the spec's.
    """
    with sole_writer(folder):
        yield Store(folder, spec)


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Keep other processes out of an output folder, which is made if missing.

    Raises:
        ValueError: another process writes into the folder.
    """
    make_folder(folder)
    with (folder / ".lock").open("w") as lock:
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(
                    f"Another process writes into {folder}. Wait for it, or choose another --out."
                ) from None
        yield


def read_records(path: Path) -> Iterator[Record]:
    """Yield the finished runs of a ``runs.jsonl``; a last line without its end is left out."""
    if not path.exists():
        return
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise ValueError(
                f"{path}, line {number} is damaged ({error}); remove the line, and its run is made again."
            ) from error


def make_folder(folder: Path) -> None:
    """Make an output folder where there is none."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out must be a folder, and {folder} is a file.")
    folder.mkdir(parents=True, exist_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a killed process leaves the old one or the new one."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


class Progress:
    """What ``execute`` tells of its going on; this one is silent."""

    def start(self, total: int, done: int) -> None:
        """The study begins with so many of its runs already on disk."""

    def running(self, labels: Sequence[str]) -> None:
        """These runs are under way."""

    def finished(self, record: Record) -> None:
        """A run is on disk."""


class FailedRunsError(RuntimeError):
    """Runs that raised. What finished is on disk, and a second start tries the others again."""


def execute(
    plan: Plan,
    store: Store,
    executor: Executor,
    width: Callable[[], int],
    *,
    data: str | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> list[Record]:
    """Make every run of the plan that the store does not have, and return the records of the plan, in its order.

    Args:
        plan: what to run.
        store: where finished runs are and go.
        executor: any ``concurrent.futures`` executor.
        width: says how many runs may be under way at once; asked again and again, as machines come and go.
        data, device: as for ``train``.
        progress: is told what happens.

    Raises:
        FailedRunsError: runs raised; everything that could be run has been.
    """
    progress = progress or Progress()
    tuning = plan.tuning_runs
    keys = {run.key for run in tuning}
    ready = sum(k in store.records for k in keys)
    ready += sum(r["run"]["phase"] == "judge" for r in store.records.values())
    progress.start(plan.num_runs, ready)

    def perform(runs: list[Run]) -> None:
        missing = [run for run in runs if run.key not in store.records]
        submit = lambda run: executor.submit(train, run, data=data, device=device)  # noqa: E731
        try:
            failures = list(_slide(missing, submit, width, store.add, progress))
        except BrokenExecutor as error:
            raise FailedRunsError(
                "A worker process died (out of memory?). Start again to go on; --workers 1 needs less."
            ) from error
        if failures:
            lines = "\n".join(f"  {run.label}: {type(e).__name__}: {e}" for run, e in failures)
            raise FailedRunsError(
                f"{len(failures)} of {len(runs)} runs failed:\n{lines}\nWhat finished is in {store.path}."
            )

    perform(tuning)
    judged = plan.judged_runs(plan.winners(store.records[run.key] for run in tuning))
    perform(judged)
    return [store.records[run.key] for run in (*tuning, *judged)]


def _slide(
    runs: list[Run],
    submit: Callable[[Run], Future[Record]],
    width: Callable[[], int],
    keep: Callable[[Record], None],
    progress: Progress,
) -> Iterator[tuple[Run, Exception]]:
    """Keep ``width()`` runs under way until all are done; yield those that raised."""
    waiting, under_way = deque(runs), dict[Future[Record], Run]()
    while True:
        while waiting and len(under_way) < width():
            run = waiting.popleft()
            under_way[submit(run)] = run
        if not under_way:
            return
        progress.running([run.label for run in under_way.values()])
        for future in wait(under_way, return_when=FIRST_COMPLETED).done:
            run = under_way.pop(future)
            try:
                record = future.result()
            except BrokenExecutor:
                raise
            except (
                Exception
            ) as error:  # reported by the caller, whatever it is; the other runs go on
                yield run, error
            else:
                keep(record)
                progress.finished(record)
