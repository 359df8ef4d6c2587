"""What every task offers to training and to reports, and the settings that a task is made from."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dualadam.errors import InvalidValueError

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Metric:
    """The unit and the direction of a score."""

    unit: str = ""
    higher_is_better: bool = True
    worst: float = 0.0  # the score of a run that diverged
    # the percentage of examples that are right; ``Scores.correct`` says which
    of_examples: bool = False

    @property
    def sign(self) -> float:
        """The factor that makes a positive difference an improvement."""
        return 1.0 if self.higher_is_better else -1.0


ACCURACY = {"accuracy": Metric("%", of_examples=True)}


@dataclass(frozen=True)
class Scores:
    """The results of one evaluation of a model on one split."""

    metrics: dict[str, float]  # keys as in ``TaskEntry.metrics``
    loss: float  # mean over the examples, or over the tokens of the answers
    # bool (N,) in the order of the split; None for a task that has no such notion
    correct: np.ndarray | None = None


class Task(Protocol):
    """A training problem on one device. All randomness comes from the generators passed in."""

    num_train: int

    def make_model(self, name: str) -> nn.Module:
        """Return a freshly initialised model of this name, on the task's device."""

    def batches(self, batch_size: int, generator: torch.Generator, augment: bool) -> Iterator[Any]:
        """Yield one epoch of the training split in random order, in full batches.

        A batch is a tuple of tensors with the same number of rows.
        """

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the mean loss of a batch, a 0-d tensor."""

    def weight(self, batch: Any) -> int:
        """Return the number of terms that the mean loss of a batch has: examples or tokens."""

    def evaluate(self, model: nn.Module, split: Split) -> Scores:
        """Score the model, in evaluation mode, on a split."""

    def limit_evaluation(self, count: int) -> None:
        """Score at most ``count`` examples of the validation and of the test split from now on."""


@dataclass(frozen=True)
class FineTuning:
    """How a pretrained language model is trained: a spec's table ``[language]``, and the model.

    Args:
        model: a name of ``TaskEntry.models``, a folder, or a name on the hub.
        parameters: which parameters are trained: "full", "lora", or "last-N" for the head and the
            last N layers, N from 1 to 99.
        max_length: tokens, from 4 to 10**6; longer sequences are cut.
        dtype: of the parameters, "float32" or "bfloat16".
        lora_rank: from 1 to 4096.
        lora_alpha: above 0; the update of LoRA is scaled by ``lora_alpha / lora_rank``.
        gradient_checkpointing: compute activations again in the backward pass, to save memory.
        packed: put several documents into one row, without attention between them (generation
            only).
        max_new_tokens: of a decoded answer, from 1 to 10**5.

    Raises:
        InvalidValueError: a field is out of its range.

    Example:
        >>> try:
        ...     FineTuning("minilm-l6", max_length=2)
        ... except InvalidValueError as error:
        ...     print(error)
        max_length must be an integer from 4 to 1000000, got 2.
    """

    model: str
    parameters: str = "full"
    max_length: int = 512
    dtype: Literal["float32", "bfloat16"] = "float32"
    lora_rank: int = 8
    lora_alpha: float = 16.0
    gradient_checkpointing: bool = False
    packed: bool = False
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        checks = {
            "model": (isinstance(self.model, str) and self.model != "", "a name or a folder"),
            "parameters": (
                isinstance(self.parameters, str)
                and re.fullmatch("full|lora|last-[1-9][0-9]?", self.parameters) is not None,
                "'full', 'lora', or 'last-N' with N from 1 to 99",
            ),
            "dtype": (self.dtype in ("float32", "bfloat16"), "'float32' or 'bfloat16'"),
            "max_length": _integer(self.max_length, 4, 10**6),
            "lora_rank": _integer(self.lora_rank, 1, 4096),
            "max_new_tokens": _integer(self.max_new_tokens, 1, 10**5),
            "lora_alpha": (
                type(self.lora_alpha) in (int, float) and 0 < self.lora_alpha <= 1e12,
                "a number above 0 and at most 1e12",
            ),
            "gradient_checkpointing": _boolean(self.gradient_checkpointing),
            "packed": _boolean(self.packed),
        }
        for name, (valid, wanted) in checks.items():
            if not valid:
                raise InvalidValueError(f"{name} must be {wanted}, got {getattr(self, name)!r}.")
        # 16 and 16.0 are the same setting and must give the same run key
        object.__setattr__(self, "lora_alpha", float(self.lora_alpha))


@dataclass(frozen=True)
class LoadOptions:
    """How a task is made. See ``get_task``."""

    data: str | None = None
    subset: int | None = None
    device: str = "cpu"
    precision: str = "float32"
    language: FineTuning | None = None
    evaluation_batch_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class TaskEntry(ABC):
    """What is known of a task without its data, and how the task is made.

    Args:
        name: its key in ``TASKS``.
        summary: one line for ``dualadam list``.
        models: the names that ``Task.make_model`` takes.
        num_train: examples of the whole training split; None where it depends on the user's data.
        metrics: the first one decides a study, unless its spec names another.
        num_classes: None where there are none, or where it depends on the user's data.
        language: the kind of a language task, which takes any pretrained model; None for images.
    """

    name: str
    summary: str
    models: tuple[str, ...]
    num_train: int | None
    metrics: Mapping[str, Metric]
    num_classes: int | None = None
    language: Literal["classification", "generation"] | None = None

    @abstractmethod
    def check(self, data: str | None, language: FineTuning | None) -> tuple[str, ...]:
        """Check that the task can be loaded. See ``check_data``."""

    @abstractmethod
    def load(self, options: LoadOptions) -> Task:
        """Read the data and return the task. See ``get_task``."""

    @abstractmethod
    def synthetic(self, batch_size: int, options: LoadOptions) -> Task | None:
        """Return a task of noise. See ``synthetic_task``."""

    def takes(self, model: str) -> bool:
        """Whether the task takes a model of this name.

        A language task takes any folder or hub name, which are the names with a slash.
        """
        return model in self.models or (
            self.language is not None and ("/" in model or os.sep in model)
        )

    def steps_per_epoch(self, batch_size: int, subset: int | None) -> int | None:
        """Return the number of full batches of an epoch; None where it depends on the data."""
        count = subset or self.num_train
        return None if count is None else count // batch_size


def _integer(value: object, low: int, high: int) -> tuple[bool, str]:
    return type(value) is int and low <= value <= high, f"an integer from {low} to {high}"


def _boolean(value: object) -> tuple[bool, str]:
    return isinstance(value, bool), "true or false"
