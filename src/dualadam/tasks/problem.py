"""A training problem of the user's own: model, loss, data and metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dualadam.errors import InvalidTypeError, InvalidValueError
from dualadam.tasks.protocol import Metric

LOSS = {"loss": Metric(higher_is_better=False, worst=1e9)}


@dataclass(frozen=True)
class Problem:
    """What to train, for the comparison's own loop.

    Args:
        model: returns a freshly initialised model. It is called after the run's seed is set.
        loss: ``loss(model, batch)`` returns the mean loss of a batch, a 0-d tensor.
        train, validation, test: the splits. Each is a map-style ``Dataset``, a tensor, a tuple or a
            dictionary of tensors with the same number of rows, or a function that takes a
            ``torch.Generator`` and returns the batches of one epoch. Without ``validation``, 15 %
            of the training examples are held out. Without ``test``, judged runs are scored on
            ``validation``, and the settings are chosen on 15 % of the training examples.
        evaluate: ``evaluate(model, batches)`` returns a score per metric, for a model in evaluation
            mode without gradients. None: the mean loss is the only metric.
        metrics: unit, direction and worst value of each score that ``evaluate`` returns, the
            deciding one first. Required with ``evaluate``.
        collate: puts examples of a ``Dataset`` together; None takes torch's default.
        batch_weight: the number of terms in the mean loss of a batch; None counts its rows.
        summary: one line for the report.

    Raises:
        InvalidTypeError: an argument is not callable, or a split has another type.

    Example:
        >>> import torch
        >>> x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
        >>> problem = Problem(
        ...     model=lambda: nn.Linear(3, 1),
        ...     loss=lambda model, batch: (model(batch[0]) - batch[1]).square().mean(),
        ...     train=(x, x.sum(1, keepdim=True)),
        ... )
        >>> list(problem.all_metrics)
        ['loss']
    """

    model: Callable[[], nn.Module]
    loss: Callable[[nn.Module, Any], Tensor]
    train: Any
    validation: Any = None
    test: Any = None
    evaluate: Callable[[nn.Module, Iterable[Any]], Mapping[str, float]] | None = None
    metrics: Mapping[str, Metric] | None = None
    collate: Callable[[list[Any]], Any] | None = None
    batch_weight: Callable[[Any], int] | None = None
    summary: str = ""

    def __post_init__(self) -> None:
        for name in ("model", "loss", "evaluate", "collate", "batch_weight"):
            value = getattr(self, name)
            if not callable(value) and not (value is None and name not in ("model", "loss")):
                raise InvalidTypeError(f"{name} must be a function, got {value!r}.")
        if isinstance(self.model, nn.Module):
            raise InvalidTypeError(
                "model must be a function that returns a new model, got a model: all runs would "
                "train the same one. Write model=lambda: ..., or pass the class."
            )
        if self.train is None:
            raise InvalidTypeError("train must be the training data, got None.")
        for name, metric in (self.metrics or {}).items():
            if not isinstance(metric, Metric):
                raise InvalidTypeError(f"metrics[{name!r}] must be a Metric, got {metric!r}.")
        if self.evaluate is not None and not self.metrics:
            raise InvalidValueError(
                "metrics must name what evaluate returns, such as {'accuracy': Metric('%')}, "
                "got none."
            )
        if self.evaluate is None and self.metrics and set(self.metrics) != {"loss"}:
            names = ", ".join(self.metrics)
            raise InvalidValueError(
                f"metrics must be {{'loss': Metric(...)}} or None without evaluate, got {names}."
            )

    @property
    def all_metrics(self) -> Mapping[str, Metric]:
        """The metrics as given; the mean loss where there is no ``evaluate``."""
        return self.metrics or LOSS
