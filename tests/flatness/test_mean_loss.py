"""The mean loss: batches, their weights, the chosen parameters and the precision."""

from __future__ import annotations

import runpy
import sys
from typing import Any, NamedTuple

import pytest
import torch
from flatness_cases import CASES, loss_of, squares
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from dualadam import flatness
from dualadam.errors import InvalidValueError, MissingExtraError
from dualadam.flatness import MeanLoss, hvp


class Batch(NamedTuple):
    x: Tensor
    extra: dict[str, Any]


def test_a_shuffled_loader_is_accepted_and_a_sampling_one_is_not():
    data = TensorDataset(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)))

    def on_rows(model, batch):
        return squares(model, batch[0])

    shuffled = DataLoader(
        data, batch_size=6, shuffle=True, generator=torch.Generator().manual_seed(0)
    )
    straight = loss_of(loss_fn=on_rows, batches=DataLoader(data, batch_size=6))
    model = straight.model
    v = torch.ones(8)
    product = hvp(loss_of(model, on_rows, shuffled), v)
    assert torch.allclose(product, hvp(straight, v), rtol=1e-5)  # float32, another order of sums
    dropping = DataLoader(
        data, batch_size=6, shuffle=True, drop_last=True, generator=torch.Generator().manual_seed(0)
    )
    with pytest.raises(InvalidValueError, match="deterministic"):
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
    chosen = [
        loss_of(tied, squares, [torch.tensor([[1, 2]])], params=p).names
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
        "used.weight": True,
        "used.bias": True,
        "unused.weight": False,
        "unused.bias": False,
        "linear.weight": False,
    }
    all_linear = loss_of(loss_fn=lambda model, batch: model(batch).mean())
    assert not hvp(all_linear, torch.ones(8)).any()


def test_the_float64_option_measures_a_converted_copy_of_model_and_batches():
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
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(
        MissingExtraError, match=r"needs numpy and scipy: pip install 'dualadam\[theory\]'"
    ):
        runpy.run_path(flatness.__file__)
