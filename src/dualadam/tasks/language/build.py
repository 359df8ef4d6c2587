"""Fine-tuning of pretrained language models: classes of texts, and answers to prompts. Needs the extra ``llm``."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dualadam.tasks import TASKS, FineTuning, Split
from dualadam.tasks.images.augment import SPLIT_SEED, stratified_indices
from dualadam.tasks.language.corpus import Row, read_corpus
from dualadam.tasks.language.task import (
    ClassificationTask,
    GenerationTask,
    LanguageTask,
    same_number,
    same_text,
)
from dualadam.tasks.language.tokens import Sequences, kept, tokenise_dialogues, tokenise_texts


def read_task(
    name: str,
    *,
    data: str | None,
    subset: int | None,
    device: str,
    precision: str,
    language: FineTuning,
    at_once: int | None = None,
) -> LanguageTask:
    """Return a data set of `language_data` in the tokens of a model, cut to what the model reads.

    subset is a fixed part of the training split, stratified by class. Training examples of which the cut leaves no answer are left out.
    """
    from dualadam.tasks.language import models

    models.check(language)
    corpus = read_corpus(name, data)
    classification = TASKS[name].language == "classification"
    classes = sorted({row.target for row in corpus.splits["train"]}) if classification else []
    if len(classes) == 1:
        raise ValueError(
            f"data must have labels of more than one class for {name!r}, got {classes[0]!r} alone."
        )
    labels = {
        split: torch.tensor([classes.index(r.target) if classes else 0 for r in rows])
        for split, rows in corpus.splits.items()
    }
    rows: dict[Split, list[Row]] = dict(corpus.splits)
    if subset is not None:
        if subset > len(rows["train"]):
            raise ValueError(
                f"subset must be at most the {len(rows['train'])} training examples of {name!r}, got {subset}."
            )
        part = stratified_indices(
            labels["train"], subset, torch.Generator().manual_seed(SPLIT_SEED)
        )
        rows["train"], labels["train"] = (
            [rows["train"][k] for k in part.tolist()],
            labels["train"][part],
        )
    tokenizer, fingerprint = models.load_tokenizer(language.model)
    max_length = min(language.max_length, models.context_length(language.model))

    def tokenised(split: Split) -> Sequences:
        texts, targets = (
            [row.text for row in rows[split]],
            [] if classification else [row.target for row in rows[split]],
        )
        make = (
            partial(tokenise_texts, tokenizer, texts)
            if classification
            else partial(tokenise_dialogues, tokenizer, texts, targets)
        )
        return kept(
            models.cache_folder(),
            [2, fingerprint, max_length, texts, targets],
            lambda: make(max_length=max_length),
        )

    sequences = {split: tokenised(split) for split in rows}
    facts = {
        "max_length": max_length,
        "examples": {split: len(s) for split, s in sequences.items()},
        "truncated": {split: s.num_truncated for split, s in sequences.items()},
        "duplicates": corpus.duplicates,
        "made_of": {
            "texts": hashlib.sha256(
                b"".join(a.tobytes() for s in sequences for a in _arrays(sequences[s], labels[s]))
            ).hexdigest()[:16],
            "weights": models.weights_fingerprint(language.model),
        },
    }
    fill = models.pad_token(tokenizer)
    common: dict[str, Any] = {
        "fill": fill,
        "device": device,
        "precision": precision,
        "facts": facts,
        "at_once": at_once,
    }
    make = partial(models.load_model, language, len(classes) or None, device)
    if classification:
        return ClassificationTask(sequences, labels, make, **common)
    whole = {split: np.flatnonzero(s.prompts < s.lengths) for split, s in sequences.items()}
    if empty := [split for split in whole if not len(whole[split])]:
        raise ValueError(
            f"max_length must leave a part of the answer of some {empty[0]} example, got {max_length}, which the prompts fill; "
            "the model's context may be what limits it."
        )
    facts["without_answer"] = {split: len(s) - len(whole[split]) for split, s in sequences.items()}
    sequences["train"] = sequences["train"].chosen(whole["train"])

    def decode(model: nn.Module, prompts: Tensor, mask: Tensor) -> list[str]:
        lengths = mask.sum(1).cpu()
        rooms = (models.context_length(language.model) - lengths).clamp(1, language.max_new_tokens)
        answers = [""] * len(prompts)
        for room in rooms.unique().tolist():  # one, unless prompts reach the context's end: an answer does not depend on its neighbours
            rows = (rooms == room).nonzero()[:, 0].tolist()
            width = int(lengths[rows].max())
            found = models.decode_greedily(
                model, prompts[rows, -width:], mask[rows, -width:], room, tokenizer.eos_token_id
            )
            for row, answer in zip(
                rows, tokenizer.batch_decode(found, skip_special_tokens=True), strict=True
            ):
                answers[row] = answer
        return answers

    same = same_text if name == "jsonl-generation" else same_number
    responses = {split: [row.target for row in rows[split]] for split in rows}
    packed = max_length if language.packed else None
    return GenerationTask(
        sequences, responses, make, same=same, decode=decode, row_length=packed, **common
    )


def _arrays(sequences: Sequences, labels: Tensor) -> tuple[np.ndarray, ...]:
    return sequences.tokens, sequences.ends, sequences.prompts, labels.numpy()


bbc_news = partial(read_task, "bbc-news")
rotten_tomatoes = partial(read_task, "rotten-tomatoes")
newsgroups = partial(read_task, "20-newsgroups")
jsonl_classification = partial(read_task, "jsonl-classification")
gsm8k = partial(read_task, "gsm8k")
gsm_symbolic = partial(read_task, "gsm-symbolic")
jsonl_generation = partial(read_task, "jsonl-generation")


def synthetic(
    kind: str, batch_size: int, num_classes: int, device: str, precision: str, language: FineTuning
) -> LanguageTask:
    """Return two batches of noise, every sequence as long as it may be, for timing a step of the real model without its data."""
    from dualadam.tasks.language import models

    models.check(language)
    length = min(language.max_length, models.context_length(language.model))
    known = len(models.load_tokenizer(language.model)[0])
    tokens = torch.randint(
        known, (2 * batch_size, length), generator=torch.Generator().manual_seed(0)
    )
    prompts = [length if kind == "classification" else length // 2] * len(tokens)
    sequences: dict[Split, Sequences] = {"train": Sequences.of(tokens.tolist(), prompts, length)}
    make = partial(
        models.load_model, language, num_classes if kind == "classification" else None, device
    )
    if kind == "classification":
        return ClassificationTask(
            sequences,
            {"train": tokens[:, 0] % num_classes},
            make,
            device=device,
            precision=precision,
        )
    row = length if language.packed else None
    return GenerationTask(
        sequences,
        {},
        make,
        same=same_text,
        decode=lambda *_: [],
        row_length=row,
        device=device,
        precision=precision,
    )
