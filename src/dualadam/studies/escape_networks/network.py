"""The loss of the study: a two-layer network on digits, for many parameter vectors at once."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dualadam.flatness import MeanLoss

NUM_CLASSES = 10


class Digits(NamedTuple):
    """Inputs of shape (num_examples, num_components), float64, and labels (num_examples,)."""

    inputs: Tensor
    labels: Tensor


@dataclass(frozen=True)
class NetworkProblem:
    r"""A tanh network with one hidden layer on principal components of scikit-learn's digits.

    .. math:: L(w) = \frac{1}{N} \sum_n \mathrm{CE}(f_w(x_n), y_n)
        + \frac{\lambda}{2} \lVert w \rVert^2

    A share of the labels is wrong, so that the gradient noise does not vanish at a minimum. L2
    isolates the minima: softmax alone leaves flat directions. A flat vector w holds the module's
    parameters in the module's order. The methods take many of them, shape (walkers, num_params).

    Args:
        num_examples, num_components, num_hidden: sizes. The components have unit variance.
        label_noise: share of labels that another class replaces, in [0, 1].
        l2: lambda, part of every gradient, of a mini-batch or not.
        seed: of the choice of examples and of the wrong labels.

    Example:
        >>> NetworkProblem().num_params
        136
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
    def data(self) -> Digits:
        """The training data."""
        inputs, labels = digit_components(self.num_examples, self.num_components, self.seed)
        replace_labels(labels, self.label_noise, np.random.default_rng(self.seed + 1))
        return Digits(torch.from_numpy(inputs), torch.from_numpy(labels))

    def loss_and_gradient(self, w: Tensor, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss (walkers,) and gradient (walkers, num_params) of every vector.

        The derivative is written out, since autograd's overhead exceeds this arithmetic.

        Args:
            w: (walkers, num_params).
            inputs: (n, num_components) for all walkers, or (walkers, n, num_components).
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
        """Return the gradient of every example's cross-entropy at one vector, without L2.

        The shape is (num_examples, num_params).
        """
        inputs, labels = self.data
        _, grads = self.loss_and_gradient(
            w.expand(len(inputs), -1), inputs[:, None], labels[:, None]
        )
        return grads - self.l2 * w

    def mean_loss(self, w: Tensor) -> MeanLoss:
        """Return the loss of the module at a flat vector, for ``dualadam.flatness``."""
        model = nn.Sequential(
            nn.Linear(self.num_components, self.num_hidden),
            nn.Tanh(),
            nn.Linear(self.num_hidden, NUM_CLASSES),
        ).double()
        nn.utils.vector_to_parameters(w.clone(), model.parameters())

        def loss_fn(model: nn.Module, batch: Digits) -> Tensor:
            norm = torch.stack([p.square().sum() for p in model.parameters()]).sum()
            cross_entropy = nn.functional.cross_entropy(model(batch.inputs), batch.labels)
            return cross_entropy + self.l2 / 2 * norm

        return MeanLoss(model, loss_fn, [self.data])


def digit_components(
    num_examples: int, num_components: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return principal components of randomly chosen digits, and their true labels.

    The components are centred and have unit variance.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    chosen = np.random.default_rng(seed).permutation(len(bunch.data))[:num_examples]
    x = bunch.data[chosen] / 16.0
    x = x - x.mean(0)
    x = x @ np.linalg.svd(x, full_matrices=False)[2][:num_components].T
    return x / x.std(0), bunch.target[chosen].astype(np.int64)


def replace_labels(labels: np.ndarray, share: float, rng: np.random.Generator) -> None:
    """Replace a share of the labels, in place, each by another class."""
    wrong = rng.choice(len(labels), round(share * len(labels)), replace=False)
    labels[wrong] = (labels[wrong] + rng.integers(1, NUM_CLASSES, len(wrong))) % NUM_CLASSES
