"""Fine-tuning of pretrained language models: classes of texts, and answers to prompts. Needs the extra ``llm``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dualadam.bench.augment import stratified_indices
from dualadam.bench.tasks import PERPLEXITY, TASKS, FineTuning, Scores, Split
from dualadam.bench.tasks.language_data import SPLIT_SEED, Row, read_corpus
from dualadam.bench.tasks.tokens import (
    GROUP,
    IGNORED,
    Sequences,
    TokenBatch,
    attention_within,
    grouped_batches,
    kept,
    lay_out,
    tokenise_dialogues,
    tokenise_texts,
)

EVALUATION_BATCH = 32
MakeModel = Callable[[], nn.Module]


class LanguageTask:
    """Token sequences of three splits; a batch is a `TokenBatch` on the CPU, moved to the device by the loss.

    Args:
        sequences: per split.
        make: returns the pretrained model, ready to be trained.
        fill: the token that fills rows up.
        facts: counts for the report.
    """

    def __init__(
        self,
        sequences: dict[Split, Sequences],
        make: MakeModel,
        fill: int = 0,
        device: str = "cpu",
        precision: str = "float32",
        facts: dict[str, Any] | None = None,
    ) -> None:
        self.sequences, self.make, self.fill = sequences, make, fill
        self.device, self.precision, self.facts = device, precision, facts or {}
        self.num_train = len(sequences["train"])
        self.group = GROUP

    def make_model(self, name: str) -> nn.Module:
        """Return the pretrained model; the task's texts are in its tokens, so that it is the one the task was made for."""
        return self.make()

    def batches(self, batch_size: int, generator: torch.Generator, augment: bool) -> Iterator[TokenBatch]:
        """Yield the full batches of one epoch; the generator alone decides which."""
        for indices in grouped_batches(self.sequences["train"].lengths, batch_size, generator, self.group):
            yield self.batch("train", indices)

    def batch(self, split: Split, indices: Sequence[int]) -> TokenBatch:
        """Return these examples of a split."""
        raise NotImplementedError

    def evaluation_batches(self, split: Split) -> Iterator[list[int]]:
        """Yield all examples of a split, the longest first."""
        order = np.argsort(-self.sequences[split].lengths, kind="stable").tolist()
        for start in range(0, len(order), EVALUATION_BATCH):
            yield order[start : start + EVALUATION_BATCH]

    def limit_evaluation(self, count: int) -> None:
        """Judge from now on only the first examples of the validation and test splits."""
        splits: tuple[Split, ...] = ("validation", "test")
        for split in splits:
            self.sequences = self.sequences | {split: self.sequences[split].chosen(np.arange(min(count, len(self.sequences[split]))))}

    def logits(self, model: nn.Module, tokens: Tensor, **options: Any) -> Tensor:
        """Return the model's output, under autocast where the precision asks for it."""
        with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.precision == "bfloat16"):
            return model(input_ids=tokens, **options).logits


class ClassificationTask(LanguageTask):
    """Texts and their classes, int64 (N,) per split; else as `LanguageTask`."""

    def __init__(self, sequences: dict[Split, Sequences], labels: dict[Split, Tensor], make: MakeModel, **options: Any) -> None:
        super().__init__(sequences, make, **options)
        self.labels = labels

    def limit_evaluation(self, count: int) -> None:
        """Judge from now on only the first examples of the validation and test splits."""
        super().limit_evaluation(count)
        self.labels = {split: y if split == "train" else y[:count] for split, y in self.labels.items()}

    def batch(self, split: Split, indices: Sequence[int]) -> TokenBatch:
        """Return these texts, a row each."""
        return lay_out(self.sequences[split], indices, self.fill)._replace(targets=self.labels[split][list(indices)])

    def class_logits(self, model: nn.Module, batch: TokenBatch) -> Tensor:
        """Return float32 (B, classes)."""
        tokens, documents, _ = batch
        return self.logits(model, tokens.to(self.device), attention_mask=(documents > 0).long().to(self.device)).float()

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
        parts = [(indices, self.class_logits(model, self.batch(split, indices))) for indices in self.evaluation_batches(split)]
        model.train(was_training)
        order = torch.tensor([k for indices, _ in parts for k in indices]).argsort()
        logits, labels = torch.cat([part for _, part in parts]).cpu()[order], self.labels[split]
        found = logits.argmax(1)
        correct = (found == labels).numpy()
        metrics = {"accuracy": 100.0 * float(correct.mean()), "macro_f1": 100.0 * macro_f1(labels.numpy(), found.numpy())}
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
        self.responses, self.same, self.decode, self.row_length = responses, same, decode, row_length
        self.group = 1 if row_length else GROUP  # rows that are filled up with others need no like lengths

    def make_model(self, name: str) -> nn.Module:
        """Return the pretrained model; one that would mix the documents of a row is refused.

        Raises:
            ValueError: packed rows give this model other numbers than rows of one document.
        """
        model = self.make()
        if self.row_length:
            self._check_documents_stay_apart(model)
        return model

    @torch.no_grad()
    def _check_documents_stay_apart(self, model: nn.Module) -> None:
        was_training, pair = model.training, torch.tensor([[5, 6, 7, 8, 9, 10]]).to(self.device) % self.fill_limit
        model.eval()
        mask, places = attention_within(torch.tensor([[1, 1, 1, 2, 2, 2]], device=self.device))
        together = self.logits(model, pair, attention_mask=mask, position_ids=places)[:, 3:].float()
        alone = self.logits(model, pair[:, 3:]).float()
        model.train(was_training)
        if not torch.allclose(together, alone, rtol=0.05, atol=0.05 * alone.abs().max().item()):  # bfloat16 rounds to 2^-8, layer by layer
            raise ValueError("packed must be false for this model: it does not keep the documents of a row apart.")

    fill_limit = 1000  # every vocabulary is larger; tests have their own

    def batch(self, split: Split, indices: Sequence[int]) -> TokenBatch:
        """Return these examples, packed where the task is."""
        return lay_out(self.sequences[split], indices, self.fill, self.row_length if split == "train" else None)

    def answer_losses(self, model: nn.Module, batch: TokenBatch) -> Tensor:
        """Return the cross-entropy of every answer token, in nats, float32 (T,)."""
        tokens, documents, targets = (part.to(self.device) for part in batch)
        if self.row_length and documents.max() > 1:
            mask, places = attention_within(documents)
            logits = self.logits(model, tokens, attention_mask=mask, position_ids=places, use_cache=False)
        else:
            logits = self.logits(model, tokens, attention_mask=(documents > 0).long(), use_cache=False)
        counts = targets[:, 1:] != IGNORED  # a token is predicted by the one before it
        return cross_entropy(logits[:, :-1][counts].float(), targets[:, 1:][counts], reduction="none")

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
            answers = self.decode(model, *self.prompts(split, indices))
            correct[indices] = [self.same(answer, self.responses[split][k]) for k, answer in zip(indices, answers, strict=True)]
        model.train(was_training)
        loss = total / max(1, count)
        worst = PERPLEXITY["perplexity"].worst
        perplexity = min(math.exp(min(loss, 50.0)), worst) if math.isfinite(loss) else worst
        return Scores({"exact_match": 100.0 * float(correct.mean()), "perplexity": perplexity}, loss, correct)

    def prompts(self, split: Split, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the prompts of these examples and their mask, each (B, L), filled up on the left."""
        found = [self.sequences[split][k][: self.sequences[split].prompts[k]] for k in indices]
        width = max(map(len, found))
        tokens, mask = torch.full((len(found), width), self.fill), torch.zeros(len(found), width, dtype=torch.int64)
        for row, prompt in enumerate(found):
            tokens[row, width - len(prompt) :], mask[row, width - len(prompt) :] = prompt, 1
        return tokens.to(self.device), mask.to(self.device)


_NUMBER = re.compile(r"####\s*\$?(-?[\d,]*\.?\d+)")


def final_number(text: str) -> float | None:
    """Return the number after the first ``####``; None where there is none.

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


def read_task(name: str, *, data: str | None, subset: int | None, device: str, precision: str, language: FineTuning) -> LanguageTask:
    """Return a data set of `language_data` in the tokens of a model, cut to what the model reads.

    subset is a fixed part of the training split, stratified by class. Training examples of which the cut leaves no answer are left out.
    """
    from dualadam.bench.tasks import language_models as models

    models.check(language)
    corpus = read_corpus(name, data)
    classification = TASKS[name].language == "classification"
    classes = sorted({row.target for row in corpus.splits["train"]}) if classification else []
    labels = {split: torch.tensor([classes.index(r.target) if classes else 0 for r in rows]) for split, rows in corpus.splits.items()}
    rows: dict[Split, list[Row]] = dict(corpus.splits)
    if subset is not None:
        if subset > len(rows["train"]):
            raise ValueError(f"subset must be at most the {len(rows['train'])} training examples of {name!r}, got {subset}.")
        part = stratified_indices(labels["train"], subset, torch.Generator().manual_seed(SPLIT_SEED))
        rows["train"], labels["train"] = [rows["train"][k] for k in part.tolist()], labels["train"][part]
    tokenizer, fingerprint = models.load_tokenizer(language.model)
    max_length = min(language.max_length, models.context_length(language.model))

    def tokenised(split: Split) -> Sequences:
        texts, targets = [row.text for row in rows[split]], [] if classification else [row.target for row in rows[split]]
        make = partial(tokenise_texts, tokenizer, texts) if classification else partial(tokenise_dialogues, tokenizer, texts, targets)
        return kept(models.cache_folder(), [1, fingerprint, max_length, texts, targets], lambda: make(max_length=max_length))

    sequences = {split: tokenised(split) for split in rows}
    facts = {
        "max_length": max_length,
        "examples": {split: len(s) for split, s in sequences.items()},
        "truncated": {split: s.num_truncated for split, s in sequences.items()},
        "duplicates": corpus.duplicates,
    }
    fill = models.pad_token(tokenizer)
    common: dict[str, Any] = {"fill": fill, "device": device, "precision": precision, "facts": facts}
    make = partial(models.load_model, language, len(classes) or None, device)
    if classification:
        return ClassificationTask(sequences, labels, make, **common)
    whole = np.flatnonzero(sequences["train"].prompts < sequences["train"].lengths)
    facts["without_answer"] = len(sequences["train"]) - len(whole)
    sequences["train"] = sequences["train"].chosen(whole)

    def decode(model: nn.Module, prompts: Tensor, mask: Tensor) -> list[str]:
        room = max(1, models.context_length(language.model) - prompts.shape[1])
        found = models.decode_greedily(model, prompts, mask, min(language.max_new_tokens, room), tokenizer.eos_token_id)
        return tokenizer.batch_decode(found, skip_special_tokens=True)

    same = same_text if name == "jsonl-generation" else same_number
    responses = {split: [row.target for row in rows[split]] for split in rows}
    packed = max_length if language.packed else None
    return GenerationTask(sequences, responses, make, same=same, decode=decode, row_length=packed, **common)


bbc_news = partial(read_task, "bbc-news")
rotten_tomatoes = partial(read_task, "rotten-tomatoes")
newsgroups = partial(read_task, "20-newsgroups")
jsonl_classification = partial(read_task, "jsonl-classification")
gsm8k = partial(read_task, "gsm8k")
gsm_symbolic = partial(read_task, "gsm-symbolic")
jsonl_generation = partial(read_task, "jsonl-generation")


def synthetic(kind: str, batch_size: int, num_classes: int, device: str, precision: str, language: FineTuning) -> LanguageTask:
    """Return two batches of noise, every sequence as long as it may be, for timing a step of the real model without its data."""
    from dualadam.bench.tasks import language_models as models

    models.check(language)
    length = min(language.max_length, models.context_length(language.model))
    tokens = torch.randint(1000, (2 * batch_size, length), generator=torch.Generator().manual_seed(0))
    prompts = [length if kind == "classification" else length // 2] * len(tokens)
    sequences: dict[Split, Sequences] = {"train": Sequences.of(tokens.tolist(), prompts, length)}
    make = partial(models.load_model, language, num_classes if kind == "classification" else None, device)
    if kind == "classification":
        return ClassificationTask(sequences, {"train": tokens[:, 0] % num_classes}, make, device=device, precision=precision)
    row = length if language.packed else None
    return GenerationTask(sequences, {}, make, same=same_text, decode=lambda *_: [], row_length=row, device=device, precision=precision)
