"""Each fault of the other implementations, shown to be absent here."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from cases import BIT_EXACT, PATHS, Case
from oracle import Oracle

from dualadam import DualAdam, InvAdam

paths = pytest.mark.parametrize("path", PATHS)


def run(
    steps: int, path: str = "loop", gradient: float = 1.0, **settings
) -> tuple[torch.Tensor, DualAdam]:
    weight = torch.zeros(4, requires_grad=True)
    optimizer = Case("fault", settings).make([weight], path)
    for _ in range(steps):
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
    return weight, optimizer


@paths
@pytest.mark.parametrize("gradient", [0.3, 1.0, 3.0])
def test_the_step_count_is_in_the_state_dict_so_the_first_update_after_resuming_is_an_ordinary_one(
    path: str, gradient: float
):
    weight, optimizer = run(1000, path, gradient, lr=1e-3)
    resumed = weight.detach().clone().requires_grad_()
    fresh = Case("fault", {"lr": 1e-3}).make([resumed], path)
    fresh.load_state_dict(optimizer.state_dict())
    before = resumed.detach().clone()
    resumed.grad = torch.full_like(resumed, gradient)
    fresh.step()
    # after the hand-over, with a constant gradient, Adam's step is lr; float32 resolves 1e-3 of it
    # near a weight of 1
    torch.testing.assert_close(
        (resumed.detach() - before).abs() / 1e-3, torch.ones(4), rtol=0, atol=1e-3
    )


@paths
@pytest.mark.parametrize(
    "clone",
    [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))],
    ids=["deepcopy", "pickle"],
)
def test_a_copy_steps_instead_of_raising_attribute_error(path: str, clone):
    weight, optimizer = clone(run(2, path))
    before = weight.detach().clone()
    weight.grad = torch.ones(4)  # pickle leaves it out
    optimizer.step()
    assert not torch.equal(weight, before)


@paths
def test_the_closure_runs_with_gradients_enabled_once_and_its_loss_is_returned(path: str):
    weight = torch.ones(3, requires_grad=True)
    optimizer = Case("fault").make([weight], path)
    calls = []

    def closure() -> torch.Tensor:
        calls.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        loss = (weight**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 3.0
    assert calls == [True]
    assert (weight < 1).all()


@paths
def test_a_parameter_that_joins_at_step_1001_gets_the_first_update_of_its_own_count(path: str):
    early, late = torch.zeros(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    optimizer = Case("fault", {"lr": 1e-3}).make([early, late], path)
    for _ in range(1000):
        early.grad = torch.full_like(early, 0.5)
        optimizer.step()
    late.grad = torch.full_like(late, 0.5)
    optimizer.step()
    oracle = Oracle([0.0, 0.0])
    oracle.step([0.5, 0.5], lr=1e-3, switch_rate=0.01)
    assert optimizer.state[late]["step"] == 1
    torch.testing.assert_close(
        late.detach().double(), torch.from_numpy(oracle.theta), rtol=1e-6, atol=0
    )


@paths
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
@pytest.mark.parametrize("maximize", [False, True])
def test_the_step_does_not_write_into_the_gradient(path: str, maximize: bool, dtype: torch.dtype):
    weight = torch.ones(3, dtype=dtype, requires_grad=True)
    weight.grad = torch.full_like(weight, 0.5)
    gradient, version = weight.grad, weight.grad._version
    optimizer = Case("fault", {"maximize": maximize, "weight_decay": 0.1}).make([weight], path)
    for _ in range(3):
        optimizer.step()
    assert weight.grad is gradient
    assert gradient._version == version
    assert torch.equal(gradient, torch.full_like(weight, 0.5))


@paths
def test_maximize_in_a_parameter_group_turns_that_group_only(path: str):
    up, down = torch.zeros(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    optimizer = DualAdam([{"params": [up], "maximize": True}, {"params": [down]}], **PATHS[path])
    for weight in (up, down):
        weight.grad = torch.ones(2)
    optimizer.step()
    assert (up > 0).all()
    assert torch.equal(up, -down)


@pytest.mark.parametrize(
    ("keyword", "error"),
    [
        ("swich_rate", TypeError),
        ("fuse", TypeError),
        ("amsgrad", ValueError),
        ("weight_decouple", TypeError),
    ],
)
def test_a_typo_or_an_unsupported_flag_is_not_swallowed(keyword: str, error: type[Exception]):
    with pytest.raises(error, match=keyword):
        DualAdam([torch.ones(1, requires_grad=True)], **{keyword: True})


@paths
def test_the_decay_is_decoupled(path: str):
    """With a zero gradient, coupled decay moves by about lr; decoupled scales by 1 - lr wd."""
    weight = torch.full((2,), 8.0, requires_grad=True)
    optimizer = Case("fault", {"lr": 0.5, "weight_decay": 0.25, "switch_rate": 1.0}).make(
        [weight], path
    )
    weight.grad = torch.zeros(2)
    optimizer.step()
    assert torch.equal(weight.detach(), torch.full((2,), 7.0))
    assert optimizer.state[weight]["exp_avg"].abs().max() == 0


@pytest.mark.parametrize("settings", [{"lr": -1}, {"betas": (0.9, 2)}, {"switch_rate": -3}])
def test_arguments_out_of_range_are_not_accepted(settings):
    with pytest.raises(ValueError, match=r"-1|2|-3"):
        DualAdam([torch.ones(1, requires_grad=True)], **settings)


@paths
def test_a_complex_parameter_moves_as_its_real_and_imaginary_parts_do(path: str):
    number = torch.tensor([1 + 2j, -3 + 0.5j], requires_grad=True)
    pair = torch.view_as_real(number).detach().clone().requires_grad_()
    for weight in (number, pair):
        optimizer = Case("fault", {"lr": 0.1, "weight_decay": 0.1, "switch_rate": 0.5}).make(
            [weight], path
        )
        for _ in range(4):
            optimizer.zero_grad()
            values = torch.view_as_real(weight) if weight.is_complex() else weight
            (values**4).sum().backward()
            optimizer.step()
    rounding = (
        0 if path in BIT_EXACT else 1e-5
    )  # complex numbers take the loop, pairs the kernel: a few roundings a step
    torch.testing.assert_close(torch.view_as_real(number), pair, rtol=rounding, atol=0)


@paths
@pytest.mark.parametrize("capturable", [False, True])
def test_a_zero_gradient_without_eps_is_a_zero_step_of_invadam_not_nan(path: str, capturable: bool):
    weight = torch.ones(2, requires_grad=True)
    optimizer = Case("fault", {"eps": 0.0, "capturable": capturable}, optimizer=InvAdam).make(
        [weight], path
    )
    weight.grad = torch.tensor([0.0, 1.0])
    optimizer.step()
    assert weight[0] == 1.0
    assert weight[1] < 1.0


@pytest.mark.parametrize(
    "make", [torch.optim.lr_scheduler.OneCycleLR, torch.optim.lr_scheduler.CyclicLR]
)
def test_schedulers_that_cycle_the_momentum_find_betas(make):
    optimizer = DualAdam([torch.ones(1, requires_grad=True)])
    extra = (
        {"max_lr": 0.1, "total_steps": 10}
        if make is torch.optim.lr_scheduler.OneCycleLR
        else {"base_lr": 0.01, "max_lr": 0.1}
    )
    scheduler = make(optimizer, **extra)
    before = optimizer.param_groups[0]["betas"]
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["betas"][0] != before[0]
    assert optimizer.param_groups[0]["betas"][1] == before[1]
