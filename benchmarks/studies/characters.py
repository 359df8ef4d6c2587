"""A Transformer that learns English from scratch, character by character.

The text is the questions of GSM8K, from ``$DUALADAM_DATA``; its lines with other characters than
the 63 most frequent ones of the training set are left out.
"""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dualadam.compare import Problem

LENGTH, WIDTH, HEADS, LAYERS = 64, 64, 4, 2
NUM_CHARACTERS = 64  # with the end of a question
HELD_OUT = 500  # rows of the validation and of the test split


class Transformer(nn.Module):
    """A causal Transformer; (B, L) characters to (B, L, NUM_CHARACTERS) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.character = nn.Embedding(NUM_CHARACTERS, WIDTH)
        self.place = nn.Embedding(LENGTH, WIDTH)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, NUM_CHARACTERS))
        mask = nn.Transformer.generate_square_subsequent_mask(LENGTH)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, characters: Tensor) -> Tensor:
        """Return the logits of each next character."""
        hidden = self.character(characters) + self.place.weight
        return self.head(self.layers(hidden, mask=self.mask, is_causal=True))


def mean_loss(model: nn.Module, rows: Tensor) -> Tensor:
    """Return the mean cross-entropy of rows (B, LENGTH + 1), in nats per character."""
    return cross_entropy(model(rows[:, :-1]).transpose(1, 2), rows[:, 1:])


def questions(part: str) -> list[str]:
    """Return the questions of a part of GSM8K, "train" or "test"."""
    file = Path(os.environ["DUALADAM_DATA"]) / f"gsm8k_{part}.jsonl.gz"
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["question"] + "\n" for line in lines]


def make() -> Problem:
    """Return the problem. The test split is of the test questions."""
    train, test = questions("train"), questions("test")
    frequent = [c for c, _ in Counter("".join(train)).most_common(NUM_CHARACTERS)]
    codes = {character: code for code, character in enumerate(sorted(frequent))}

    def rows(texts: list[str]) -> Tensor:
        text = "".join(line for line in texts if set(line) <= codes.keys())
        numbers = torch.tensor([codes[character] for character in text])
        whole = len(numbers) // (LENGTH + 1) * (LENGTH + 1)
        found = numbers[:whole].view(-1, LENGTH + 1)
        return found[torch.randperm(len(found), generator=torch.Generator().manual_seed(0))]

    first, last = rows(train), rows(test)
    return Problem(
        model=Transformer,
        loss=mean_loss,
        train=first[HELD_OUT:],
        validation=first[:HELD_OUT],
        test=last[: 2 * HELD_OUT],
        summary="Characters of grade-school questions, a Transformer of 2 layers and width 64",
    )
