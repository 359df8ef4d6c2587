"""The tensors of a step: columns of all parameters of a group, and the row of one parameter."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import NamedTuple

import torch
from torch import Tensor

from dualadam.optim._step.quantised import shape_in_words, shape_of_moment

SHAPE = attrgetter("shape")


class TensorRow(NamedTuple):
    """One parameter with its gradient and its state, or a piece of them."""

    param: Tensor
    grad: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor
    step: Tensor  # 0-d: the number of updates
    place: int  # the parameter's number in the optimizer, which seeds its rounding noise


class Updated(NamedTuple):
    """The new values of one row, in the dtype of the arithmetic."""

    param: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor


class Columns(NamedTuple):
    """The parameters of a group that have a gradient, and what belongs to each."""

    params: list[Tensor]
    grads: list[Tensor]
    exp_avgs: list[Tensor]
    exp_avg_sqs: list[Tensor]
    steps: list[Tensor]
    places: list[int]

    def rows(self) -> list[TensorRow]:
        """Return one row per parameter."""
        return [TensorRow(*row) for row in zip(*self, strict=True)]

    def pick(self, indices: Iterable[int]) -> Columns:
        """Return the columns of the parameters at these indices."""
        indices = list(indices)
        return Columns(
            params=[self.params[i] for i in indices],
            grads=[self.grads[i] for i in indices],
            exp_avgs=[self.exp_avgs[i] for i in indices],
            exp_avg_sqs=[self.exp_avg_sqs[i] for i in indices],
            steps=[self.steps[i] for i in indices],
            places=[self.places[i] for i in indices],
        )


def require_same_shapes(columns: Columns) -> None:
    """Refuse a state of another shape than its parameter's before anything changes.

    Raises:
        RuntimeError: with the first parameter's shapes.
    """
    shapes = list(map(SHAPE, columns.params))
    for key, tensors in (
        ("gradient", columns.grads),
        ("exp_avg", columns.exp_avgs),
        ("exp_avg_sq", columns.exp_avg_sqs),
    ):
        if list(map(SHAPE, tensors)) == shapes:
            continue
        for param, tensor in zip(columns.params, tensors, strict=True):
            if tensor.shape != shape_of_moment(param, tensor.dtype):
                raise RuntimeError(
                    f"{key} must have the shape of its parameter, {tuple(param.shape)}, "
                    f"got {shape_in_words(tensor)}. "
                    "After a parameter was resized, make a new optimizer."
                )


def has_repeats(params: list[Tensor]) -> bool:
    """Whether a parameter is listed twice."""
    return len(set(map(id, params))) < len(params)


def tell_autograd(columns: Columns) -> None:
    """Count the change, before the memory changes: what autograd refuses stays as it is."""
    for tensors in (columns.params, columns.exp_avgs, columns.exp_avg_sqs, columns.steps):
        torch.autograd.graph.increment_version(tensors)
