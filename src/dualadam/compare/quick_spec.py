"""A spec from a training and a learning rate, without a TOML file."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from dualadam.compare.arms import Choice, RateRange, arm_tables, primary_arms, range_around
from dualadam.compare.own_task import is_training_function
from dualadam.compare.spec import Spec
from dualadam.compare.spec_file import make_spec
from dualadam.errors import InvalidTypeError
from dualadam.tasks import HERE, TASKS, Problem, Source, find_task, pickled_source

DEFAULT_ARMS = ("AdamW", "AdamW+warmup", "DualAdam")
What = str | Problem | Callable[..., Any]


def quick_spec(
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
    **fields: Any,
) -> tuple[Spec, Source]:
    """Return the spec of a study, and where its training is found. See ``compare``."""
    reference, source = locate(what)
    is_loop = reference not in TASKS and is_training_function(reference, source)
    total = steps
    if not is_loop and epochs:
        per_epoch = find_task(reference, source).steps_per_epoch(batch_size, fields.get("subset"))
        total = per_epoch and per_epoch * epochs
    tables = arm_tables(arms, range_around(lr), Choice(switch_rate, total))
    first, against = primary or primary_arms(tables)
    name = name or file_name(reference)
    spec = make_spec(
        {
            "name": name,
            **({"train": reference} if is_loop else {"task": reference, "batch_size": batch_size}),
            "steps": steps,
            "epochs": epochs,
            "points": points,
            "tuning_seeds": tuning_seeds,
            "seeds": seeds,
            "primary": {"arm": first, "against": against, "margin": margin},
            "block": [{"weight_decay": float(weight_decay), "arm": tables}],
            **fields,
        }
    )
    return spec, source


def locate(what: What) -> tuple[str, Source]:
    """Return the reference that a spec records, and where it leads.

    Raises:
        InvalidTypeError: ``what`` is no name, function or `Problem`.
    """
    if isinstance(what, str):
        return what, HERE if what in TASKS else Source(folder=str(Path.cwd()))
    if isinstance(what, Problem):
        return "python:problem", pickled_source(_Returns(what))
    if not callable(what) or inspect.isclass(what):
        raise InvalidTypeError(
            "the training must be a function that returns a Problem, a Problem, "
            f"'FILE.py:FUNCTION' or the name of a task, got {what!r}."
        )
    name = getattr(what, "__name__", "problem").strip("<>")
    return f"python:{name}", pickled_source(what)


class _Returns:
    """A function that returns one value."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self) -> Any:
        return self.value


def file_name(reference: str) -> str:
    """Return a study's name from what it trains.

    Example:
        >>> file_name("my_problem.py:make"), file_name("python:lambda")
        ('my_problem', 'lambda')
    """
    place, _, function = reference.rpartition(":")
    own = place.endswith(".py")
    return Path(place).stem if own else function or reference
