"""Schedules, and the control's learning rate and decay, follow their formulas at every step."""

import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR

from dualadam.compare.optimizers import (
    OPTIMIZERS,
    LearningRate,
    find_entry,
    make_optimizer,
    schedule_factor,
)
from dualadam.optim import decay_groups

TOTAL, FINAL = 50, 0.01
TORCHS = [
    ("cosine", lambda o: CosineAnnealingLR(o, TOTAL, eta_min=FINAL)),
    ("linear", lambda o: LinearLR(o, 1.0, FINAL, TOTAL)),
    ("constant", lambda o: LinearLR(o, 1.0, 1.0, TOTAL)),
]


@pytest.mark.parametrize(("kind", "make"), TORCHS, ids=[kind for kind, _ in TORCHS])
def test_schedules_equal_torchs(kind, make):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    for step in range(1, TOTAL + 1):
        # torch multiplies factor by factor, so its rounding grows with the steps
        assert schedule_factor(kind, step, TOTAL, FINAL) == pytest.approx(
            optimizer.param_groups[0]["lr"], rel=1e-12
        )
        optimizer.step()
        scheduler.step()


def test_an_unknown_schedule_is_refused():
    with pytest.raises(
        ValueError, match=r"schedule must be constant, linear or cosine, got 'step'\."
    ):
        schedule_factor("step", 1, 10, 0.1)


@pytest.mark.parametrize("name", [n for n, e in OPTIMIZERS.items() if e.warmup])
@pytest.mark.parametrize("xi", [1.0, 0.3, 0.04])
def test_the_controls_learning_rate_is_warmed_and_its_decay_is_not(name, xi):
    lr, decay = 0.01, 0.1
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    optimizer = make_optimizer(
        name, decay_groups(model, decay), {"lr": lr, "switch_rate": xi}, decay
    )
    learning_rate = LearningRate(optimizer, "cosine", TOTAL, FINAL, xi)
    for step in range(1, TOTAL + 1):
        learning_rate.set(step)
        scheduled = lr * schedule_factor("cosine", step, TOTAL, FINAL)
        decayed, undecayed = optimizer.param_groups
        for group in (decayed, undecayed):
            assert group["lr"] == pytest.approx(scheduled * min(1.0, xi * step), rel=1e-12)
        assert decayed["lr"] * decayed["weight_decay"] == pytest.approx(
            scheduled * decay, rel=1e-12
        )
        assert undecayed["weight_decay"] == 0.0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_decay_is_decoupled_where_the_table_says_so(name):
    """With no gradient, decoupled decay multiplies by 1 - lr decay; coupled decay is a gradient and moves adaptive optimizers by lr."""
    lr, decay = 1e-3, 0.1
    param = torch.nn.Parameter(torch.full((1,), 2.0, dtype=torch.float64))
    param.grad = torch.zeros_like(param)
    entry = find_entry(name)
    make_optimizer(
        name,
        [param],
        {"lr": lr, "switch_rate": 1.0} if "switch_rate" in entry.arguments() else {"lr": lr},
        decay,
    ).step()
    decoupled = math.isclose(param.item(), 2.0 * (1 - lr * decay), rel_tol=1e-12)
    assert decoupled == (entry.decoupled or name == "SGD")  # both are the same for SGD's first step


def test_switch_rate_of_a_control_is_not_passed_to_the_class_and_decay_is():
    optimizer = make_optimizer(
        "AdamW+warmup", [torch.nn.Parameter(torch.zeros(1))], {"lr": 0.1, "switch_rate": 0.5}, 0.03
    )
    assert (optimizer.defaults["weight_decay"], "switch_rate" in optimizer.defaults) == (
        0.03,
        False,
    )


def test_arguments_are_the_classs_own_without_those_of_the_block():
    assert {"lr", "betas", "eps", "switch_rate"} <= set(find_entry("DualAdam").arguments())
    assert not {"params", "weight_decay", "decoupled_weight_decay"} & set(
        find_entry("NAdam").arguments()
    )
    assert find_entry("torch.optim.Adamax").cls is torch.optim.Adamax
