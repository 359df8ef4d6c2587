"""Whether a spec can run: its task, model, metric, optimizers and their arguments."""

from __future__ import annotations

from collections.abc import Iterator

from dualadam.compare.attempts import Attempts
from dualadam.compare.optimizers import OPTIMIZERS, Entry, find_entry
from dualadam.compare.own_loop import COMMAND_NAMES, placeholders
from dualadam.compare.spec import Spec
from dualadam.compare.spec_tables import Arm
from dualadam.compare.spec_text import Mistake, Place, SpecText, nearest
from dualadam.errors import InvalidValueError
from dualadam.tasks import (
    TASKS,
    ProblemEntry,
    TaskEntry,
    check_data,
    check_device,
    get_task,
)


def check_spec(spec: Spec, text: SpecText | None = None) -> None:
    """Check that a study can run, before any of it runs. The data of the task are not needed.

    Task, model and metric must be known and the sizes must fit the data. Each optimizer must be
    importable, and takes a step on one number with its fixed arguments and both ends of its ranges.

    Args:
        spec: as returned by ``load_spec``.
        text: where the spec was read, for the lines of mistakes.

    Raises:
        SpecError: the spec cannot run; the message names every mistake.
    """
    if mistakes := [*_task_mistakes(spec), *_arm_mistakes(spec)]:
        raise (text or SpecText()).error(mistakes)


def check_machine(spec: Spec, *, data: str | None, device: str) -> tuple[str, ...]:
    """Check that this machine has what the runs need: the device, the data, a language model.

    Texts are read and tokenised here, or every run would report what is wrong with them.

    Args:
        spec: a study.
        data: the folder with the data sets.
        device: where models and data will live.

    Returns:
        Notes about the data, a sentence each.

    Raises:
        DualAdamError: something is missing; the message says what is expected where.
    """
    check_device(device)
    if not spec.fine_tuning:
        return check_data(spec.task, data)
    get_task(spec.task, data, spec.subset, device, spec.precision, language=spec.fine_tuning)
    return ()


def unknown_names(spec: Spec) -> list[Mistake]:
    """Return the mistakes in the names that a report needs too: the task and its metric."""
    entry = spec.entry if spec.train or spec._entry else TASKS.get(spec.task)
    if entry is None:
        hint = nearest(spec.task, TASKS)
        also = "" if hint.endswith("?") else "; a task of your own is FILE.py:FUNCTION"
        return [Mistake(("task",), f"must be a known task, got {spec.task!r}; {hint}{also}")]
    if spec.metric is not None and spec.metric not in entry.metrics:
        hint = nearest(spec.metric, entry.metrics)
        message = f"must be a metric of the task {spec.task!r}, got {spec.metric!r}; {hint}"
        return [Mistake(("metric",), message)]
    return []


def _task_mistakes(spec: Spec) -> Iterator[Mistake]:
    if unknown := unknown_names(spec):
        yield from unknown
        return
    entry = spec.entry
    if not entry.takes(spec.model) and isinstance(entry, ProblemEntry):
        message = f"must be left out: {spec.task!r} brings its own model, got {spec.model!r}"
        yield Mistake(("model",), message)
    elif not entry.takes(spec.model):
        hint = nearest(spec.model, entry.models)
        also = " (a folder or a name on the hub has a slash)" if entry.language else ""
        message = f"must be a model of the task {spec.task!r}, got {spec.model!r}; {hint}{also}"
        yield Mistake(("model",), message)
    better = "higher" if spec.judged_by.metric.higher_is_better else "lower"
    if spec.direction not in (None, better):
        message = f"must be {better!r} for {spec.judged_by.name}, got {spec.direction!r}"
        yield Mistake(("direction",), message)
    yield from _size_mistakes(spec, entry)
    yield from _language_mistakes(spec, entry)


def _size_mistakes(spec: Spec, entry: TaskEntry) -> Iterator[Mistake]:
    if spec.subset and entry.num_train and spec.subset > entry.num_train:
        most = f"the {entry.num_train} training examples of {spec.task!r}"
        yield Mistake(("subset",), f"must be at most {most}, got {spec.subset}")
    elif entry.steps_per_epoch(spec.batch_size, spec.subset) == 0:
        most = f"the number of training examples, {spec.subset or entry.num_train}"
        yield Mistake(("batch_size",), f"must be at most {most}, got {spec.batch_size}")


def _language_mistakes(spec: Spec, entry: TaskEntry) -> Iterator[Mistake]:
    if entry.language is None:
        if spec.language is not None:
            message = f"must be left out: {spec.task!r} is not a language task"
            yield Mistake(("language",), message)
        return
    if spec.augment:
        yield Mistake(("augment",), f"must be false: {spec.task!r} has no augmentation")
    tuned = spec.fine_tuning
    if tuned and tuned.packed and entry.language == "classification":
        message = "must be false for classification: a row has one class"
        yield Mistake(("language", "packed"), message)
    if tuned and tuned.dtype == "bfloat16" and spec.flatness:
        reason = "bfloat16 parameters are too coarse for second derivatives"
        yield Mistake(("flatness",), f"must be false: {reason}")


def _arm_mistakes(spec: Spec) -> Iterator[Mistake]:
    with Attempts() as attempts:
        for i, block in enumerate(spec.block):
            for k, arm in enumerate(block.arm):
                place = ("block", i, "arm", k)
                if spec.command is not None:  # any program: the names are its own
                    yield from _command_mistakes(spec, arm, place)
                    continue
                found = _mistakes_of(arm, attempts, fused=spec.fused and spec.train is None)
                yield from (Mistake((*place, *at), said) for at, said in found)


def _command_mistakes(spec: Spec, arm: Arm, place: Place) -> Iterator[Mistake]:
    """Check that every name in braces of the command has a value for this arm."""
    assert spec.command is not None
    point = {**arm.args, **{name: bounds[0] for name, bounds in arm.tune.items()}}
    try:
        names = placeholders(spec.command)
    except InvalidValueError as error:
        yield Mistake(("command",), str(error).removeprefix("command "))
        return
    known = [*COMMAND_NAMES, *point]
    for name in sorted(names - set(known)):
        message = f"has {{{name}}}, which {arm.name!r} does not set; {nearest(name, known)}"
        yield Mistake(("command",), message)
    if "out" not in names:
        yield Mistake(("command",), "must have {out}, the file that it writes its scores to")
    unused = sorted(set(point) - names) if "settings" not in names else []
    for name in unused:
        table = "tune" if name in arm.tune else "args"
        yield Mistake(
            (*place, table, name), "is not used: the command has neither it nor {settings}"
        )


def _mistakes_of(arm: Arm, attempts: Attempts, *, fused: bool) -> Iterator[Mistake]:
    """Yield the mistakes of an arm, placed below the arm."""
    is_path = "." in arm.optimizer and all(map(str.isidentifier, arm.optimizer.split(".")))
    if arm.optimizer not in OPTIMIZERS and not is_path:
        wanted = "must be a known name or an importable class"
        hint = nearest(arm.optimizer, OPTIMIZERS)
        yield Mistake(("optimizer",), f"{wanted}, got {arm.optimizer!r}; {hint}")
        return
    if death := attempts.death_of_import(arm.optimizer):
        yield Mistake(("optimizer",), f"the class {arm.optimizer!r} cannot be imported: {death}")
        return
    try:
        entry = find_entry(arm.optimizer)
    except ValueError as error:
        yield Mistake(("optimizer",), str(error))
        return
    try:
        entry = entry.warmed() if arm.warmup else entry
    except ValueError as error:
        yield Mistake(("warmup",), str(error).removeprefix("warmup "))
        return
    mistakes = [*_argument_mistakes(arm, entry), *_warmup_mistakes(arm, entry)]
    yield from mistakes or _step_mistakes(arm, attempts, fused=fused)


def _argument_mistakes(arm: Arm, entry: Entry) -> Iterator[Mistake]:
    known = entry.arguments()
    for table in ("args", "tune"):
        for key in getattr(arm, table):
            if key not in known:
                message = f"is not an argument of {arm.optimizer}; {nearest(key, known)}"
                yield Mistake((table, key), message)


def _warmup_mistakes(arm: Arm, entry: Entry) -> Iterator[Mistake]:
    """Check the control's switch_rate, which no class checks."""
    if not entry.warmup:
        return
    key = "switch_rate"
    if key in arm.args:
        if not _is_rate(arm.args[key]):
            yield Mistake(("args", key), f"must be in (0, 1] for a warm-up, got {arm.args[key]!r}")
    elif key in arm.tune:
        if not all(map(_is_rate, arm.tune[key])):
            yield Mistake(("tune", key), f"must stay in (0, 1] for a warm-up, got {arm.tune[key]}")
    else:
        reason = "its warm-up lasts 1 / switch_rate steps"
        message = f"{arm.optimizer!r} needs a switch_rate, in args or in tune: {reason}"
        yield Mistake(("optimizer",), message)


def _is_rate(value: object) -> bool:
    return isinstance(value, int | float) and 0 < value <= 1


def _step_mistakes(arm: Arm, attempts: Attempts, *, fused: bool) -> Iterator[Mistake]:
    """Let the class check its arguments; some classes check only in their first step."""
    for end in (0, -1):
        settings = {**arm.args, **{name: bounds[end] for name, bounds in arm.tune.items()}}
        if reason := attempts.refusal(arm.optimizer, settings, warmup=arm.warmup, fused=fused):
            of_args = arm.args and attempts.refusal(
                arm.optimizer, arm.args, warmup=arm.warmup, fused=fused
            )
            # args that are refused alone, and with the same words, are what has to change
            table = "args" if not arm.tune or of_args == reason else "tune"
            given = arm.args if table == "args" else settings
            message = f"gives {given}, which {arm.optimizer} refuses: {reason}"
            yield Mistake((table,), message)
            return
