"""One run of a training function or a command of the user's own. Needs torch and NumPy alone."""

from __future__ import annotations

import contextlib
import json
import math
import shlex
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

from dualadam.compare.decay import lr_of, weight_decay_at
from dualadam.compare.measures import peak_bytes, state_bytes
from dualadam.compare.run import AppliedDecay, Record, Run, SplitScore
from dualadam.compare.training import seed_all
from dualadam.compare.trial import DivergedError, Trial, TrialScores
from dualadam.errors import FailedRunsError, InvalidTypeError, InvalidValueError
from dualadam.harness.environment import environment
from dualadam.harness.programs import run_program
from dualadam.tasks import HERE, Source, fingerprint, load_function

COMMAND = "command"  # the value of ``train`` for a command
# names in braces that a command may have, beside the arm's settings
COMMAND_NAMES = (
    "python",
    "optimizer",
    "arm",
    "seed",
    "steps",
    "weight_decay",
    "phase",
    "device",
    "out",
    "settings",
)
LAST_LINES = 3  # of a failed command's output that its error shows
LONGEST_LINE = 1000  # characters; a longer line counts as several


@dataclass(frozen=True)
class Outcome:
    """What came out of the user's code."""

    scores: TrialScores | None  # None where the run diverged
    steps: int | None  # None where nothing counted them


def train_own(
    run: Run, *, device: str = "cpu", source: Source = HERE, timeout: float | None = None
) -> Record:
    """Let the user's code train once, and return the record.

    Args:
        run: what to train; ``run.own_loop`` is set.
        device: what ``Trial.device`` says.
        source: where the function's name leads, and the folder in which a command runs.
        timeout: seconds after which the run fails.

    Raises:
        InvalidTypeError: the function returned something other than ``run.scores(...)``.
        FailedRunsError: the command failed, or the time is over.
    """
    assert run.own_loop is not None
    trial = Trial(run, device)
    started = time.perf_counter()
    if run.own_loop.command is None:
        outcome = _call(trial, source, timeout)
    else:
        outcome = _run_command(run.own_loop.command, trial, source, timeout)
    seconds = time.perf_counter() - started
    scores, steps = outcome.scores, outcome.steps
    test = None if scores is None else scores.test
    if run.phase == "judge" and scores is not None and test is None:
        test = scores.validation
    given = scores is not None and scores.test is not None
    facts: dict[str, Any] = {
        "own_loop": {"test": given or scores is None, "curve": bool(trial.curve), "steps": steps}
    }
    made_of = fingerprint(run.task, source)
    return Record(
        run=run,
        status="diverged" if scores is None else "finished",
        steps=steps or 1,
        validation=_score(run, None if scores is None else scores.validation),
        test=_score(run, test) if run.phase == "judge" else None,
        correct=None,
        num_test=None,
        curve=tuple(trial.curve),
        diagnosis=tuple(trial.diagnosis),
        flatness=None,
        data=facts | ({"made_of": {"problem": made_of}} if made_of else {}),
        seconds_per_step=seconds / (steps or 1),
        state_bytes=sum(map(state_bytes, trial.optimizers)),
        peak_bytes=peak_bytes(device),
        environment=environment(device),
        decay=trial.decay,
        shadow=trial.shadow.result() if trial.shadow else None,
    )


def _score(run: Run, score: float | None) -> SplitScore:
    assert run.own_loop is not None
    value = run.own_loop.worst if score is None else score
    return SplitScore(value, None, {run.metric: value})


def _call(trial: Trial, source: Source, timeout: float | None) -> Outcome:
    function = load_function(trial.run.task, source)
    seed_all(trial.seed)
    returned: Any = None
    try:
        with time_limit(timeout):
            returned = function(trial)
    except DivergedError:
        pass
    steps = trial.num_steps or trial.steps
    if trial.diverged:  # also where the user's code caught the exception
        return Outcome(None, steps)
    if not isinstance(returned, TrialScores):
        raise InvalidTypeError(
            f"{trial.run.task} must return run.scores(...), got {type(returned).__name__}."
        )
    return Outcome(returned, steps)


@contextlib.contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise FailedRunsError after some seconds.

    In the main thread of a process on Linux or macOS the code is interrupted. In another thread, as
    on a Dask worker, on Windows, and where the code catches every exception, the error comes when
    the code returns.
    """
    if seconds is None:
        yield
        return
    late, started = f"it took longer than timeout, {seconds:g} s", time.monotonic()

    def give_up(number: int, frame: object) -> None:
        raise FailedRunsError(f"{late}.")

    in_main_thread = threading.current_thread() is threading.main_thread()
    if hasattr(signal, "setitimer") and in_main_thread:
        before = signal.signal(signal.SIGALRM, give_up)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    else:
        yield
    if time.monotonic() - started > seconds:
        raise FailedRunsError(f"{late}, and could not be stopped before its end.")


def placeholders(command: str) -> set[str]:
    """Return the names in braces of a command.

    Raises:
        InvalidValueError: the braces do not match, or the quotes do not.

    Example:
        >>> sorted(placeholders("{python} train.py --lr {lr} --out {out}"))
        ['lr', 'out', 'python']
    """
    try:
        shlex.split(command)
        return {name for _, name, _, _ in Formatter().parse(command) if name is not None}
    except ValueError as error:
        raise InvalidValueError(f"command cannot be read: {error}.") from error


def command_values(run: Run, device: str, out: str) -> dict[str, Any]:
    """Return what the names in braces of a command stand for."""
    flags = " ".join(f"--{name} {shlex.quote(str(value))}" for name, value in run.settings.items())
    return {
        "python": sys.executable,
        "optimizer": run.optimizer,
        "arm": run.arm,
        "seed": run.seed,
        "steps": run.steps,
        "weight_decay": weight_decay_at(run.weight_decay, run.reference_lr, lr_of(run.settings)),
        "phase": run.phase,
        "device": device,
        "out": out,
        "settings": flags,
        **run.settings,
    }


def _run_command(command: str, trial: Trial, source: Source, timeout: float | None) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="dualadam-") as folder:
        out, printed = Path(folder) / "scores.json", Path(folder) / "printed"
        values = command_values(trial.run, trial.device, str(out))
        quoted = {k: v if k == "settings" else shlex.quote(str(v)) for k, v in values.items()}
        words = shlex.split(command.format_map(quoted))
        trial.decay = _decay_of_command(command, trial.run, values["weight_decay"])
        try:
            status = run_program(words, printed, cwd=source.folder, timeout=timeout)
        finally:  # what it printed is worth most where it failed
            last = _pass_on(printed)
        if status:
            raise FailedRunsError(f"the command ended with status {status}: {last}")
        if not out.exists():
            raise FailedRunsError(
                f"the command must write its scores to {{out}}, it wrote none. {last}"
            )
        return read_outcome(out, trial)


def _decay_of_command(command: str, run: Run, weight_decay: float) -> AppliedDecay | None:
    """Return the decay that a command is given; None where its program decides it."""
    if "weight_decay" not in placeholders(command):
        return None
    lr = lr_of(run.settings)
    return AppliedDecay(weight_decay, None if lr is None else weight_decay * lr)


def _pass_on(printed: Path) -> str:
    """Print what a command printed, however much, and return its last lines."""
    lines: deque[str] = deque(maxlen=LAST_LINES)
    with printed.open(encoding="utf-8", errors="replace") as file:
        while part := file.readline(LONGEST_LINE):
            sys.stdout.write(part)
            lines.append(part.rstrip())
    return " | ".join(filter(None, lines))


def read_outcome(file: Path, trial: Trial) -> Outcome:
    """Read the scores that a command left: ``{"validation": 0.9, "test": 0.91}``.

    The object may have ``steps``, and ``curve``, a list of ``{"step": 100, "loss": 0.5,
    "validation": 0.8}``. A score that is null or not finite is a run that diverged.

    Raises:
        FailedRunsError: the file is something else.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        steps = content.get("steps", trial.steps)
        if content["validation"] is None or not _finite(content, ("validation", "test")):
            return Outcome(None, steps)
        for point in content.get("curve", []):
            trial.log(point["step"], loss=point.get("loss"), validation=point.get("validation"))
        scores = trial.scores(validation=content["validation"], test=content.get("test"))
        return Outcome(scores, steps)
    except DivergedError:
        return Outcome(None, trial.steps)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FailedRunsError(
            'the file of scores must be a JSON object such as {"validation": 0.9, "test": 0.91}: '
            f"{type(error).__name__}: {error}."
        ) from error


def _finite(content: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    for name in names:
        value = content.get(name)
        if not isinstance(value, int | float | None):
            raise InvalidTypeError(f"{name} must be one number, got {value!r}")
        if value is not None and not math.isfinite(value):
            return False
    return True
