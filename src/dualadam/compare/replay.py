"""A recorded run, made again."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

from dualadam.compare.own_loop import train_own
from dualadam.compare.run import Record
from dualadam.compare.train import train
from dualadam.errors import InvalidValueError
from dualadam.harness.environment import environment
from dualadam.harness.executors import InlineExecutor
from dualadam.harness.isolation import PieceError, call_isolated
from dualadam.tasks import Source

# what a run gives that depends on nothing but its settings and the machine
PARTS = (
    *("status", "steps", "validation", "test", "correct"),
    *("curve", "diagnosis", "flatness", "shadow"),
)


@dataclass(frozen=True)
class Replay:
    """A recorded run and its repetition.

    Attributes:
        replayed: None where the run could not be repeated.
        error: why not.
        differing: the parts of the record that are not the same to the last bit.
        environment: what is another here than where it was recorded; bits may differ then.
    """

    recorded: Record
    replayed: Record | None
    error: str
    differing: list[str]
    environment: list[str]

    @property
    def agrees(self) -> bool:
        """Whether the repetition gave the same bits."""
        return self.replayed is not None and not self.differing

    @property
    def curve(self) -> str:
        """What is said of the learning curve."""
        if self.replayed is None:
            return ""
        ours, theirs = self.replayed.curve, self.recorded.curve
        if not ours and not theirs:
            return "none"
        if ours == theirs:
            return f"the same bits at {len(ours)} points"
        pairs = zip(ours, theirs, strict=False)
        step = next((b.step for a, b in pairs if a != b), None)
        return "of another length" if step is None else f"differs from step {step} on"


def drawn_runs(records: Sequence[Record], count: int, seed: int) -> list[Record]:
    """Return some of the records, drawn at random.

    Raises:
        InvalidValueError: the number is negative.
    """
    if count < 0:
        raise InvalidValueError(f"runs must be at least 0, got {count}.")
    ordered = sorted(records, key=lambda record: record.key)
    return random.Random(seed).sample(ordered, min(count, len(ordered)))


def replay(
    record: Record,
    *,
    timeout: float | None = None,
    data: str | None = None,
    device: str = "cpu",
    source: Source,
) -> Replay:
    """Make a recorded run again, in this process, on as many threads as it had.

    Args:
        record: of the run.
        timeout: seconds after which a run of the user's own loop fails.
        data, device, source: as for ``train``.
    """
    run, here = record.run, environment(device)
    there = {k: v for k, v in record.environment.items() if k != "threads"}
    other = [f"{k} {v} there, {here.get(k)} here" for k, v in there.items() if v != here.get(k)]
    executor = InlineExecutor(record.environment.get("threads", 1))
    try:
        if run.task.startswith("python:") and source.pickled is None:
            raise InvalidValueError(
                f"{run.task} was given as an object: call "
                f"dualadam.compare.audit.audit with what={run.task.rpartition(':')[2]}."
            )
        if run.own_loop is not None:
            future = executor.submit(
                call_isolated, train_own, run, device=device, source=source, timeout=timeout
            )
        else:
            future = executor.submit(
                call_isolated, train, run, data=data, device=device, source=source
            )
        made = future.result()
    except (InvalidValueError, PieceError) as error:
        return Replay(record, None, str(error), [], other)
    again = Record.from_json(json.loads(json.dumps(made.to_json())))
    parts = [part for part in PARTS if getattr(again, part) != getattr(record, part)]
    return Replay(record, again, "", parts, other)
