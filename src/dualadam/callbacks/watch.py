"""When to diagnose a training, and what to warn of. The callbacks of all trainers share it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from torch.optim import Optimizer

from dualadam.callbacks import sentences
from dualadam.errors import InvalidTypeError, InvalidValueError
from dualadam.optim import Diagnosis, DualAdam, InvAdam, diagnose, mixing_weight
from dualadam.optim.dualadam import unwrap

STRONG = 0.1  # share of Adam's step from which the inverse part is warned of


class HandOverWatch:
    """Diagnoses the optimizers of a training every so many steps, and warns once of each trouble.

    Call ``begin`` before the first step, ``look`` after every step for which ``due`` is true, and
    ``end`` after the last step. All processes of a distributed training must do the same, because
    ``diagnose`` sums over the shards of a parameter.

    Args:
        every: steps between two diagnoses once the hand-over is over, at least 1.
        points_in_hand_over: diagnoses during the hand-over, at least 1. It is the least number:
            the distance between two diagnoses never exceeds ``every``.

    Raises:
        InvalidTypeError, InvalidValueError: an argument is not an integer of at least 1.

    Example:
        >>> import torch
        >>> from dualadam import DualAdam
        >>> weight = torch.ones(3, requires_grad=True)
        >>> optimizer = DualAdam([weight], switch_rate=0.02)  # a hand-over of 50 steps
        >>> watch = HandOverWatch(every=100, points_in_hand_over=5)
        >>> watch.begin([optimizer], step=0, num_steps=300)
        >>> looked_at = []
        >>> for step in range(1, 301):
        ...     weight.grad = torch.full_like(weight, 0.1)
        ...     optimizer.step()
        ...     if watch.due(step):
        ...         looked_at.append((step, round(watch.look(step)["group0/mixing_weight"], 2)))
        >>> looked_at[:6]
        [(1, 0.98), (10, 0.8), (20, 0.6), (30, 0.4), (40, 0.2), (50, 0.0)]
        >>> looked_at[6:]
        [(100, 0.0), (200, 0.0), (300, 0.0)]
    """

    def __init__(self, every: int = 100, points_in_hand_over: int = 20) -> None:
        self._every = _at_least_1("every", every)
        self._points = _at_least_1("points_in_hand_over", points_in_hand_over)
        self._optimizers: list[DualAdam | InvAdam] = []
        self._last = 0  # step of the last diagnosis
        self._spacing = 1
        self._rates: dict[tuple[int, int], float] = {}
        self._said: set[str] = set()
        self._speaks = True

    def begin(
        self,
        optimizers: Iterable[Optimizer],
        step: int,
        num_steps: float,
        remedy: str = "",
        speaks: bool = True,
    ) -> None:
        """Start to watch, and warn if the training is shorter than the hand-over.

        Args:
            optimizers: those of the training, wrapped or not. Others than DualAdam and InvAdam
                are left out, but one of these must be among them.
            step: steps that were made before, in a resumed training.
            num_steps: steps of the whole training; ``math.inf`` where it is not known.
            remedy: how this trainer is given a DualAdam, as a sentence.
            speaks: False in the processes that shall not warn.

        Raises:
            InvalidTypeError: none of the optimizers is a DualAdam or an InvAdam.
        """
        self._optimizers = _ours(list(optimizers), remedy)
        self._last, self._spacing, self._speaks = step, 1, speaks
        self._rates.clear()
        left = num_steps - step
        for name, group, count in self._handing_over():
            if mixing_weight(count + left, group["switch_rate"]) > 0:
                self._warn_once(
                    "unfinished",
                    sentences.hand_over_too_long(name, group["switch_rate"], count + left),
                )

    def due(self, step: int) -> bool:
        """Whether to call ``look`` after this step: its number passed a multiple of the distance.

        A step that was seen before is not due, such as the one before an accumulated batch.
        """
        return step // self._spacing > self._last // self._spacing

    def look(self, step: int) -> dict[str, float]:
        """Diagnose, warn of what is seen for the first time, and return the finite numbers.

        Returns:
            The numbers of ``diagnose(optimizer).as_dict()`` under the same names. With several
            optimizers the names begin with "optimizer0/", "optimizer1/".
        """
        several = len(self._optimizers) > 1
        numbers: dict[str, float] = {}
        lengths: list[float] = []  # of the hand-overs that go on, in steps
        for index, optimizer in enumerate(self._optimizers):
            diagnosis = diagnose(optimizer)
            lengths += self._examine(index, optimizer, diagnosis, step)
            prefix = f"optimizer{index}/" if several else ""
            numbers |= {prefix + key: value for key, value in diagnosis.as_dict().items()}
        self._last = step
        self._spacing = self._every
        if lengths:
            self._spacing = max(1, min(self._every, int(max(lengths) / self._points)))
        return {key: value for key, value in numbers.items() if math.isfinite(value)}

    def end(self) -> None:
        """Warn if the training has ended within the hand-over."""
        for name, group, count in self._handing_over():
            if count and mixing_weight(count, group["switch_rate"]) > 0:
                self._warn_once(
                    "unfinished", sentences.ended_early(name, group["switch_rate"], count)
                )

    def _examine(
        self, index: int, optimizer: DualAdam | InvAdam, diagnosis: Diagnosis, step: int
    ) -> Iterator[float]:
        """Warn of what the rows of one optimizer show; yield the lengths of its hand-overs."""
        for row, group in zip(diagnosis, optimizer.param_groups, strict=True):
            name = self._name(index, row.group)
            rate = group.get("switch_rate", 0.0)
            # the share of Adam in the step is 1 - alpha; InvAdam is meant to be without it
            adam_step = row.adam_norm / (1 - row.mixing_weight) if row.mixing_weight < 1 else 0.0
            if adam_step > 0 and row.inverse_norm > STRONG * adam_step:
                share = row.inverse_norm / adam_step
                self._warn_once(
                    "strong",
                    sentences.inverse_part_is_strong(name, step, share, row.second_moment_mean),
                )
            if rate == 0 or not row.mixing_weight > 0:
                continue
            lr = float(group["lr"])
            before = self._rates.get((index, row.group), lr)
            if lr > before * (1 + 1e-6):
                self._warn_once("warm-up", sentences.two_warm_ups(name, step, before, lr))
            self._rates[index, row.group] = lr
            yield 1 / rate

    def _handing_over(self) -> Iterator[tuple[str, dict[str, Any], float]]:
        """Yield name, group and count of updates of the groups that hand over to Adam."""
        for index, optimizer in enumerate(self._optimizers):
            for number, group in enumerate(optimizer.param_groups):
                states = [optimizer.state.get(param) for param in group["params"]]
                if group.get("switch_rate", 0.0) > 0 and states:
                    counts = [float(state["step"]) for state in states if state]
                    yield self._name(index, number), group, max(counts, default=0.0)

    def _name(self, optimizer: int, group: int) -> str:
        of_several = f" of optimizer {optimizer}" if len(self._optimizers) > 1 else ""
        return f"parameter group {group}{of_several}"

    def _warn_once(self, kind: str, message: str) -> None:
        if kind not in self._said and self._speaks:
            warnings.warn(message, stacklevel=2)
        self._said.add(kind)


def _ours(optimizers: list[Optimizer], remedy: str) -> list[DualAdam | InvAdam]:
    """Return those of this package, without their wrappers."""
    ours = []
    for optimizer in optimizers:
        try:
            ours.append(unwrap(optimizer))
        except TypeError:
            continue
    if not ours:
        found = ", ".join(type(optimizer).__name__ for optimizer in optimizers) or "none"
        raise InvalidTypeError(
            f"The optimizer of the trainer must be a DualAdam or an InvAdam, got {found}. "
            + (remedy or "Give it one, or leave DiagnoseCallback out.")
        )
    return ours


def _at_least_1(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidTypeError(f"{name} must be an integer, got {value!r}.")
    if value < 1:
        raise InvalidValueError(f"{name} must be at least 1, got {value}.")
    return value
