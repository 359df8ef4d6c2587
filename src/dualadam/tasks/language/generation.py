"""Answers to prompts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dualadam.errors import InvalidValueError
from dualadam.tasks.language.batches import GROUP, IGNORED, TokenBatch, attention_within, lay_out
from dualadam.tasks.language.sequences import Sequences
from dualadam.tasks.language.task import LanguageTask, LoadModel
from dualadam.tasks.protocol import Metric, Scores, Split

EXACT_MATCH = {"exact_match": Metric("%", of_examples=True)}
# guessing among the tokens of a vocabulary has about the worst perplexity
PERPLEXITY = {"perplexity": Metric("", higher_is_better=False, worst=1e5)}

Decode = Callable[[nn.Module, Tensor, Tensor], list[str]]


class GenerationTask(LanguageTask):
    """Prompts with their responses.

    Args:
        sequences: per split.
        responses: the right responses as text, per split that is evaluated.
        load_model: returns the pretrained model, ready to be trained.
        same: whether a decoded answer equals a response.
        decode: ``decode(model, prompts, mask)`` returns the answer to each prompt as text; prompts
            are padded on the left.
        row_length: tokens of a row that several documents share; None: one document per row.
        **options: as for ``LanguageTask``.
    """

    def __init__(
        self,
        sequences: dict[Split, Sequences],
        responses: dict[Split, list[str]],
        load_model: LoadModel,
        *,
        same: Callable[[str, str], bool],
        decode: Decode,
        row_length: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(sequences, load_model, **options)
        self.responses, self.same, self.decode = responses, same, decode
        self.row_length = row_length
        # packed rows have little padding without similar lengths
        self.group = 1 if row_length else GROUP

    def keep(self, split: Split, indices: Sequence[int]) -> None:
        """Drop all other examples of a split."""
        super().keep(split, indices)
        self.responses = self.responses | {split: [self.responses[split][k] for k in indices]}

    def make_model(self, name: str) -> nn.Module:
        """Return the pretrained model, checked to be causal and to take packed rows.

        Raises:
            InvalidValueError: a token changes the output for earlier tokens, or packed rows give
                other outputs than rows of one document.
        """
        model = self.load_model()
        self._check_causal(model)
        if self.row_length:
            self._check_documents_stay_apart(model)
        return model

    @torch.no_grad()
    def _check_causal(self, model: nn.Module) -> None:
        was_training = model.training
        pair = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 9]], device=self.device)
        model.eval()
        one, other = self.logits(model, pair)[:, :-1].float()
        model.train(was_training)
        # two rows of one batch may differ by rounding
        if (one - other).abs().max() > 1e-3 * one.abs().max():
            raise InvalidValueError(
                "model must be a causal language model for a generation task, got one whose tokens "
                "attend to later tokens."
            )

    @torch.no_grad()
    def _check_documents_stay_apart(self, model: nn.Module) -> None:
        was_training = model.training
        pair = torch.tensor([[5, 6, 7, 8, 9, 10]], device=self.device)
        model.eval()
        mask, positions = attention_within(torch.tensor([[1, 1, 1, 2, 2, 2]], device=self.device))
        packed = self.logits(model, pair, attention_mask=mask, position_ids=positions)
        alone = self.logits(model, pair[:, 3:]).float()
        model.train(was_training)
        coarse = self.precision == "bfloat16" or any(
            p.dtype == torch.bfloat16 for p in model.parameters()
        )
        # bfloat16 rounds to 2^-8 in every layer
        tolerance = (0.05 if coarse else 1e-4) * alone.abs().max()
        if (packed[:, 3:].float() - alone).abs().max() > tolerance:
            raise InvalidValueError(
                "packed must be false for this model: it mixes the documents of a row."
            )

    def batch(self, split: Split, indices: Sequence[int]) -> TokenBatch:
        """Return these examples; training rows are packed where the task has a row length."""
        row_length = self.row_length if split == "train" else None
        return lay_out(self.sequences[split], indices, self.pad_token, row_length)

    def answer_losses(self, model: nn.Module, batch: TokenBatch) -> Tensor:
        """Return the cross-entropy of every answer token, in nats, float32 (T,)."""
        tokens, documents, targets = batch
        # the token before a target predicts it
        rows, places = (targets[:, 1:] != IGNORED).nonzero(as_tuple=True)
        packed = bool(self.row_length) and int(documents.max()) > 1
        # moved after all that depends on values, so that nothing waits for the device
        wanted, rows, places = (
            t.to(self.device) for t in (targets[rows, places + 1], rows, places)
        )
        tokens, documents = tokens.to(self.device), documents.to(self.device)
        options: dict[str, Any] = {"attention_mask": (documents > 0).long()}
        if packed:
            mask, positions = attention_within(documents)
            options = {"attention_mask": mask, "position_ids": positions}
        logits = self.logits(model, tokens, use_cache=False, **options)
        return cross_entropy(logits[rows, places].float(), wanted, reduction="none")

    def loss(self, model: nn.Module, batch: TokenBatch) -> Tensor:
        """Return the mean cross-entropy of the answers' tokens, in nats; 0 without any."""
        losses = self.answer_losses(model, batch)
        return losses.sum() / max(1, len(losses))

    def weight(self, batch: TokenBatch) -> int:
        """Return the number of tokens of the answers."""
        _, _, targets = batch
        return int((targets[:, 1:] != IGNORED).sum())

    @torch.no_grad()
    def evaluate(self, model: nn.Module, split: Split) -> Scores:
        """Return exact match in percent, perplexity, its loss in nats, and the right answers."""
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
        metrics = {"exact_match": 100.0 * float(correct.mean()), "perplexity": perplexity}
        return Scores(metrics, loss, correct)

    def prompts(self, split: Split, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the prompts of these examples and their mask, each (B, L), padded on the left."""
        found = [self.sequences[split][k][: self.sequences[split].prompts[k]] for k in indices]
        width = max(map(len, found))
        tokens = torch.full((len(found), width), self.pad_token)
        mask = torch.zeros(len(found), width, dtype=torch.int64)
        for row, prompt in enumerate(found):
            tokens[row, width - len(prompt) :], mask[row, width - len(prompt) :] = prompt, 1
        return tokens.to(self.device), mask.to(self.device)
