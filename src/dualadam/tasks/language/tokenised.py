"""Rows that become token sequences for a pretrained model, and the facts that identify them."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dualadam.errors import InvalidValueError
from dualadam.tasks.files import cache_folder
from dualadam.tasks.language.corpus import Row
from dualadam.tasks.language.pretrained import (
    context_length,
    load_tokenizer,
    weights_fingerprint,
)
from dualadam.tasks.language.sequences import Sequences, tokenise_dialogues, tokenise_texts
from dualadam.tasks.language.token_cache import cached_sequences
from dualadam.tasks.protocol import FineTuning, Split
from dualadam.tasks.splits import split_generator, stratified_indices

CACHE_VERSION = 2  # raised when the same texts become other tokens


def limit_training(
    rows: dict[Split, list[Row]], labels: dict[Split, Tensor], subset: int, name: str
) -> tuple[dict[Split, list[Row]], dict[Split, Tensor]]:
    """Return the splits with a fixed, stratified part of the training split.

    Raises:
        InvalidValueError: the training split is smaller than the subset.
    """
    num_train = len(rows["train"])
    if subset > num_train:
        raise InvalidValueError(
            f"subset must be at most the {num_train} training examples of {name!r}, got {subset}."
        )
    chosen = stratified_indices(labels["train"], subset, split_generator())
    train = [rows["train"][k] for k in chosen.tolist()]
    return rows | {"train": train}, labels | {"train": labels["train"][chosen]}


def longest_sequence(language: FineTuning) -> int:
    """Return the number of tokens that sequences are cut to: the model may read fewer."""
    return min(language.max_length, context_length(language.model))


def tokenise(
    rows: dict[Split, list[Row]], language: FineTuning, *, with_answers: bool
) -> dict[Split, Sequences]:
    """Return the token sequences of each split, from the cache where it has them.

    Args:
        rows: per split.
        language: the model, and the maximum length.
        with_answers: a row's target is an answer that belongs to the sequence, not a label.
    """
    tokenizer, fingerprint = load_tokenizer(language.model)
    max_length = longest_sequence(language)
    found: dict[Split, Sequences] = {}
    for split, examples in rows.items():
        texts = [row.text for row in examples]
        targets = [row.target for row in examples] if with_answers else []
        make = (
            partial(tokenise_dialogues, tokenizer, texts, targets, max_length)
            if with_answers
            else partial(tokenise_texts, tokenizer, texts, max_length)
        )
        key = [CACHE_VERSION, fingerprint, max_length, texts, targets]
        found[split] = cached_sequences(cache_folder(), key, make)
    return found


def facts_of(
    sequences: dict[Split, Sequences],
    labels: dict[Split, Tensor],
    language: FineTuning,
    duplicates: int,
) -> dict[str, Any]:
    """Return the counts that a report shows, and fingerprints of the texts and of the weights."""
    texts = hashlib.sha256()
    for split, s in sequences.items():
        for array in (s.tokens, s.ends, s.prompts, labels[split].numpy()):
            texts.update(array.tobytes())
    return {
        "max_length": longest_sequence(language),
        "examples": {split: len(s) for split, s in sequences.items()},
        "truncated": {split: s.num_truncated for split, s in sequences.items()},
        "duplicates": duplicates,
        "made_of": {
            "texts": texts.hexdigest()[:16],
            "weights": weights_fingerprint(language.model),
        },
    }


def noise(batch_size: int, language: FineTuning) -> Tensor:
    """Return random tokens for two batches of the longest sequences, int64 (2 B, L)."""
    known = len(load_tokenizer(language.model)[0])
    size = (2 * batch_size, longest_sequence(language))
    return torch.randint(known, size, generator=torch.Generator().manual_seed(0))
