"""What is trained and judged on token sequences, whatever model reads them and wherever they are from. Needs torch and numpy alone."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dualadam.tasks import PERPLEXITY, Scores, Split
from dualadam.tasks.images.augment import evaluation_sample
from dualadam.tasks.language.tokens import (
    GROUP,
    IGNORED,
    Sequences,
    TokenBatch,
    attention_within,
    grouped_batches,
    lay_out,
)

EVALUATION_BATCH = 32
MakeModel = Callable[[], nn.Module]


class LanguageTask(ABC):
    """Token sequences of three splits; a batch is a `TokenBatch` on the CPU, moved to the device by the loss.

    Args:
        sequences: per split.
        make: returns the pretrained model, ready to be trained.
        fill: the token that fills rows up.
        facts: counts for the report.
        at_once: examples that are judged in one forward pass at most; None: `EVALUATION_BATCH`, which is also the most.
    """

    def __init__(
        self,
        sequences: dict[Split, Sequences],
        make: MakeModel,
        fill: int = 0,
        device: str = "cpu",
        precision: str = "float32",
        facts: dict[str, Any] | None = None,
        at_once: int | None = None,
    ) -> None:
        self.sequences, self.make, self.fill = sequences, make, fill
        self.device, self.precision, self.facts = device, precision, facts or {}
        self.num_train = len(sequences["train"])
        self.group = GROUP
        self.at_once = min(at_once or EVALUATION_BATCH, EVALUATION_BATCH)

    def make_model(self, name: str) -> nn.Module:
        """Return the pretrained model; the task's texts are in its tokens, so that it is the one the task was made for."""
        return self.make()

    def batches(
        self, batch_size: int, generator: torch.Generator, augment: bool
    ) -> Iterator[TokenBatch]:
        """Yield the full batches of one epoch; the generator alone decides which."""
        for indices in grouped_batches(
            self.sequences["train"].lengths, batch_size, generator, self.group
        ):
            yield self.batch("train", indices)

    @abstractmethod
    def batch(self, split: Split, indices: Sequence[int]) -> TokenBatch:
        """Return these examples of a split."""

    def evaluation_batches(self, split: Split) -> Iterator[list[int]]:
        """Yield all examples of a split, the longest first."""
        order = np.argsort(-self.sequences[split].lengths, kind="stable").tolist()
        for start in range(0, len(order), self.at_once):
            yield order[start : start + self.at_once]

    def limit_evaluation(self, count: int) -> None:
        """Judge from now on only so many examples of the validation and test splits."""
        splits: tuple[Split, ...] = ("validation", "test")
        for split in splits:
            self.keep(split, evaluation_sample(self.classes(split), count).tolist())

    def classes(self, split: Split) -> Tensor:
        """Return the class of every example: one, where there are none."""
        return torch.zeros(len(self.sequences[split]), dtype=torch.int64)

    def keep(self, split: Split, indices: Sequence[int]) -> None:
        """Leave out all other examples of a split."""
        self.sequences = self.sequences | {
            split: self.sequences[split].chosen(np.array(indices, np.int64))
        }

    def logits(self, model: nn.Module, tokens: Tensor, **options: Any) -> Tensor:
        """Return the model's output, under autocast where the precision asks for it."""
        with self.autocast():
            return model(input_ids=tokens, **options).logits

    def autocast(self) -> torch.autocast:
        """Return the context in which the model computes, which is none unless the precision is bfloat16."""
        return torch.autocast(
            self.device.split(":")[0], torch.bfloat16, enabled=self.precision == "bfloat16"
        )


class ClassificationTask(LanguageTask):
    """Texts and their classes, int64 (N,) per split; else as `LanguageTask`."""

    def __init__(
        self,
        sequences: dict[Split, Sequences],
        labels: dict[Split, Tensor],
        make: MakeModel,
        **options: Any,
    ) -> None:
        super().__init__(sequences, make, **options)
        self.labels = labels

    def classes(self, split: Split) -> Tensor:
        """Return the class of every text."""
        return self.labels[split]

    def keep(self, split: Split, indices: Sequence[int]) -> None:
        """Leave out all other examples of a split."""
        super().keep(split, indices)
        self.labels = self.labels | {split: self.labels[split][list(indices)]}

    def batch(self, split: Split, indices: Sequence[int]) -> TokenBatch:
        """Return these texts, a row each."""
        return lay_out(self.sequences[split], indices, self.fill)._replace(
            targets=self.labels[split][list(indices)]
        )

    def class_logits(self, model: nn.Module, batch: TokenBatch) -> Tensor:
        """Return float32 (B, classes)."""
        tokens, documents, _ = batch
        return self.logits(
            model, tokens.to(self.device), attention_mask=(documents > 0).long().to(self.device)
        ).float()

    def loss(self, model: nn.Module, batch: TokenBatch) -> Tensor:
        """Return the mean cross-entropy, in nats."""
        return cross_entropy(self.class_logits(model, batch), batch[2].to(self.device))

    def weight(self, batch: TokenBatch) -> int:
        """Return the number of texts."""
        return len(batch[2])

    @torch.no_grad()
    def evaluate(self, model: nn.Module, split: Split) -> Scores:
        """Return accuracy and macro F1 in percent, mean cross-entropy in nats, and which texts were right."""
        was_training = model.training
        model.eval()
        parts = [
            (indices, self.class_logits(model, self.batch(split, indices)))
            for indices in self.evaluation_batches(split)
        ]
        model.train(was_training)
        order = torch.tensor([k for indices, _ in parts for k in indices]).argsort()
        logits, labels = torch.cat([part for _, part in parts]).cpu()[order], self.labels[split]
        found = logits.argmax(1)
        correct = (found == labels).numpy()
        metrics = {
            "accuracy": 100.0 * float(correct.mean()),
            "macro_f1": 100.0 * macro_f1(labels.numpy(), found.numpy()),
        }
        return Scores(metrics, float(cross_entropy(logits, labels)), correct)


def macro_f1(labels: np.ndarray, found: np.ndarray) -> float:
    """Return the mean over the classes, that occur among either, of F1 = 2 TP / (2 TP + FP + FN).

    Example:
        >>> round(macro_f1(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1])), 4)  # 2/3, 2/4, 0
        0.3889
    """
    scores = []
    for kind in np.union1d(labels, found):
        right = np.sum((labels == kind) & (found == kind))
        scores.append(2 * right / (np.sum(labels == kind) + np.sum(found == kind)))
    return float(np.mean(scores))


class GenerationTask(LanguageTask):
    """Prompts with their responses; else as `LanguageTask`.

    Args:
        responses: the right responses as text, per split that is judged.
        same: whether a decoded answer equals a response.
        decode: ``decode(model, prompts, mask)`` returns the answer of each prompt as text; prompts are filled up on the left.
        row_length: tokens of a row that several documents share; None gives each a row of its own.
    """

    def __init__(
        self,
        sequences: dict[Split, Sequences],
        responses: dict[Split, list[str]],
        make: MakeModel,
        *,
        same: Callable[[str, str], bool],
        decode: Callable[[nn.Module, Tensor, Tensor], list[str]],
        row_length: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(sequences, make, **options)
        self.responses, self.same, self.decode, self.row_length = (
            responses,
            same,
            decode,
            row_length,
        )
        self.group = (
            1 if row_length else GROUP
        )  # rows that are filled up with others need no like lengths

    def keep(self, split: Split, indices: Sequence[int]) -> None:
        """Leave out all other examples of a split."""
        super().keep(split, indices)
        self.responses = self.responses | {split: [self.responses[split][k] for k in indices]}

    def make_model(self, name: str) -> nn.Module:
        """Return the pretrained model; one that reads ahead, or would mix the documents of a row, is refused.

        Raises:
            ValueError: a token changes what is said of those before it, or packed rows give other numbers than rows of one document.
        """
        model = self.make()
        self._check_causal(model)
        if self.row_length:
            self._check_documents_stay_apart(model)
        return model

    @torch.no_grad()
    def _check_causal(self, model: nn.Module) -> None:
        was_training, pair = (
            model.training,
            torch.tensor([[5, 6, 7, 8], [5, 6, 7, 9]], device=self.device),
        )
        model.eval()
        one, other = self.logits(model, pair)[:, :-1].float()
        model.train(was_training)
        if (
            (one - other).abs().max() > 1e-3 * one.abs().max()
        ):  # rows of one batch: equal but for rounding, if that
            raise ValueError(
                "model must be a causal language model for a generation task, got one whose tokens see those after them."
            )

    @torch.no_grad()
    def _check_documents_stay_apart(self, model: nn.Module) -> None:
        was_training, pair = model.training, torch.tensor([[5, 6, 7, 8, 9, 10]], device=self.device)
        model.eval()
        mask, places = attention_within(torch.tensor([[1, 1, 1, 2, 2, 2]], device=self.device))
        together = self.logits(model, pair, attention_mask=mask, position_ids=places)[:, 3:].float()
        alone = self.logits(model, pair[:, 3:]).float()
        model.train(was_training)
        coarse = self.precision == "bfloat16" or any(
            p.dtype == torch.bfloat16 for p in model.parameters()
        )
        tolerance = (
            0.05 if coarse else 1e-4
        ) * alone.abs().max()  # bfloat16 rounds to 2^-8, layer by layer
        if (together - alone).abs().max() > tolerance:
            raise ValueError(
                "packed must be false for this model: it does not keep the documents of a row apart."
            )

    def batch(self, split: Split, indices: Sequence[int]) -> TokenBatch:
        """Return these examples, packed where the task is."""
        return lay_out(
            self.sequences[split], indices, self.fill, self.row_length if split == "train" else None
        )

    def answer_losses(self, model: nn.Module, batch: TokenBatch) -> Tensor:
        """Return the cross-entropy of every answer token, in nats, float32 (T,)."""
        tokens, documents, targets = batch
        rows, places = (targets[:, 1:] != IGNORED).nonzero(
            as_tuple=True
        )  # a token is predicted by the one before it
        shared = bool(self.row_length) and int(documents.max()) > 1
        # what depends on numbers of the batch is over before it is moved: the device need not be waited for
        wanted, rows, places = (
            t.to(self.device) for t in (targets[rows, places + 1], rows, places)
        )
        tokens, documents = tokens.to(self.device), documents.to(self.device)
        if shared:
            mask, positions = attention_within(documents)
            logits = self.logits(
                model, tokens, attention_mask=mask, position_ids=positions, use_cache=False
            )
        else:
            logits = self.logits(
                model, tokens, attention_mask=(documents > 0).long(), use_cache=False
            )
        return cross_entropy(logits[rows, places].float(), wanted, reduction="none")

    def loss(self, model: nn.Module, batch: TokenBatch) -> Tensor:
        """Return the mean cross-entropy of the answers' tokens, in nats; 0 where there is none."""
        losses = self.answer_losses(model, batch)
        return losses.sum() / max(1, len(losses))

    def weight(self, batch: TokenBatch) -> int:
        """Return the number of tokens of the answers."""
        return int((batch[2][:, 1:] != IGNORED).sum())

    @torch.no_grad()
    def evaluate(self, model: nn.Module, split: Split) -> Scores:
        """Return exact match in percent, perplexity of the answers, the loss it comes from, and which answers were right."""
        was_training = model.training
        model.eval()
        total, count, correct = 0.0, 0, np.zeros(len(self.sequences[split]), bool)
        for indices in self.evaluation_batches(split):
            losses = self.answer_losses(model, self.batch(split, indices))
            total, count = total + losses.double().sum().item(), count + len(losses)
            with self.autocast():
                answers = self.decode(model, *self.prompts(split, indices))
            correct[indices] = [
                self.same(answer, self.responses[split][k])
                for k, answer in zip(indices, answers, strict=True)
            ]
        model.train(was_training)
        loss = total / max(1, count)
        worst = PERPLEXITY["perplexity"].worst
        perplexity = min(math.exp(min(loss, 50.0)), worst) if math.isfinite(loss) else worst
        return Scores(
            {"exact_match": 100.0 * float(correct.mean()), "perplexity": perplexity}, loss, correct
        )

    def prompts(self, split: Split, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the prompts of these examples and their mask, each (B, L), filled up on the left."""
        found = [self.sequences[split][k][: self.sequences[split].prompts[k]] for k in indices]
        width = max(map(len, found))
        tokens, mask = (
            torch.full((len(found), width), self.fill),
            torch.zeros(len(found), width, dtype=torch.int64),
        )
        for row, prompt in enumerate(found):
            tokens[row, width - len(prompt) :], mask[row, width - len(prompt) :] = prompt, 1
        return tokens.to(self.device), mask.to(self.device)


_NUMBER = re.compile(r"####\s*\$?(-?[\d,]*\.?\d+)")


def final_number(text: str) -> float | None:
    """Return the first number that follows a ``####``; None where there is none.

    Example:
        >>> final_number("48 + 24 = 72, so #### 1,072.0"), final_number("#### -$5"), final_number("72")
        (1072.0, None, None)
    """
    found = _NUMBER.search(text)
    return float(found[1].replace(",", "")) if found else None


def same_number(answer: str, response: str) -> bool:
    """Whether an answer ends in the number of the response."""
    return final_number(answer) is not None and final_number(answer) == final_number(response)


def same_text(answer: str, response: str) -> bool:
    """Whether two texts are the same but for white space."""
    return answer.split() == response.split()
