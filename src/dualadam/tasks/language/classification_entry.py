"""A data set of texts with labels, and how it becomes a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch

from dualadam.tasks.language.classification import CLASSIFICATION_METRICS, ClassificationTask
from dualadam.tasks.language.entry import LanguageEntry
from dualadam.tasks.language.models import load_model
from dualadam.tasks.language.pretrained import check_model, load_tokenizer, pad_token
from dualadam.tasks.language.sequences import Sequences
from dualadam.tasks.language.tokenised import facts_of, limit_training, noise, tokenise
from dualadam.tasks.protocol import LoadOptions, Metric, Split
from dualadam.tasks.splits import check_classes


@dataclass(frozen=True, kw_only=True)
class ClassificationEntry(LanguageEntry):
    """Texts with labels. A label is the target of its row."""

    models: tuple[str, ...] = ("minilm-l6", "smollm2-135m-instruct")
    metrics: Mapping[str, Metric] = field(default_factory=lambda: CLASSIFICATION_METRICS)
    language: Literal["classification"] = "classification"

    def load(self, options: LoadOptions) -> ClassificationTask:
        """Read the texts and return them in the tokens of a model."""
        language = self.fine_tuning(options.language)
        check_model(language)
        corpus = self.corpus(options.data)
        rows = corpus.splits
        classes = sorted({row.target for row in rows["train"]})
        index = {name: k for k, name in enumerate(classes)}
        labels = {
            split: torch.tensor([index[row.target] for row in part]) for split, part in rows.items()
        }
        if options.subset is not None:
            rows, labels = limit_training(rows, labels, options.subset, self.name)
        check_classes(labels["train"], classes, self.name)
        sequences = tokenise(rows, language, with_answers=False)
        return ClassificationTask(
            sequences,
            labels,
            partial(load_model, language, len(classes), options.device),
            pad_token=pad_token(load_tokenizer(language.model)[0]),
            device=options.device,
            precision=options.precision,
            facts=facts_of(sequences, labels, language, corpus.duplicates),
            evaluation_batch_size=options.evaluation_batch_size,
        )

    def synthetic(self, batch_size: int, options: LoadOptions) -> ClassificationTask:
        """Return two batches of random tokens, every text of the maximum length."""
        language = self.fine_tuning(options.language)
        check_model(language)
        tokens = noise(batch_size, language)
        num, length = tokens.shape
        num_classes = self.num_classes or 2
        sequences: dict[Split, Sequences] = {
            "train": Sequences.of(tokens.tolist(), [length] * num, length)
        }
        return ClassificationTask(
            sequences,
            {"train": tokens[:, 0] % num_classes},
            partial(load_model, language, num_classes, options.device),
            device=options.device,
            precision=options.precision,
        )
