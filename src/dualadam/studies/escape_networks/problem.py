"""The loss that is escaped from: a two-layer network on digits with wrong labels and L2, for many parameter vectors at once."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dualadam.flatness import MeanLoss

NUM_CLASSES = 10


@dataclass(frozen=True)
class Problem:
    r"""A tanh network with one hidden layer on principal components of scikit-learn's digits; a share of the labels is wrong.

    .. math:: L(w) = \frac{1}{N} \sum_n \mathrm{CE}(f_w(x_n), y_n) + \frac{\lambda}{2} \lVert w \rVert^2

    Wrong labels keep the gradient noise from vanishing at a minimum; L2 makes minima isolated (softmax alone leaves flat directions).
    A flat vector w lies as the parameters of the module do. The methods below take many of them, shape (walkers, num_params).

    Args:
        num_examples, num_components, num_hidden: sizes; components are scaled to unit variance.
        label_noise: share of labels replaced by another class.
        l2: lambda, in every gradient, mini-batch or not.
        seed: of the choice of examples and of wrong labels.
    """

    num_examples: int = 500
    num_components: int = 10
    num_hidden: int = 6
    label_noise: float = 0.15
    l2: float = 0.002
    seed: int = 0

    @property
    def num_params(self) -> int:
        """Length of a flat vector."""
        return self.num_hidden * (self.num_components + 1) + NUM_CLASSES * (self.num_hidden + 1)

    @functools.cached_property
    def data(self) -> tuple[Tensor, Tensor]:
        """The inputs (num_examples, num_components), float64, and the labels (num_examples,)."""
        inputs, labels = digit_components(self.num_examples, self.num_components, self.seed)
        rng = np.random.default_rng(self.seed + 1)
        wrong = rng.choice(
            self.num_examples, round(self.label_noise * self.num_examples), replace=False
        )
        labels[wrong] = (labels[wrong] + rng.integers(1, NUM_CLASSES, len(wrong))) % NUM_CLASSES
        return torch.from_numpy(inputs), torch.from_numpy(labels)

    def loss_and_gradient(self, w: Tensor, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss (walkers,) and gradient (walkers, num_params) of every vector.

        Written out, since autograd's bookkeeping costs more than this arithmetic; a test holds it against the module's.

        Args:
            w: (walkers, num_params).
            inputs: (n, num_components), the same for all, or (walkers, n, num_components).
            labels: (n,) or (walkers, n).
        """
        walkers, d, h, k = len(w), self.num_components, self.num_hidden, NUM_CLASSES
        w1, b1, w2, b2 = w.split([h * d, h, k * h, k], 1)
        w1, w2 = w1.view(walkers, h, d), w2.view(walkers, k, h)
        x = inputs if inputs.ndim == 3 else inputs.expand(walkers, -1, -1)
        y = (labels if labels.ndim == 2 else labels.expand(walkers, -1))[:, :, None]
        hidden = torch.baddbmm(b1[:, None], x, w1.mT).tanh_()
        log_p = torch.baddbmm(b2[:, None], hidden, w2.mT).log_softmax(2)
        loss = -log_p.gather(2, y).mean((1, 2)) + self.l2 / 2 * w.square().sum(1)
        out = log_p.exp_().scatter_add_(2, y, -torch.ones_like(y, dtype=w.dtype)).div_(x.shape[1])
        back = (out @ w2).mul_(1 - hidden.square())
        parts = ((back.mT @ x).flatten(1), back.sum(1), (out.mT @ hidden).flatten(1), out.sum(1))
        return loss, torch.cat(parts, 1).add_(w, alpha=self.l2)

    def example_gradients(self, w: Tensor) -> Tensor:
        """Return the gradient of every example's cross-entropy at one vector, without L2: (num_examples, num_params)."""
        inputs, labels = self.data
        _, grads = self.loss_and_gradient(
            w.expand(len(inputs), -1), inputs[:, None], labels[:, None]
        )
        return grads - self.l2 * w

    def mean_loss(self, w: Tensor) -> MeanLoss:
        """Return the module at a vector as what ``dualadam.flatness`` measures."""
        model = nn.Sequential(
            nn.Linear(self.num_components, self.num_hidden),
            nn.Tanh(),
            nn.Linear(self.num_hidden, NUM_CLASSES),
        ).double()
        nn.utils.vector_to_parameters(w.clone(), model.parameters())

        def loss_fn(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            norm = torch.stack([p.square().sum() for p in model.parameters()]).sum()
            return nn.functional.cross_entropy(model(batch[0]), batch[1]) + self.l2 / 2 * norm

        return MeanLoss(model, loss_fn, [self.data])


def digit_components(
    num_examples: int, num_components: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return principal components of a random choice of digits, centred and of unit variance, and their true labels."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    chosen = np.random.default_rng(seed).permutation(len(bunch.data))[:num_examples]
    x = bunch.data[chosen] / 16.0
    x = x - x.mean(0)
    x = x @ np.linalg.svd(x, full_matrices=False)[2][:num_components].T
    return x / x.std(0), bunch.target[chosen].astype(np.int64)
