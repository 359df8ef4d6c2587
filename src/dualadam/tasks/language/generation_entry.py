"""A data set of prompts with responses, and how it becomes a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch

from dualadam.errors import InvalidValueError
from dualadam.tasks.language.answers import same_text
from dualadam.tasks.language.decoding import decode_answers
from dualadam.tasks.language.entry import LanguageEntry
from dualadam.tasks.language.generation import GenerationTask
from dualadam.tasks.language.models import load_model
from dualadam.tasks.language.pretrained import check_model, load_tokenizer, pad_token
from dualadam.tasks.language.sequences import Sequences
from dualadam.tasks.language.tokenised import (
    facts_of,
    limit_training,
    longest_sequence,
    noise,
    tokenise,
)
from dualadam.tasks.protocol import LoadOptions, Metric, Split


@dataclass(frozen=True, kw_only=True)
class GenerationEntry(LanguageEntry):
    """Prompts with responses. A response is the target of its row.

    Args:
        same: whether a decoded answer equals a response.
    """

    models: tuple[str, ...] = ("smollm2-135m-instruct",)
    metrics: Mapping[str, Metric]
    language: Literal["generation"] = "generation"
    same: Callable[[str, str], bool]

    def load(self, options: LoadOptions) -> GenerationTask:
        """Read the prompts and responses and return them in the tokens of a model.

        Training examples without a token of the answer, because they were cut, are left out.
        """
        language = self.fine_tuning(options.language)
        check_model(language)
        corpus = self.corpus(options.data)
        rows = corpus.splits
        # there are no classes to stratify by
        labels = {split: torch.zeros(len(part), dtype=torch.int64) for split, part in rows.items()}
        if options.subset is not None:
            rows, labels = limit_training(rows, labels, options.subset, self.name)
        sequences = tokenise(rows, language, with_answers=True)
        facts = facts_of(sequences, labels, language, corpus.duplicates)
        answered = {s: np.flatnonzero(q.prompts < q.lengths) for s, q in sequences.items()}
        if empty := [split for split, index in answered.items() if not len(index)]:
            raise InvalidValueError(
                f"max_length must leave a part of the answer of some {empty[0]} example, got "
                f"{longest_sequence(language)}, which the prompts fill; the model's context may be "
                "the limit."
            )
        facts["without_answer"] = {
            split: len(sequences[split]) - len(index) for split, index in answered.items()
        }
        sequences["train"] = sequences["train"].chosen(answered["train"])
        tokenizer, _ = load_tokenizer(language.model)
        return GenerationTask(
            sequences,
            {split: [row.target for row in part] for split, part in rows.items()},
            partial(load_model, language, None, options.device),
            same=self.same,
            decode=partial(decode_answers, language=language),
            row_length=longest_sequence(language) if language.packed else None,
            pad_token=pad_token(tokenizer),
            device=options.device,
            precision=options.precision,
            facts=facts,
            evaluation_batch_size=options.evaluation_batch_size,
        )

    def synthetic(self, batch_size: int, options: LoadOptions) -> GenerationTask:
        """Return two batches of random tokens, every example of the maximum length."""
        language = self.fine_tuning(options.language)
        check_model(language)
        tokens = noise(batch_size, language)
        num, length = tokens.shape
        sequences: dict[Split, Sequences] = {
            "train": Sequences.of(tokens.tolist(), [length // 2] * num, length)
        }
        return GenerationTask(
            sequences,
            {},
            partial(load_model, language, None, options.device),
            same=same_text,
            decode=lambda *_: [],
            row_length=length if language.packed else None,
            device=options.device,
            precision=options.precision,
        )
