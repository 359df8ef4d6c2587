"""Sequences of different lengths: a Dataset, batches that are dictionaries, a weighted loss."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from dualadam.compare import Metric, Problem, compare

Batch = dict[str, torch.Tensor]


class Parity(Dataset):
    """Bits and whether their number of ones is odd so far."""

    def __init__(self, seed: int, count: int):
        generator = torch.Generator().manual_seed(seed)
        lengths = torch.randint(4, 12, (count,), generator=generator).tolist()
        self.rows = [torch.randint(2, (length,), generator=generator) for length in lengths]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.rows[index]


def collate(rows: list[torch.Tensor]) -> Batch:
    bits = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    real = torch.arange(bits.shape[1]) < lengths[:, None]
    return {"bits": bits, "odd": bits.cumsum(1) % 2, "real": real}


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells = nn.GRU(1, 16, batch_first=True)
        self.head = nn.Linear(16, 1)

    def forward(self, bits: torch.Tensor) -> torch.Tensor:
        return self.head(self.cells(bits.float().unsqueeze(2))[0]).squeeze(2)


def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    scores = model(batch["bits"])[batch["real"]]
    return F.binary_cross_entropy_with_logits(scores, batch["odd"][batch["real"]].float())


def evaluate(model: nn.Module, batches) -> dict[str, float]:
    right = total = 0
    for batch in batches:
        hits = (model(batch["bits"]) > 0) == (batch["odd"] == 1)
        right += hits[batch["real"]].sum().item()
        total += batch["real"].sum().item()
    return {"accuracy": 100 * right / total}


def make() -> Problem:
    return Problem(
        model=Recurrent,
        loss=loss,
        train=Parity(0, 500),
        validation=Parity(1, 200),
        test=Parity(2, 200),
        collate=collate,
        batch_weight=lambda batch: int(batch["real"].sum()),  # the loss is a mean over these
        evaluate=evaluate,
        metrics={"accuracy": Metric("%")},
        summary="The parity of bits so far",
    )


if __name__ == "__main__":
    print(compare(make, lr=1e-2, steps=300, seeds=10, out="runs/sequences").table())
