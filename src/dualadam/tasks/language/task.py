"""What classification and generation share. Needs torch and NumPy alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dualadam.tasks.language.batches import GROUP, TokenBatch, grouped_batches
from dualadam.tasks.language.sequences import Sequences
from dualadam.tasks.protocol import Split
from dualadam.tasks.splits import evaluation_sample

EVALUATION_BATCH = 32
LoadModel = Callable[[], nn.Module]


class LanguageTask(ABC):
    """Token sequences of three splits.

    A batch is a ``TokenBatch`` on the CPU; ``loss`` moves it to the device.

    Args:
        sequences: per split.
        load_model: returns the pretrained model, ready to be trained.
        pad_token: fills the ends of rows.
        device: where the model lives.
        precision: "float32", or "bfloat16" for autocast of the forward pass.
        facts: counts and fingerprints for the record.
        evaluation_batch_size: examples of one forward pass of an evaluation, from 1 to 32; None is
            32, and a larger number counts as 32.
    """

    def __init__(
        self,
        sequences: dict[Split, Sequences],
        load_model: LoadModel,
        *,
        pad_token: int = 0,
        device: str = "cpu",
        precision: str = "float32",
        facts: dict[str, Any] | None = None,
        evaluation_batch_size: int | None = None,
    ) -> None:
        self.sequences, self.load_model, self.pad_token = sequences, load_model, pad_token
        self.device, self.precision, self.facts = device, precision, facts or {}
        self.num_train = len(sequences["train"])
        self.group = GROUP
        self.evaluation_batch_size = min(
            evaluation_batch_size or EVALUATION_BATCH, EVALUATION_BATCH
        )

    def make_model(self, name: str) -> nn.Module:
        """Return the pretrained model that the task was made for, whatever the name.

        The texts are already tokens of this model.
        """
        return self.load_model()

    def batches(
        self, batch_size: int, generator: torch.Generator, augment: bool
    ) -> Iterator[TokenBatch]:
        """Yield the full batches of one epoch, which depend on the generator alone."""
        lengths = self.sequences["train"].lengths
        for indices in grouped_batches(lengths, batch_size, generator, self.group):
            yield self.batch("train", indices)

    @abstractmethod
    def batch(self, split: Split, indices: Sequence[int]) -> TokenBatch:
        """Return these examples of a split."""

    def evaluation_batches(self, split: Split) -> Iterator[list[int]]:
        """Yield the indices of all examples of a split, the longest first."""
        order = np.argsort(-self.sequences[split].lengths, kind="stable").tolist()
        for start in range(0, len(order), self.evaluation_batch_size):
            yield order[start : start + self.evaluation_batch_size]

    def limit_evaluation(self, count: int) -> None:
        """Score at most ``count`` examples of the validation and of the test split from now on."""
        splits: tuple[Split, ...] = ("validation", "test")
        for split in splits:
            self.keep(split, evaluation_sample(self.classes(split), count).tolist())

    def classes(self, split: Split) -> Tensor:
        """Return the class of every example, int64 (N,); all 0 where there are no classes."""
        return torch.zeros(len(self.sequences[split]), dtype=torch.int64)

    def keep(self, split: Split, indices: Sequence[int]) -> None:
        """Drop all other examples of a split."""
        chosen = self.sequences[split].chosen(np.array(indices, np.int64))
        self.sequences = self.sequences | {split: chosen}

    def logits(self, model: nn.Module, tokens: Tensor, **options: Any) -> Tensor:
        """Return the model's output, from a forward pass in the task's precision."""
        with self.autocast():
            return model(input_ids=tokens, **options).logits

    def autocast(self) -> torch.autocast:
        """Return the context of a forward pass; it changes nothing in float32."""
        return torch.autocast(
            self.device.split(":")[0], torch.bfloat16, enabled=self.precision == "bfloat16"
        )
