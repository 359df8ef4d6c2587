"""Gradient noise against the Hessian where the loss is convex, for right and for wrong models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from scipy.optimize import minimize

from dualadam.studies.escape_networks.diagonals import DiagonalComparison, compare_diagonals
from dualadam.studies.escape_networks.network import NUM_CLASSES, digit_components, replace_labels
from dualadam.studies.escape_networks.rows import Row

NUM_DIGITS = 1797  # all of scikit-learn's
L2 = 1e-4  # makes the minimum of softmax unique; not part of the Hessian below
NUM_TOP, NUM_BOOTSTRAPS = 10, 100


@dataclass(frozen=True)
class RegressionRow(Row):
    """How the gradient covariance C of one example compares with H at a regression's minimum.

    Attributes:
        name: of the regression.
        gamma, r, ratio, left_out: see ``DiagonalComparison``.
        top_ratio: median of C / H along the ten top eigenvectors.
        intervals: 95 % bootstrap intervals over the examples, by the names of the statistics that
            exist in every resample.
    """

    name: str
    gamma: float | None
    r: float | None
    ratio: float
    left_out: int
    top_ratio: float
    intervals: dict[str, tuple[float, float]]

    @property
    def key(self) -> str:
        """The name of the regression."""
        return f"logistic/{self.name}"

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> RegressionRow:
        """Return the row of a line."""
        row = super().from_json(line)
        return replace(row, intervals={k: tuple(v) for k, v in line["intervals"].items()})


@dataclass(frozen=True)
class Regression:
    """The piece of the study that makes a RegressionRow: a linear model of all digits.

    Attributes:
        name: what tables call it.
        num_components: principal components that the model sees.
        label_noise: share of wrong labels.
        draws_labels: whether a fitted model draws the labels, of five copies of the inputs. The
            model is then exactly right.
        least_squares: whether the loss is the squared error of class indicators, not softmax.
    """

    name: str
    num_components: int = 10
    label_noise: float = 0.0
    draws_labels: bool = False
    least_squares: bool = False

    NUM_COPIES: ClassVar[int] = 5

    @property
    def key(self) -> str:
        """The key of its row."""
        return f"logistic/{self.name}"

    def run(self) -> RegressionRow:
        """Fit the model, compare C with H, and bootstrap the comparison over the examples."""
        x, y = digit_components(NUM_DIGITS, self.num_components, seed=0)
        x = np.column_stack([x, np.ones(len(x))])
        rng = np.random.default_rng(1)
        if self.label_noise:
            replace_labels(y, self.label_noise, rng)
        targets = np.eye(NUM_CLASSES)[y]
        if self.least_squares:
            out = x @ np.linalg.lstsq(x, targets, rcond=None)[0]
        else:
            w = _fit_softmax(x, targets)
            if self.draws_labels:
                x = np.tile(x, (self.NUM_COPIES, 1))
                targets = rng.multinomial(1, _softmax(x @ w)).astype(float)
                w = _fit_softmax(x, targets)
            out = _softmax(x @ w)
        fit = _Fit(x, out, targets, softmax=not self.least_squares)
        uniform = np.ones(len(x)) / len(x)
        point = fit.statistics(uniform)
        resamples = [
            fit.statistics(rng.multinomial(len(x), uniform) / len(x)) for _ in range(NUM_BOOTSTRAPS)
        ]
        return RegressionRow(
            name=self.name,
            **asdict(point.diagonal),
            top_ratio=point.top_ratio,
            intervals=_intervals([point, *resamples]),
        )


REGRESSIONS = (
    Regression("softmax, labels drawn from the model itself", label_noise=0.15, draws_labels=True),
    Regression("softmax, true labels"),
    Regression("softmax, 15 % wrong labels", label_noise=0.15),
    Regression("softmax, true labels, 2 of 10 inputs", num_components=2),
    Regression("least squares on the classes' indicators", least_squares=True),
)


@dataclass(frozen=True)
class _Statistics:
    diagonal: DiagonalComparison
    top_ratio: float


@dataclass(frozen=True)
class _Fit:
    """A fitted model: inputs (n, d), outputs and targets (n, NUM_CLASSES)."""

    inputs: np.ndarray
    outputs: np.ndarray
    targets: np.ndarray
    softmax: bool

    def statistics(self, weights: np.ndarray) -> _Statistics:
        """Compare C and H, both as means over the examples with these weights."""
        hessian, covariance = self._hessian(weights), self._covariance(weights)
        values, vectors = np.linalg.eigh(hessian)
        values, vectors = values[::-1][:NUM_TOP], vectors[:, ::-1][:, :NUM_TOP]
        top = np.einsum("ik,ij,jk->k", vectors, covariance, vectors) / values
        diagonal = compare_diagonals(covariance.diagonal(), hessian.diagonal())
        return _Statistics(diagonal, float(np.median(top)))

    @cached_property
    def _gradients(self) -> np.ndarray:
        residuals = self.outputs - self.targets
        return np.einsum("nd,nk->ndk", self.inputs, residuals).reshape(len(residuals), -1)

    def _covariance(self, weights: np.ndarray) -> np.ndarray:
        mean = weights @ self._gradients
        weighted = self._gradients * weights[:, None]
        return weighted.T @ self._gradients - np.outer(mean, mean)

    def _hessian(self, weights: np.ndarray) -> np.ndarray:
        """Return the mean of (x x^T) (x) (d residuals / d outputs), L2 left out."""
        n, d, k = len(weights), self.inputs.shape[1], NUM_CLASSES
        inner = np.eye(k)[None]
        if self.softmax:
            outer_products = np.einsum("nk,nl->nkl", self.outputs, self.outputs)
            inner = np.einsum("nk,kl->nkl", self.outputs, np.eye(k)) - outer_products
        outer = np.einsum("n,nd,ne->nde", weights, self.inputs, self.inputs)
        pairs = outer.reshape(n, -1).T @ np.broadcast_to(inner, (n, k, k)).reshape(n, -1)
        return pairs.reshape(d, d, k, k).transpose(0, 2, 1, 3).reshape(d * k, d * k)


def _intervals(resamples: list[_Statistics]) -> dict[str, tuple[float, float]]:
    """Return the 95 % intervals of all but the first, of statistics that exist in all."""
    flat = [asdict(one.diagonal) | {"top_ratio": one.top_ratio} for one in resamples]
    intervals = {}
    for name in ("gamma", "r", "ratio", "top_ratio"):
        if all(statistics[name] is not None for statistics in flat):
            values = [statistics[name] for statistics in flat[1:]]
            low, high = np.quantile(values, [0.025, 0.975])
            intervals[name] = (float(low), float(high))
    return intervals


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def _fit_softmax(x: np.ndarray, targets: np.ndarray) -> np.ndarray:
    shape = (x.shape[1], NUM_CLASSES)

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(shape)
        p = _softmax(x @ w)
        loss = -np.log((p * targets).sum(1)).mean() + L2 / 2 * (w**2).sum()
        return loss, (x.T @ (p - targets) / len(x) + L2 * w).ravel()

    options = {"maxiter": 5000, "ftol": 1e-15, "gtol": 1e-8}
    start = np.zeros(np.prod(shape))
    found = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(shape)
