"""Tiny models with the interface of transformers, tasks for them, and files of JSON lines."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from dualadam.tasks.language.answers import same_text
from dualadam.tasks.language.classification import ClassificationTask
from dualadam.tasks.language.generation import GenerationTask
from dualadam.tasks.language.sequences import Sequences

VOCABULARY, END = 30, 29


class TinyLM(nn.Module):
    """Embeddings with positions, one layer of causal attention, a head.

    A ``leaky`` model attends to all earlier tokens, whatever the mask says.
    """

    def __init__(self, leaky: bool = False) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(VOCABULARY, 8), nn.Embedding(64, 8)
        self.mix, self.head, self.leaky = nn.Linear(8, 24), nn.Linear(8, VOCABULARY), leaky

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        use_cache: bool = False,
    ):
        length = input_ids.shape[1]
        places = torch.arange(length).expand_as(input_ids) if position_ids is None else position_ids
        x = self.tokens(input_ids) + self.places(places)
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        if attention_mask is not None and not self.leaky:
            causal = (
                attention_mask
                if attention_mask.ndim == 4
                else causal & (attention_mask[:, None, None, :] > 0)
            )
        q, k, v = self.mix(x)[:, None].chunk(3, dim=-1)
        x = (
            x
            + scaled_dot_product_attention(
                q, k, v, attn_mask=causal | torch.eye(length, dtype=torch.bool)
            )[:, 0]
        )
        return SimpleNamespace(logits=self.head(x))


class TinyClassifier(nn.Module):
    """The mean of the embeddings that are not filled up, then a head."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.head = nn.Embedding(VOCABULARY, 8), nn.Linear(8, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor):
        mask = attention_mask[..., None].float()
        return SimpleNamespace(
            logits=self.head((self.tokens(input_ids) * mask).sum(1) / mask.sum(1))
        )


def made(cls, **options):
    """A model of fixed weights."""
    torch.manual_seed(0)
    return cls(**options)


def random_sequences(count: int, seed: int = 0, answers: bool = True) -> Sequences:
    """Sequences of 3 to 14 tokens, of which the answer is at least one."""
    rng = np.random.default_rng(seed)
    rows = [
        [int(t) for t in rng.integers(1, END, rng.integers(2, 14))] + [END] for _ in range(count)
    ]
    return Sequences.of(
        rows, [int(rng.integers(1, len(row))) if answers else len(row) for row in rows], 64
    )


def generation_task(
    count: int = 40, row_length: int | None = None, leaky: bool = False, **options
) -> GenerationTask:
    """A generation task that decodes to the last prompt token, as text."""
    sequences = {
        split: random_sequences(n, seed)
        for seed, (split, n) in enumerate({"train": count, "validation": 9, "test": 10}.items())
    }
    responses = {split: [str(k) for k in range(len(s))] for split, s in sequences.items()}
    decode = options.pop(
        "decode", lambda model, prompts, mask: [str(int(row[-1])) for row in prompts]
    )
    make = lambda: made(TinyLM, leaky=leaky)  # noqa: E731
    return GenerationTask(
        sequences, responses, make, same=same_text, decode=decode, row_length=row_length, **options
    )


def classification_task(count: int = 40) -> ClassificationTask:
    """A task of three classes: the first token's remainder."""
    sizes = {"train": count, "validation": 9, "test": 75}
    sequences = {
        split: random_sequences(n, seed, answers=False)
        for seed, (split, n) in enumerate(sizes.items())
    }
    labels = {
        split: torch.stack([s[k][0] % 3 for k in range(len(s))]) for split, s in sequences.items()
    }
    return ClassificationTask(sequences, labels, lambda: made(TinyClassifier))


def write_lines(file: Path, *lines: object) -> Path:
    """Write JSON lines, compressed where the name ends in .gz; a string is written as it is."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = "\n".join(
        line if isinstance(line, str) else json.dumps(line) for line in lines
    ).encode()
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    return file


def labelled(count: int, start: int = 0) -> list[dict[str, object]]:
    """Return distinct texts of two classes."""
    return [{"text": f"text {k}", "label": k % 2} for k in range(start, start + count)]
