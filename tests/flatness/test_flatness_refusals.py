"""What the flatness measures refuse."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from flatness_cases import loss_of, quadratic, squares
from torch import nn

from dualadam.errors import InvalidTypeError, InvalidValueError, NotConvergedError
from dualadam.flatness import hvp, sam_sharpness, spectral_density, top_eigenvalues, trace

ANOTHER = nn.Linear(3, 2)


def derivative(loss):
    return loss.hvp(torch.ones(loss.num_params))


def frozen():
    return nn.Linear(3, 2).requires_grad_(False)


def counting():
    calls = []
    return lambda model, batch: calls.append(0) or squares(model, batch) * len(calls)


REFUSED = {
    "no parameter needs a gradient": (
        lambda: loss_of(frozen()),
        InvalidValueError,
        "at least one parameter that needs a gradient",
    ),
    "no parameter chosen": (
        lambda: loss_of(params=[]),
        InvalidValueError,
        "at least one parameter that needs a gradient",
    ),
    "a frozen parameter chosen": (
        lambda: loss_of(frozen(), params=["weight"]),
        InvalidValueError,
        "frozen 'weight'; call requires_grad_",
    ),
    "an unknown name": (
        lambda: loss_of(params="wieght"),
        InvalidValueError,
        "got 'wieght'; it has weight, bias",
    ),
    "a foreign tensor": (
        lambda: loss_of(params=[torch.ones(3)]),
        InvalidValueError,
        "a tensor that is none of them",
    ),
    "a complex parameter": (
        lambda: loss_of(nn.Linear(3, 2, dtype=torch.cfloat)),
        InvalidTypeError,
        "real, got 'weight' of torch.complex64",
    ),
    "half precision": (
        lambda: loss_of(nn.Linear(3, 2).bfloat16()),
        InvalidTypeError,
        "bfloat16; dtype=torch.float32",
    ),
    "a wrong dtype": (
        lambda: loss_of(dtype=torch.float16),
        InvalidValueError,
        "dtype must be torch.float32, torch.float64 or None",
    ),
    "a generator of batches": (
        lambda: loss_of(batches=(b for b in [torch.ones(4, 3)])),
        InvalidTypeError,
        "iterable more than once",
    ),
    "no batch": (lambda: loss_of(batches=[]), InvalidValueError, "at least one batch, got none"),
    "a loss per example": (
        lambda: loss_of(loss_fn=lambda m, b: m(b).sum(1)),
        InvalidValueError,
        r"0-d tensor, got shape \(4,\)",
    ),
    "a float as loss": (
        lambda: loss_of(loss_fn=lambda m, b: squares(m, b).item()),
        InvalidTypeError,
        "must return a tensor, got float",
    ),
    "a loss that is NaN": (
        lambda: loss_of(batches=[torch.ones(1, 3), torch.full((1, 3), torch.nan)]),
        InvalidValueError,
        "got nan on batch 1",
    ),
    "a loss that is infinite": (
        lambda: loss_of(loss_fn=lambda m, b: squares(m, b) / 0),
        InvalidValueError,
        "finite, got inf on batch 0",
    ),
    "dropout that ignores the mode": (
        lambda: loss_of(loss_fn=lambda m, b: squares(m, F.dropout(b))),
        InvalidValueError,
        "deterministic, got",
    ),
    "a loss with a memory": (
        lambda: loss_of(loss_fn=counting()),
        InvalidValueError,
        "deterministic, got",
    ),
    "a batch of unknown size": (
        lambda: loss_of(loss_fn=lambda m, b: m.weight.sum(), batches=[7]),
        InvalidValueError,
        "num_examples must be given",
    ),
    "a batch of no examples": (
        lambda: loss_of(num_examples=lambda b: 0),
        InvalidValueError,
        "num_examples must be positive, got 0",
    ),
    "a loss of another model": (
        lambda: derivative(loss_of(loss_fn=lambda m, b: squares(ANOTHER, b))),
        InvalidValueError,
        "must depend on",
    ),
    "a loss without a graph": (
        lambda: derivative(loss_of(loss_fn=lambda m, b: squares(m, b).detach())),
        InvalidValueError,
        "must depend on",
    ),
    "a derivative that does not exist": (
        lambda: derivative(quadratic_root()),
        InvalidValueError,
        "finite derivatives",
    ),
    "a vector of another length": (
        lambda: hvp(loss_of(), torch.ones(7)),
        InvalidValueError,
        r"shape \(8,\), got \(7,\)",
    ),
    "a matrix as vector": (
        lambda: hvp(loss_of(), torch.ones(8, 1)),
        InvalidValueError,
        r"shape \(8,\), got \(8, 1\)",
    ),
    "k = 0": (lambda: top_eigenvalues(loss_of(), k=0), InvalidValueError, r"k must be in \[1, 8\]"),
    "k above the number of parameters": (
        lambda: top_eigenvalues(loss_of(), k=9),
        InvalidValueError,
        r"k must be in \[1, 8\]",
    ),
    "an unknown which": (
        lambda: top_eigenvalues(loss_of(), which="top"),
        InvalidValueError,
        "'LA', 'SA' or 'LM', got 'top'",
    ),
    "a negative tol": (
        lambda: top_eigenvalues(loss_of(), tol=-1),
        InvalidValueError,
        "tol must be at least 0",
    ),
    "no restart": (
        lambda: top_eigenvalues(loss_of(), maxiter=0),
        InvalidValueError,
        "maxiter must be at least 1",
    ),
    "too few restarts": (
        lambda: top_eigenvalues(dense_spectrum(), 1, tol=0, maxiter=1),
        NotConvergedError,
        "0 of 1 eigenvalues converged",
    ),
    "a negative rtol": (
        lambda: trace(loss_of(), rtol=-0.1),
        InvalidValueError,
        "rtol must be at least 0",
    ),
    "one sample": (
        lambda: trace(loss_of(), min_samples=1),
        InvalidValueError,
        r"min_samples must be in \[2, max_samples\], got 1",
    ),
    "fewer samples than the least": (
        lambda: trace(loss_of(), max_samples=5),
        InvalidValueError,
        "got 10 with max_samples=5",
    ),
    "no step": (
        lambda: spectral_density(loss_of(), num_steps=0),
        InvalidValueError,
        "num_steps must be at least 1",
    ),
    "no sample": (
        lambda: spectral_density(loss_of(), num_samples=0),
        InvalidValueError,
        "num_samples must be at least 1",
    ),
    "no width": (
        lambda: spectral_density(loss_of(), sigma=0.0),
        InvalidValueError,
        "sigma must be above 0",
    ),
    "a decreasing grid": (
        lambda: spectral_density(loss_of(), grid=[1.0, 0.0]),
        InvalidValueError,
        "grid must be 1-D and increasing",
    ),
    "a radius of 0": (
        lambda: sam_sharpness(loss_of(), rho=0),
        InvalidValueError,
        "rho must be above 0",
    ),
    "a gradient of 0": (
        lambda: sam_sharpness(quadratic(torch.eye(3), torch.zeros(3))),
        InvalidValueError,
        "measure top_eigenvalues",
    ),
}


def quadratic_root():
    """|w| with w = 0: the loss is finite, its derivative is not."""
    model = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(model.weight)
    return loss_of(model, lambda model, batch: model.weight.square().sum().sqrt())


def dense_spectrum():
    return quadratic(torch.diag(torch.linspace(0, 1, 400, dtype=torch.float64)))


@pytest.mark.parametrize(("measure", "error", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_bad_input_is_refused_with_a_sentence(measure, error, sentence):
    with pytest.raises(error, match=sentence):
        measure()
