"""A small Transformer that predicts the next character; its metric is the perplexity."""

import inspect
import math

import torch
from torch import nn
from torch.nn import functional as F

from dualadam.compare import Metric, Problem, compare

LENGTH = 32


class Transformer(nn.Module):
    def __init__(self, num_characters: int, width: int = 32):
        super().__init__()
        self.token = nn.Embedding(num_characters, width)
        self.place = nn.Embedding(LENGTH, width)
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 1)
        self.head = nn.Linear(width, num_characters)

    def forward(self, characters: torch.Tensor) -> torch.Tensor:
        places = torch.arange(characters.shape[1], device=characters.device)
        mask = nn.Transformer.generate_square_subsequent_mask(len(places), characters.device)
        hidden = self.token(characters) + self.place(places)
        return self.head(self.layers(hidden, mask=mask, is_causal=True))


def loss(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(model(batch[:, :-1]).transpose(1, 2), batch[:, 1:])


def evaluate(model: nn.Module, batches) -> dict[str, float]:
    total = rows = 0
    for batch in batches:
        total += loss(model, batch).item() * len(batch)
        rows += len(batch)
    return {"perplexity": math.exp(total / rows)}


def make() -> Problem:
    text = inspect.getsource(nn.Transformer) + inspect.getsource(nn.MultiheadAttention)
    characters = sorted(set(text))
    codes = torch.tensor([characters.index(c) for c in text])
    rows = codes[: len(codes) // (LENGTH + 1) * (LENGTH + 1)].view(-1, LENGTH + 1)
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
    return Problem(
        model=lambda: Transformer(len(characters)),
        loss=loss,
        train=rows[200:],
        validation=rows[:100],
        test=rows[100:200],
        evaluate=evaluate,
        metrics={"perplexity": Metric(higher_is_better=False, worst=float(len(characters)))},
        summary="Characters of source code",
    )


if __name__ == "__main__":
    print(compare(make, lr=3e-3, epochs=4, seeds=10, out="runs/characters").table())
