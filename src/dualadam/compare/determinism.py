"""Whether a seed fixes a run: two steps of every arm, taken twice before the study."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from dualadam.compare.execution import RUNS_FILE
from dualadam.compare.plan import Plan
from dualadam.compare.run import Run
from dualadam.compare.spec import TUNING_SEED, Spec
from dualadam.compare.training import Training, task_of
from dualadam.errors import InvalidValueError
from dualadam.harness.isolation import call_isolated
from dualadam.harness.store import reading, write_whole
from dualadam.tasks import HERE, Source, forget_own_task

DETERMINISM_FILE = "determinism.json"
NUM_STEPS = 2


@dataclass(frozen=True)
class Determinism:
    """What the check found, of which a study's folder keeps one.

    Attributes:
        differing: arms whose two trainings of one seed were not the same to the last bit.
        unchecked: arms whose steps could not be taken; their runs will say why.
    """

    differing: list[str]
    unchecked: list[str]

    @property
    def sentence(self) -> str:
        """What a report and the screen say."""
        unchecked = f" Not checked: {', '.join(self.unchecked)}." if self.unchecked else ""
        if not self.differing:
            if self.unchecked:
                return unchecked.strip()
            return "Two steps of one seed, taken twice before the study, gave the same bits."
        return (
            "Training is not deterministic: two steps of one seed, taken twice before the study, "
            f"differed for {', '.join(self.differing)}. A seed does not fix these runs, so an "
            f"audit will not get the same bits; torch.use_deterministic_algorithms(True) and data "
            f"drawn from a seeded generator may.{unchecked}"
        )


def own_loop_sentence(spec: Spec) -> str:
    """Return that a loop of the user's own was not checked; empty for the package's loop."""
    if spec.train is None:
        return ""
    return (
        "Whether a seed fixes a run was not checked: your own loop cannot be stopped after two "
        "steps. dualadam audit makes whole runs again."
    )


def check_determinism(
    plan: Plan,
    folder: Path,
    executor: Executor,
    *,
    data: str | None = None,
    device: str = "cpu",
    source: Source = HERE,
) -> str:
    """Take two steps of every arm twice, keep what is found in the folder, and return a sentence.

    The two trainings of an arm run side by side where there are two workers, so data that each
    process draws anew shows too. A folder that was checked is not checked again.

    Args:
        plan: of the study.
        folder: of the study.
        executor: of its runs.
        data, device, source: as for ``train``.
    """
    spec = plan.spec
    if spec.train is not None:
        return own_loop_sentence(spec)
    if (known := read_determinism(folder)) is not None:
        return known.sentence
    if (folder / RUNS_FILE).exists():  # a study from before there was this check
        return ""
    runs = {
        (block.name, arm.name): plan.run("tune", block, arm, 0, TUNING_SEED)
        for block in spec.block
        for arm in block.arm
    }
    started = {
        key: [
            executor.submit(call_isolated, digest, run, data=data, device=device, source=source)
            for _ in range(2)
        ]
        for key, run in runs.items()
    }
    differing, unchecked = [], []
    for (block, arm), futures in started.items():
        name = f"{arm} ({block})" if len(spec.block) > 1 else arm
        # a run that raises is reported as a run, with all that is known of it
        if any(future.exception() for future in futures):
            unchecked.append(name)
        elif futures[0].result() != futures[1].result():
            differing.append(name)
    found = Determinism(differing, unchecked)
    write_whole(folder / DETERMINISM_FILE, json.dumps(asdict(found), indent=1) + "\n")
    return found.sentence


def digest(run: Run, *, data: str | None = None, device: str = "cpu", source: Source = HERE) -> str:
    """Return a hash of the losses of two steps and of the parameters after them.

    A task of the user's own is made anew, as it will be in every worker process.
    """
    forget_own_task(run.task)
    task = task_of(run, data=data, device=device, source=source)
    training = Training(run, task)
    found = hashlib.sha256()
    for step, batch in zip(range(1, NUM_STEPS + 1), training.batches(), strict=False):
        found.update(repr(training.step(step, batch).item()).encode())
    for parameter in training.model.parameters():
        plain = parameter.detach().cpu().contiguous().reshape(-1)
        found.update(plain.view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def determinism_sentence(folder: Path, spec: Spec) -> str:
    """Return what the report of a folder says of the check; empty where it was not made."""
    found = read_determinism(folder)
    return found.sentence if found else own_loop_sentence(spec)


def read_determinism(folder: Path) -> Determinism | None:
    """Return what a folder keeps of the check; None where it was not made.

    Raises:
        InvalidValueError: the file is damaged.
    """
    file = folder / DETERMINISM_FILE
    if not file.exists():
        return None
    with reading(file):
        text = file.read_text(encoding="utf-8")
    try:
        return Determinism(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise InvalidValueError(f"{file} is damaged ({error}). Remove it.") from error
