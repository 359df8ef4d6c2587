"""Gradient noise against the Hessian where the loss is convex: regressions whose model is right, and whose model is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize

from dualadam.studies.escape_networks.minima import compare_diagonals
from dualadam.studies.escape_networks.problem import NUM_CLASSES, digit_components

L2 = 1e-4  # fixes what softmax leaves free, and is taken off the Hessian again
NUM_TOP, NUM_BOOTSTRAPS = 10, 100
CASES = (  # name, kind of labels, principal components that the model sees
    ("softmax, labels drawn from the model itself", "drawn", 10),
    ("softmax, true labels", "true", 10),
    ("softmax, 15 % wrong labels", "wrong", 10),
    ("softmax, true labels, 2 of 10 inputs", "true", 2),
    ("least squares on the classes' indicators", "squares", 10),
)


def compare(name: str, labels: str, num_components: int) -> dict[str, Any]:
    """Fit a regression to all digits and compare C, of one example, with H at its minimum; intervals by bootstrap over the examples."""
    x, y = digit_components(1797, num_components, seed=0)
    x = np.column_stack([x, np.ones(len(x))])
    rng = np.random.default_rng(1)
    if labels in ("wrong", "drawn"):
        flipped = rng.choice(len(y), round(0.15 * len(y)), replace=False)
        y[flipped] = (y[flipped] + rng.integers(1, NUM_CLASSES, len(flipped))) % NUM_CLASSES
    targets = np.eye(NUM_CLASSES)[y]
    softmax = labels != "squares"
    w = _fit(x, targets) if softmax else np.linalg.lstsq(x, targets, rcond=None)[0]
    if labels == "drawn":  # five times the inputs, each with a label that the fitted model drew
        x = np.tile(x, (5, 1))
        targets = rng.multinomial(1, _softmax(x @ w)).astype(float)
        w = _fit(x, targets)
    out = _softmax(x @ w) if softmax else x @ w
    grads = np.einsum("nd,nk->ndk", x, out - targets).reshape(len(x), -1)
    point = _statistics(x, out, grads, softmax, np.ones(len(x)) / len(x))
    draws = [
        _statistics(
            x, out, grads, softmax, rng.multinomial(len(x), np.ones(len(x)) / len(x)) / len(x)
        )
        for _ in range(NUM_BOOTSTRAPS)
    ]
    known = [
        key
        for key in ("gamma", "r", "ratio", "top_ratio")
        if point[key] is not None and all(d[key] is not None for d in draws)
    ]
    intervals = {
        key: np.quantile([d[key] for d in draws], [0.025, 0.975]).tolist() for key in known
    }
    return {"key": f"logistic/{name}", "name": name, **point, "intervals": intervals}


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def _fit(x: np.ndarray, targets: np.ndarray) -> np.ndarray:
    shape = (x.shape[1], NUM_CLASSES)

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(shape)
        p = _softmax(x @ w)
        loss = -np.log((p * targets).sum(1)).mean() + L2 / 2 * (w**2).sum()
        return loss, (x.T @ (p - targets) / len(x) + L2 * w).ravel()

    options = {"maxiter": 5000, "ftol": 1e-15, "gtol": 1e-8}
    return minimize(
        value, np.zeros(np.prod(shape)), jac=True, method="L-BFGS-B", options=options
    ).x.reshape(shape)


def _statistics(
    x: np.ndarray, out: np.ndarray, grads: np.ndarray, softmax: bool, weights: np.ndarray
) -> dict[str, Any]:
    """Return the comparison of C and H, both as means over the examples with these weights."""
    inner = (
        np.einsum("nk,kl->nkl", out, np.eye(NUM_CLASSES)) - np.einsum("nk,nl->nkl", out, out)
        if softmax
        else np.eye(NUM_CLASSES)[None]
    )
    outer = np.einsum("n,nd,ne->nde", weights, x, x)
    pairs = outer.reshape(len(x), -1).T @ np.broadcast_to(
        inner, (len(x), NUM_CLASSES, NUM_CLASSES)
    ).reshape(len(x), -1)
    d = x.shape[1]
    hessian = (
        pairs.reshape(d, d, NUM_CLASSES, NUM_CLASSES)
        .transpose(0, 2, 1, 3)
        .reshape(d * NUM_CLASSES, d * NUM_CLASSES)
    )
    mean = weights @ grads
    covariance = (grads * weights[:, None]).T @ grads - np.outer(mean, mean)
    values, vectors = np.linalg.eigh(hessian)
    values, vectors = values[::-1][:NUM_TOP], vectors[:, ::-1][:, :NUM_TOP]
    top = np.einsum("ik,ij,jk->k", vectors, covariance, vectors) / values
    return {
        **compare_diagonals(covariance.diagonal(), hessian.diagonal()),
        "top_ratio": float(np.median(top)),
    }
