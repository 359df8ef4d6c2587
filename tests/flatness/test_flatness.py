"""What the flatness measures refuse, leave alone, and cost."""

from __future__ import annotations

import runpy
import sys
from collections import namedtuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from flatness_cases import CASES, quadratic, random_symmetric
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dualadam.flatness import (
    MeanLoss,
    hessian,
    hvp,
    sam_sharpness,
    spectral_density,
    top_eigenvalues,
    trace,
)


def squares(model, batch):
    return model(batch).square().mean()


ONES = [torch.ones(4, 3)]
ANOTHER = nn.Linear(3, 2)


def loss_of(model=None, loss_fn=squares, batches=ONES, **kwargs):
    return MeanLoss(model or nn.Linear(3, 2), loss_fn, batches, **kwargs)


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
        ValueError,
        "at least one parameter that needs a gradient",
    ),
    "no parameter chosen": (
        lambda: loss_of(params=[]),
        ValueError,
        "at least one parameter that needs a gradient",
    ),
    "a frozen parameter chosen": (
        lambda: loss_of(frozen(), params=["weight"]),
        ValueError,
        "frozen 'weight'; call requires_grad_",
    ),
    "an unknown name": (
        lambda: loss_of(params="wieght"),
        ValueError,
        "got 'wieght'; it has weight, bias",
    ),
    "a foreign tensor": (
        lambda: loss_of(params=[torch.ones(3)]),
        ValueError,
        "a tensor that is none of them",
    ),
    "a complex parameter": (
        lambda: loss_of(nn.Linear(3, 2, dtype=torch.cfloat)),
        TypeError,
        "real, got 'weight' of torch.complex64",
    ),
    "half precision": (
        lambda: loss_of(nn.Linear(3, 2).bfloat16()),
        TypeError,
        "bfloat16; dtype=torch.float32",
    ),
    "a wrong dtype": (
        lambda: loss_of(dtype=torch.float16),
        ValueError,
        "dtype must be torch.float32, torch.float64 or None",
    ),
    "a generator of batches": (
        lambda: loss_of(batches=(b for b in [torch.ones(4, 3)])),
        TypeError,
        "iterable more than once",
    ),
    "no batch": (lambda: loss_of(batches=[]), ValueError, "at least one batch, got none"),
    "a loss per example": (
        lambda: loss_of(loss_fn=lambda m, b: m(b).sum(1)),
        ValueError,
        r"0-d tensor, got shape \(4,\)",
    ),
    "a float as loss": (
        lambda: loss_of(loss_fn=lambda m, b: squares(m, b).item()),
        TypeError,
        "must return a tensor, got float",
    ),
    "a loss that is NaN": (
        lambda: loss_of(batches=[torch.ones(1, 3), torch.full((1, 3), torch.nan)]),
        ValueError,
        "got nan on batch 1",
    ),
    "a loss that is infinite": (
        lambda: loss_of(loss_fn=lambda m, b: squares(m, b) / 0),
        ValueError,
        "finite, got inf on batch 0",
    ),
    "dropout that ignores the mode": (
        lambda: loss_of(loss_fn=lambda m, b: squares(m, F.dropout(b))),
        ValueError,
        "deterministic, got",
    ),
    "a loss with a memory": (lambda: loss_of(loss_fn=counting()), ValueError, "deterministic, got"),
    "a batch of unknown size": (
        lambda: loss_of(loss_fn=lambda m, b: m.weight.sum(), batches=[7]),
        ValueError,
        "num_examples must be given",
    ),
    "a batch of no examples": (
        lambda: loss_of(num_examples=lambda b: 0),
        ValueError,
        "num_examples must be positive, got 0",
    ),
    "a loss of another model": (
        lambda: derivative(loss_of(loss_fn=lambda m, b: squares(ANOTHER, b))),
        ValueError,
        "must depend on",
    ),
    "a loss without a graph": (
        lambda: derivative(loss_of(loss_fn=lambda m, b: squares(m, b).detach())),
        ValueError,
        "must depend on",
    ),
    "a derivative that does not exist": (
        lambda: derivative(quadratic_root()),
        ValueError,
        "finite derivatives",
    ),
    "a vector of another length": (
        lambda: hvp(loss_of(), torch.ones(7)),
        ValueError,
        r"shape \(8,\), got \(7,\)",
    ),
    "a matrix as vector": (
        lambda: hvp(loss_of(), torch.ones(8, 1)),
        ValueError,
        r"shape \(8,\), got \(8, 1\)",
    ),
    "k = 0": (lambda: top_eigenvalues(loss_of(), k=0), ValueError, r"k must be in \[1, 8\]"),
    "k above the number of parameters": (
        lambda: top_eigenvalues(loss_of(), k=9),
        ValueError,
        r"k must be in \[1, 8\]",
    ),
    "an unknown end of the spectrum": (
        lambda: top_eigenvalues(loss_of(), which="top"),
        ValueError,
        "'LA', 'SA' or 'LM', got 'top'",
    ),
    "a negative tol": (
        lambda: top_eigenvalues(loss_of(), tol=-1),
        ValueError,
        "tol must be at least 0",
    ),
    "no restart": (
        lambda: top_eigenvalues(loss_of(), maxiter=0),
        ValueError,
        "maxiter must be at least 1",
    ),
    "too few restarts": (
        lambda: top_eigenvalues(dense_spectrum(), 1, tol=0, maxiter=1),
        RuntimeError,
        "0 of 1 eigenvalues converged",
    ),
    "a negative rtol": (lambda: trace(loss_of(), rtol=-0.1), ValueError, "rtol must be at least 0"),
    "one sample": (
        lambda: trace(loss_of(), min_samples=1),
        ValueError,
        r"min_samples must be in \[2, max_samples\], got 1",
    ),
    "fewer samples than the least": (
        lambda: trace(loss_of(), max_samples=5),
        ValueError,
        "got 10 with max_samples=5",
    ),
    "no step": (
        lambda: spectral_density(loss_of(), num_steps=0),
        ValueError,
        "num_steps must be at least 1",
    ),
    "no sample": (
        lambda: spectral_density(loss_of(), num_samples=0),
        ValueError,
        "num_samples must be at least 1",
    ),
    "no width": (
        lambda: spectral_density(loss_of(), sigma=0.0),
        ValueError,
        "sigma must be above 0",
    ),
    "a grid that falls": (
        lambda: spectral_density(loss_of(), grid=[1.0, 0.0]),
        ValueError,
        "grid must be 1-D and increasing",
    ),
    "a radius of 0": (lambda: sam_sharpness(loss_of(), rho=0), ValueError, "rho must be above 0"),
    "a gradient of 0": (
        lambda: sam_sharpness(quadratic(torch.eye(3), torch.zeros(3))),
        ValueError,
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


MEASURES = {
    "hvp": lambda loss: hvp(loss, torch.ones(loss.num_params)),
    "top_eigenvalues": lambda loss: top_eigenvalues(loss, k=1),
    "trace": lambda loss: trace(loss, max_samples=10),
    "spectral_density": lambda loss: spectral_density(loss, num_steps=3, num_samples=1),
    "sam_sharpness": lambda loss: sam_sharpness(loss),
    "adaptive sharpness": lambda loss: sam_sharpness(loss, 0.5, adaptive=True),
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES.keys())
def test_a_measurement_leaves_the_model_and_the_global_generator_as_they_were(measure):
    _, model, (x, y) = CASES["conv, batchnorm, dropout"].make()
    model.train()
    model[1].eval()  # a mixture of modes, to be given back as it is
    model[0].requires_grad_(False)
    for p in model.parameters():
        p.grad = torch.full_like(p, 7.0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    rng = torch.get_rng_state()

    measure(
        MeanLoss(model, lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]), [(x, y)])
    )

    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [m.training for m in model] == [True, False, True, True, True, True, True]
    assert all((p.grad == 7.0).all() for p in model.parameters())
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True, True]
    assert torch.equal(rng, torch.get_rng_state())


def test_an_error_in_the_middle_leaves_modes_and_weights_as_they_were():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout())
    weights = [p.detach().clone() for p in model.parameters()]

    def explodes_off_the_spot(model, batch):
        return squares(model, batch) * (
            1.0 if torch.equal(model[0].weight, weights[0]) else torch.inf
        )

    loss = loss_of(model, explodes_off_the_spot)
    with pytest.raises(
        ValueError, match="finite, got inf"
    ) as caught:  # the traceback, still alive here, must not keep the mode either
        sam_sharpness(loss)
    assert [m.training for m in model.modules()] == [True, True, True], caught
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), weights, strict=True))


@pytest.mark.parametrize(
    "measure", [trace, spectral_density, top_eigenvalues], ids=lambda f: f.__name__
)
def test_the_same_generator_gives_the_same_numbers_and_none_is_seed_0(measure):
    loss = quadratic(random_symmetric(40, seed=4))
    a, b, none, other = (
        measure(loss, generator=None if seed is None else torch.Generator().manual_seed(seed))
        for seed in (0, 0, None, 1)
    )
    fields = [list(map(np.asarray, vars(result).values())) for result in (a, b, none, other)]
    assert all(
        np.array_equal(x, y) and np.array_equal(x, z) for x, y, z in zip(*fields[:3], strict=True)
    )
    assert not all(np.array_equal(x, y) for x, y in zip(fields[0], fields[3], strict=True))


def test_a_shuffled_loader_is_accepted_and_a_sampling_one_is_not():
    data = TensorDataset(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)))
    on_rows = lambda model, batch: squares(model, batch[0])  # noqa: E731
    shuffled = DataLoader(
        data, batch_size=6, shuffle=True, generator=torch.Generator().manual_seed(0)
    )
    straight = loss_of(loss_fn=on_rows, batches=DataLoader(data, batch_size=6))
    model = straight.model
    v = torch.ones(8)
    assert torch.allclose(
        hvp(loss_of(model, on_rows, shuffled), v), hvp(straight, v), rtol=1e-5
    )  # float32, another order of summation
    dropping = DataLoader(
        data, batch_size=6, shuffle=True, drop_last=True, generator=torch.Generator().manual_seed(0)
    )
    with pytest.raises(ValueError, match="deterministic"):
        loss_of(model, on_rows, dropping)


def test_num_examples_decides_how_batches_are_weighted():
    model, batches = nn.Linear(3, 2), [torch.ones(4, 3), 2 * torch.ones(1, 3)]
    values = [loss_of(model, batches=[b]).value() for b in batches]
    assert loss_of(model, batches=batches).value() == pytest.approx((4 * values[0] + values[1]) / 5)
    assert loss_of(model, batches=batches, num_examples=lambda b: 1).value() == pytest.approx(
        sum(values) / 2
    )


def test_parameters_are_chosen_by_name_or_tensor_each_once_in_the_order_given():
    _, tied, _ = CASES["tied embedding"].make()
    words = lambda model, batch: model(batch).square().mean()  # noqa: E731
    chosen = [
        loss_of(tied, words, [torch.tensor([[1, 2]])], params=p).names
        for p in (["out.weight", "out.bias"], [tied.out.weight], "out.bias")
    ]
    assert chosen == [["embedding.weight", "out.bias"], ["embedding.weight"], ["out.bias"]]


def test_a_parameter_that_the_loss_does_not_use_or_is_linear_in_has_no_curvature():
    model = nn.ModuleDict(
        {"used": nn.Linear(3, 1), "unused": nn.Linear(2, 1), "linear": nn.Linear(3, 1, bias=False)}
    )
    loss = loss_of(model, lambda m, b: squares(m["used"], b) + m["linear"](b).mean())
    product = loss.split(hvp(loss, torch.ones(loss.num_params)))
    assert {name: bool(part.any()) for name, part in product.items()} == {
        "used.weight": True, "used.bias": True, "unused.weight": False, "unused.bias": False, "linear.weight": False,
    }  # fmt: skip
    all_linear = loss_of(loss_fn=lambda model, batch: model(batch).mean())
    assert not hvp(all_linear, torch.ones(8)).any()


def test_the_float64_option_measures_a_converted_copy_of_model_and_batches():
    Batch = namedtuple("Batch", "x extra")
    seen = []

    def loss_fn(model, batch):
        seen.append(
            (type(batch).__name__, batch.x.dtype, batch.extra["ids"].dtype, model.weight.dtype)
        )
        return squares(model, batch.x)

    model = nn.Linear(3, 2)
    loss = loss_of(
        model,
        loss_fn,
        [Batch(torch.ones(4, 3), {"ids": torch.ones(4, dtype=torch.long)})],
        params=[model.weight],
        dtype=torch.float64,
    )
    assert hvp(loss, torch.ones(6)).dtype == torch.float64
    assert set(seen) == {("Batch", torch.float64, torch.long, torch.float64)}
    assert model.weight.dtype == torch.float32


def test_a_product_calls_the_loss_once_for_each_batch():
    calls = []
    loss = loss_of(
        loss_fn=lambda model, batch: calls.append(0) or squares(model, batch),
        batches=[torch.ones(4, 3)] * 5,
    )
    calls.clear()
    hvp(loss, torch.ones(8))
    assert len(calls) == 5


def test_mixed_precision_of_parameters_is_measured_in_the_larger_one():
    model = nn.ModuleDict({"a": nn.Linear(3, 1), "b": nn.Linear(3, 1).double()})
    loss = loss_of(model, lambda m, x: squares(m["a"], x).double() * squares(m["b"], x.double()))
    v = torch.linspace(-1, 1, 8, dtype=torch.float64)
    exact = MeanLoss(model, loss.loss_fn, [torch.ones(4, 3)], dtype=torch.float64)
    exact.loss_fn = lambda m, x: squares(m["a"], x) * squares(m["b"], x)
    assert loss.dtype == torch.float64
    assert torch.allclose(hvp(loss, v), hvp(exact, v), rtol=1e-5)  # half of it is float32


def test_without_scipy_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.sparse.linalg", None)
    with pytest.raises(
        ImportError, match=r"needs numpy and scipy: pip install 'dualadam\[theory\]'"
    ):
        runpy.run_path(hessian.__file__)
