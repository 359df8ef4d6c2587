"""Classification of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dualadam.errors import MissingExtraError
from dualadam.tasks.language.batches import TokenBatch, lay_out
from dualadam.tasks.language.sequences import Sequences
from dualadam.tasks.language.task import LanguageTask, LoadModel
from dualadam.tasks.protocol import ACCURACY, Metric, Scores, Split

CLASSIFICATION_METRICS = ACCURACY | {"macro_f1": Metric("%")}


class ClassificationTask(LanguageTask):
    """Texts with their classes.

    Args:
        sequences: per split.
        labels: int64 (N,) per split.
        load_model: returns the pretrained model, ready to be trained.
        **options: as for ``LanguageTask``.
    """

    def __init__(
        self,
        sequences: dict[Split, Sequences],
        labels: dict[Split, Tensor],
        load_model: LoadModel,
        **options: Any,
    ) -> None:
        super().__init__(sequences, load_model, **options)
        self.labels = labels

    def classes(self, split: Split) -> Tensor:
        """Return the class of every text, int64 (N,)."""
        return self.labels[split]

    def keep(self, split: Split, indices: Sequence[int]) -> None:
        """Drop all other texts of a split."""
        super().keep(split, indices)
        self.labels = self.labels | {split: self.labels[split][list(indices)]}

    def batch(self, split: Split, indices: Sequence[int]) -> TokenBatch:
        """Return these texts, one per row."""
        rows = lay_out(self.sequences[split], indices, self.pad_token)
        return rows._replace(targets=self.labels[split][list(indices)])

    def class_logits(self, model: nn.Module, batch: TokenBatch) -> Tensor:
        """Return float32 (B, classes)."""
        tokens, documents, _ = batch
        mask = (documents > 0).long().to(self.device)
        return self.logits(model, tokens.to(self.device), attention_mask=mask).float()

    def loss(self, model: nn.Module, batch: TokenBatch) -> Tensor:
        """Return the mean cross-entropy, in nats."""
        _, _, labels = batch
        return cross_entropy(self.class_logits(model, batch), labels.to(self.device))

    def weight(self, batch: TokenBatch) -> int:
        """Return the number of texts."""
        _, _, labels = batch
        return len(labels)

    @torch.no_grad()
    def evaluate(self, model: nn.Module, split: Split) -> Scores:
        """Return accuracy and macro F1 in percent, cross-entropy in nats, and the right texts."""
        was_training = model.training
        model.eval()
        parts = [
            (indices, self.class_logits(model, self.batch(split, indices)))
            for indices in self.evaluation_batches(split)
        ]
        model.train(was_training)
        order = torch.tensor([k for indices, _ in parts for k in indices]).argsort()
        logits, labels = torch.cat([part for _, part in parts]).cpu()[order], self.labels[split]
        predicted = logits.argmax(1)
        correct = (predicted == labels).numpy()
        metrics = {
            "accuracy": 100.0 * float(correct.mean()),
            "macro_f1": 100.0 * macro_f1(labels, predicted),
        }
        return Scores(metrics, float(cross_entropy(logits, labels)), correct)


def macro_f1(labels: Tensor, predicted: Tensor) -> float:
    """Return the mean F1 of the classes that occur among the labels or the predictions."""
    try:
        from sklearn.metrics import f1_score
    except ImportError as error:
        raise MissingExtraError(
            "Classification of texts needs scikit-learn: pip install 'dualadam[llm]'."
        ) from error
    return float(f1_score(labels.numpy(), predicted.numpy(), average="macro", zero_division=0))
