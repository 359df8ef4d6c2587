"""diagnose against the oracle, its table and its mapping."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from cases import CASES, PATHS, Case, randn, state_bits
from oracle import Oracle

from dualadam import DualAdam, InvAdam, diagnose

BETAS = (0.9, 0.999)
MIXING = [case for case in CASES if not case.groups]


@pytest.mark.parametrize("steps", [1, 30, 120])
@pytest.mark.parametrize("case", MIXING, ids=lambda case: case.name)
def test_every_number_equals_the_oracles(case: Case, steps: int):
    params = case.make_params()
    optimizer = case.make(params, case.paths[0])
    oracles = [
        Oracle(np.zeros(p.shape, dtype=complex if p.is_complex() else float)) for p in params
    ]
    settings = case.oracle_settings(0)
    betas, eps = settings.get("betas", BETAS), settings.get("eps", 1e-8)
    for step in range(1, steps + 1):
        case.set_grads(params, step)
        optimizer.step()
        for param, oracle in zip(params, oracles, strict=True):
            if param.grad is not None:
                gradient = param.grad if param.grad.is_complex() else param.grad.double()
                oracle.step(gradient.numpy(), **settings)
    updated = [oracle for oracle in oracles if oracle.t]
    alpha, mh, vh = (
        np.concatenate(
            [
                np.broadcast_to(values, oracle.m.shape).ravel()
                for oracle, values in zip(updated, column, strict=True)
            ]
        )
        for column in zip(
            *[(o.alpha(settings["switch_rate"]), *o.hats(betas)) for o in updated], strict=True
        )
    )
    r = np.sqrt(vh) + eps
    adam, inverse = np.linalg.norm((1 - alpha) * mh / r), np.linalg.norm(alpha * mh * r)
    row = diagnose(optimizer).groups[0]
    expected = {
        "num_coordinates": mh.size,
        "mixing_weight": alpha.mean(),
        "second_moment_mean": vh.mean(),
        "second_moment_q05": np.quantile(vh, 0.05),
        "second_moment_median": np.quantile(vh, 0.5),
        "second_moment_q95": np.quantile(vh, 0.95),
        "adam_norm": adam,
        "inverse_norm": inverse,
        "ratio": inverse / adam if adam else math.inf,
        "effective_weight": (1 - alpha + alpha * r * r).mean(),
        "inverse_share": (alpha * r * r > 1 - alpha).mean(),
    }
    for key, value in expected.items():
        # the state is float32 and has been rounded at each step
        assert getattr(row, key) == pytest.approx(value, rel=2e-7 * (steps + 4), abs=1e-14), key


def trained() -> tuple[list[torch.Tensor], DualAdam]:
    params = [
        randn(4, 3).clone().requires_grad_(),
        randn(2).clone().requires_grad_(),
        randn(2).clone().requires_grad_(),
    ]
    optimizer = DualAdam(
        [{"params": params[:2]}, {"params": params[2:], "switch_rate": 1.0}], switch_rate=0.25
    )
    for _ in range(2):
        for param in params:
            param.grad = torch.full_like(param, 0.5)
        optimizer.step()
    return params, optimizer


def test_the_mapping_is_flat_and_holds_plain_numbers():
    mapping = diagnose(trained()[1]).as_dict()
    assert len(mapping) == 2 * 11
    assert mapping["group0/mixing_weight"] == 0.5
    assert mapping["group1/mixing_weight"] == 0.0
    assert mapping["group0/ratio"] == pytest.approx(0.25)  # r^2 = 1/4 and alpha = 1/2
    assert mapping["group1/effective_weight"] == 1.0
    assert all(type(value) in (int, float) for value in mapping.values())


def test_the_table_has_a_header_and_a_row_a_group_in_columns():
    header, first, second = str(diagnose(trained()[1])).splitlines()
    assert header.split()[:3] == ["group", "coordinates", "alpha"]
    assert first.split()[:3] == ["0", "14", "0.5"]
    assert second.split()[:3] == ["1", "2", "0"]
    assert len(header) == len(first) == len(second)


def test_diagnosing_changes_nothing():
    params, optimizer = trained()
    before, keys = state_bits(params, optimizer), set(optimizer.state)
    diagnose(optimizer)
    assert all(
        torch.equal(a, b) for a, b in zip(before, state_bits(params, optimizer), strict=True)
    )
    assert set(optimizer.state) == keys


def test_a_group_without_an_update_is_a_row_of_nan():
    row = diagnose(DualAdam([torch.ones(2, requires_grad=True)])).groups[0]
    assert row.num_coordinates == 0
    assert math.isnan(row.mixing_weight)
    assert math.isnan(row.ratio)


def test_pure_invadam_has_no_adam_part():
    weight = torch.ones(2, requires_grad=True)
    optimizer = InvAdam([weight])
    weight.grad = torch.ones(2)
    optimizer.step()
    row = diagnose(optimizer).groups[0]
    assert (row.mixing_weight, row.ratio, row.inverse_share) == (1.0, math.inf, 1.0)


def test_quantiles_of_a_large_group_are_those_of_all_its_coordinates_within_sampling_error():
    """100,000 of 2.5 million sampled: a quantile's error is 0.5 / sqrt(1e5) = 1.6e-3."""
    weight = torch.zeros(2_500_000, requires_grad=True)
    optimizer = DualAdam([weight])
    weight.grad = randn(2_500_000, seed=3).clone()
    optimizer.step()
    row = diagnose(optimizer).groups[0]
    squares = weight.grad.double().square().numpy()
    for quantile, probability in (
        (row.second_moment_q05, 0.05),
        (row.second_moment_median, 0.5),
        (row.second_moment_q95, 0.95),
    ):
        assert abs((squares <= quantile).mean() - probability) < 6.4e-3  # four times that


def test_another_optimizer_is_refused_by_name():
    with pytest.raises(TypeError, match=r"optimizer must be an InvAdam or a DualAdam, got AdamW\."):
        diagnose(torch.optim.AdamW([torch.ones(1, requires_grad=True)]))


class Wrapper(torch.optim.Optimizer):
    """A training tool's wrapper: looks like an optimizer and holds the real one."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer


def test_the_optimizer_inside_wrappers_is_diagnosed():
    weight = torch.ones(3, requires_grad=True)
    optimizer = DualAdam([weight], switch_rate=0.5)
    weight.sum().backward()
    optimizer.step()
    assert diagnose(Wrapper(Wrapper(optimizer))) == diagnose(optimizer)
    with pytest.raises(TypeError, match="optimizer must be an InvAdam or a DualAdam, got Wrapper"):
        diagnose(Wrapper(torch.optim.AdamW([weight])))


def test_one_optimizer_per_parameter_is_diagnosed_as_one_optimizer_of_all():
    """As step-in-backward makes them."""
    rows = []
    for split in (False, True):
        params = [randn(4, 3).clone().requires_grad_(), randn(7).clone().requires_grad_()]
        groups = [[p] for p in params] if split else [params]
        optimizers = [DualAdam(group, switch_rate=0.25) for group in groups]
        for step in range(2):
            for i, param in enumerate(params):
                param.grad = randn(*param.shape, seed=10 * step + i).clone()
            for optimizer in optimizers:
                optimizer.step()
        rows.append(diagnose(optimizers))
        if not split:
            assert rows[0] == diagnose(optimizers[0])
    assert len(rows[1].groups) == 1
    assert rows[1] == rows[0]


def test_of_several_optimizers_the_groups_of_one_index_share_a_row():
    weights = [torch.ones(n, requires_grad=True) for n in (1, 2, 3)]
    both = DualAdam([{"params": [weights[0]]}, {"params": [weights[1]], "switch_rate": 1.0}])
    one = InvAdam([weights[2]])
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    both.step()
    one.step()
    rows = diagnose([both, Wrapper(one)]).groups
    assert [row.num_coordinates for row in rows] == [4, 2]
    # one coordinate of DualAdam at alpha 0.99 and three of InvAdam, each with its own settings
    assert rows[0].mixing_weight == pytest.approx((0.99 + 3) / 4)
    assert rows[1].mixing_weight == 0.0
    assert diagnose([]).groups == ()
    with pytest.raises(TypeError, match=r"an InvAdam or a DualAdam, got SGD\."):
        diagnose([both, torch.optim.SGD(weights)])
    with pytest.raises(TypeError, match=r"an InvAdam or a DualAdam, got Parameter\."):
        diagnose({torch.nn.Parameter(torch.ones(1)): one})  # a mapping iterates over its keys


@pytest.mark.parametrize("path", PATHS)
def test_the_state_under_the_default_dtype_float64_is_diagnosed(path: str):
    weight = torch.ones(3, requires_grad=True)
    half = torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
    torch.set_default_dtype(torch.float64)
    try:
        optimizer = DualAdam([weight, half], switch_rate=0.5, **PATHS[path])
        for param in (weight, half):
            param.grad = torch.ones_like(param)
        optimizer.step()
        row = diagnose(optimizer).groups[0]
    finally:
        torch.set_default_dtype(torch.float32)
    assert optimizer.state[weight]["step"].dtype == torch.float64
    assert row.ratio == pytest.approx(1.0)
    assert row == diagnose(optimizer).groups[0]
