"""Small losses whose Hessian can be formed: one row for each kind of network and data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, jacrev
from torch.nn.attention import SDPBackend, sdpa_kernel

from dualadam.flatness import MeanLoss


class Attention(nn.Module):
    """A transformer block whose default attention kernel has no second derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.norm, self.head = nn.Linear(4, 12), nn.LayerNorm(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).unsqueeze(1).chunk(3, dim=-1)
        return self.head((x + F.scaled_dot_product_attention(q, k, v).squeeze(1)).mean(1))


class Tied(nn.Module):
    """A language model in miniature: the embedding is the output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.out = nn.Embedding(5, 4), nn.Linear(4, 5)
        self.out.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.embedding(x)))


def conv_with_batchnorm() -> nn.Module:
    features = [nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.Softplus(), nn.Dropout(0.5)]
    model = nn.Sequential(*features, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8, 3))
    for _ in range(3):
        model(2 + 3 * torch.randn(8, 1, 6, 6))  # running statistics far from a batch's own
    return model


@dataclass(frozen=True)
class Case:
    """A model maker, the inputs' maker, and how many classes; ``params`` as for MeanLoss."""

    model: Callable[[], nn.Module]
    inputs: Callable[[], Tensor]
    num_classes: int = 3
    params: tuple[str, ...] | None = None

    def make(self) -> tuple[MeanLoss, nn.Module, tuple[Tensor, Tensor]]:
        """Return the loss in float64 over unequal batches, its model, and all the data at once."""
        torch.manual_seed(0)
        model, x = self.model().double(), self.inputs()
        y = torch.randint(
            self.num_classes, (len(x), *x.shape[1:]) if x.dtype == torch.long else (len(x),)
        )
        batches = [{"x": x[:7], "y": y[:7]}, {"x": x[7:], "y": y[7:]}]
        return MeanLoss(model, cross_entropy, batches, params=self.params), model, (x, y)


def cross_entropy(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch["x"]).flatten(0, -2), batch["y"].flatten())


CASES = {
    "mlp": Case(
        lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)),
        lambda: torch.randn(10, 4).double(),
    ),
    "conv, batchnorm, dropout": Case(
        conv_with_batchnorm, lambda: torch.randn(10, 1, 6, 6).double()
    ),
    "attention": Case(Attention, lambda: torch.randn(10, 3, 4).double()),
    "tied embedding": Case(Tied, lambda: torch.randint(5, (10, 4)), num_classes=5),
    "two layers of three": Case(
        lambda: nn.Sequential(
            nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)
        ),
        lambda: torch.randn(10, 4).double(),
        params=("4.weight", "0.weight", "0.bias"),
    ),
}


def dense_hessian(loss: MeanLoss, model: nn.Module, data: tuple[Tensor, Tensor]) -> Tensor:
    """Return the Hessian by torch.func, backward twice, from all the data in one batch."""
    model.eval()

    def of_flat(flat: Tensor) -> Tensor:
        outputs = functional_call(model, loss.split(flat), (data[0],))
        return F.cross_entropy(outputs.flatten(0, -2), data[1].flatten())

    with sdpa_kernel(SDPBackend.MATH):
        return jacrev(jacrev(of_flat))(
            torch.cat([model.get_parameter(name).detach().flatten() for name in loss.names])
        ).detach()


def quadratic(matrix: Tensor, w: Tensor | None = None, **kwargs: Any) -> MeanLoss:
    """Return L(w) = w^T A w / 2 as a MeanLoss."""
    model = nn.Linear(len(matrix), 1, bias=False, dtype=matrix.dtype)
    if w is not None:
        with torch.no_grad():
            model.weight.copy_(w)
    return MeanLoss(
        model,
        lambda model, batch: torch.einsum("i,ij,j->", model.weight[0], batch, model.weight[0]) / 2,
        [matrix],
        **kwargs,
    )


def random_symmetric(n: int, seed: int) -> Tensor:
    """Return a dense symmetric matrix with eigenvalues of both signs."""
    a = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (a + a.T) / 2


def squares(model: Any, batch: Any) -> Tensor:
    return model(batch).square().mean()


ONES = [torch.ones(4, 3)]


def loss_of(
    model: nn.Module | None = None,
    loss_fn: Callable[[Any, Any], Any] = squares,
    batches: Any = ONES,
    **kwargs: Any,
) -> MeanLoss:
    """Return the mean square of a linear layer's output, or what the arguments make of it."""
    return MeanLoss(model or nn.Linear(3, 2), loss_fn, batches, **kwargs)
