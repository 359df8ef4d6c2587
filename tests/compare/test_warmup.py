"""The control as an optimizer: the warm-up multiplies lr alone, resumes, and composes."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from dualadam import DualAdam
from dualadam.compare.warmup import LinearWarmup

RATE, LR, DECAY = 0.25, 0.1, 0.5
CLASSES = [torch.optim.AdamW, torch.optim.NAdam, torch.optim.SGD, DualAdam]


def params_of(seed: int = 0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(3, generator=generator)) for _ in range(2)]


def train(optimizer, params, steps, scheduler=None, first=0):
    for step in range(first, first + steps):
        for k, param in enumerate(params):
            param.grad = torch.sin(param.detach() + step + k)
        optimizer.step()
        if scheduler:
            scheduler.step()
    return torch.cat([p.detach() for p in params])


@pytest.mark.parametrize("cls", CLASSES)
def test_it_is_the_optimizer_whose_lr_is_set_by_hand_before_each_step(cls):
    settings = {"lr": LR, "weight_decay": 0.0} | (
        {"momentum": 0.9} if cls is torch.optim.SGD else {}
    )
    params, by_hand = params_of(), params_of()
    train(LinearWarmup(cls(params, **settings), RATE), params, 8)
    optimizer = cls(by_hand, **settings)
    for step in range(8):
        optimizer.param_groups[0]["lr"] = LR * min(1.0, RATE * (step + 1))
        train(optimizer, by_hand, 1, first=step)
    for mine, theirs in zip(params, by_hand, strict=True):
        assert torch.equal(mine, theirs)


def test_the_decay_per_step_is_not_warmed():
    param = torch.nn.Parameter(torch.ones(1))
    param.grad = torch.zeros(1)
    optimizer = LinearWarmup(torch.optim.AdamW([param], lr=LR, weight_decay=DECAY), RATE)
    for _ in range(6):
        optimizer.step()
    assert param.item() == pytest.approx((1 - LR * DECAY) ** 6, rel=6 * 2**-23)


def test_a_coupled_decay_keeps_its_value():
    seen = []

    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            seen.append(self.param_groups[0]["weight_decay"])

    optimizer = LinearWarmup(Watched(params_of(), lr=LR, weight_decay=DECAY), RATE, decoupled=False)
    optimizer.step()
    assert seen == [DECAY]


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("at", [1, 3, 6])
def test_a_run_saved_and_resumed_is_the_straight_run_bit_for_bit(cls, at):
    params = params_of()
    expected = train(LinearWarmup(cls(params, lr=LR), RATE), params, 8)
    params = params_of()
    first = LinearWarmup(cls(params, lr=LR), RATE)
    train(first, params, at)
    saved = copy.deepcopy(first.state_dict())
    again = LinearWarmup(cls(params, lr=LR), RATE)
    again.load_state_dict(saved)
    assert torch.equal(train(again, params, 8 - at, first=at), expected)


@pytest.mark.parametrize("how", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_goes_on_as_the_original_does(how):
    params = params_of()
    optimizer = LinearWarmup(torch.optim.AdamW(params, lr=LR), RATE)
    train(optimizer, params, 2)
    twin = how(optimizer)
    copies = twin.param_groups[0]["params"]
    assert torch.equal(train(twin, copies, 4, first=2), train(optimizer, params, 4, first=2))


def test_a_scheduler_multiplies_with_it_and_groups_keep_their_values():
    params, by_hand = params_of(), params_of()
    optimizer = LinearWarmup(torch.optim.AdamW(params, lr=LR, weight_decay=0.0), RATE)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    train(optimizer, params, 6, scheduler)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(LR * 0.5**6)
    plain = torch.optim.AdamW(by_hand, lr=LR, weight_decay=0.0)
    for step in range(6):
        plain.param_groups[0]["lr"] = LR * 0.5**step * min(1.0, RATE * (step + 1))
        train(plain, by_hand, 1, first=step)
    for mine, theirs in zip(params, by_hand, strict=True):
        assert torch.equal(mine, theirs)


def test_grad_scaler_skips_the_count_together_with_the_step():
    params = params_of()
    optimizer = LinearWarmup(torch.optim.SGD(params, lr=LR), RATE)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for value in (float("inf"), 1.0):
        for param in params:
            param.grad = torch.full_like(param, value) * scaler.scale(torch.ones(()))
        before = params[0].detach().clone()
        scaler.step(optimizer)
        scaler.update()
        moved = before - params[0].detach()
    assert optimizer.param_groups[0]["warmup_step"] == 1
    assert torch.allclose(moved, torch.full((3,), LR * RATE))


def test_a_group_that_joins_late_has_its_own_warm_up():
    first, late = params_of()
    optimizer = LinearWarmup(torch.optim.SGD([first], lr=LR), RATE)
    for _ in range(5):
        first.grad = torch.ones(3)
        optimizer.step()
    optimizer.add_param_group({"params": [late]})
    before, late.grad = late.detach().clone(), torch.ones(3)
    optimizer.step()
    assert torch.allclose(before - late.detach(), torch.full((3,), LR * RATE))


def test_a_closure_is_run_once_and_its_loss_comes_back():
    params = params_of()
    optimizer = LinearWarmup(torch.optim.AdamW(params, lr=LR), RATE)

    def closure():
        optimizer.zero_grad()
        loss = sum((p**2).sum() for p in params)
        loss.backward()
        return loss

    assert optimizer.step(closure).item() > 0
    assert params[0].grad is not None


@pytest.mark.parametrize("rate", [0.0, -1.0, 1.5, float("nan")])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(ValueError, match=r"rate must be in \(0, 1\], got"):
        LinearWarmup(torch.optim.SGD(params_of(), lr=LR), rate)
