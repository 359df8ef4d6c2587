"""Fine-tuning of pretrained language models: classes of texts, and answers to prompts. Needs the extra ``llm``."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dualadam.bench.augment import SPLIT_SEED, stratified_indices
from dualadam.bench.tasks import TASKS, FineTuning, Split
from dualadam.bench.tasks.language_data import Row, read_corpus
from dualadam.bench.tasks.language_tasks import ClassificationTask, GenerationTask, LanguageTask, same_number, same_text
from dualadam.bench.tasks.tokens import Sequences, kept, tokenise_dialogues, tokenise_texts


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
    known = len(models.load_tokenizer(language.model)[0])
    tokens = torch.randint(known, (2 * batch_size, length), generator=torch.Generator().manual_seed(0))
    prompts = [length if kind == "classification" else length // 2] * len(tokens)
    sequences: dict[Split, Sequences] = {"train": Sequences.of(tokens.tolist(), prompts, length)}
    make = partial(models.load_model, language, num_classes if kind == "classification" else None, device)
    if kind == "classification":
        return ClassificationTask(sequences, {"train": tokens[:, 0] % num_classes}, make, device=device, precision=precision)
    row = length if language.packed else None
    return GenerationTask(sequences, {}, make, same=same_text, decode=lambda *_: [], row_length=row, device=device, precision=precision)
