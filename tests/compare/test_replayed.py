"""Adam with a recorded schedule: equal to what it recorded where a schedule explains all."""

from __future__ import annotations

import copy

import pytest
import torch
from compare_cases import run_of
from torch import nn

from dualadam.compare import ReplayedSchedule, ShadowResult, shadow
from dualadam.compare.shadow_result import ShadowAdam
from dualadam.compare.train import train as train_run
from dualadam.errors import InvalidTypeError, InvalidValueError

LR, DECAY, STEPS = 0.02, 0.5, 30


def params_of():
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(3, generator=generator)) for _ in range(2)]


def groups_of(params):
    return [{"params": params[:1]}, {"params": params[1:], "weight_decay": 0.0}]


def train(optimizer, params, first=0, last=STEPS, closure=False):
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 - t / 50, first - 1)
    for step in range(first, last):

        def gradient(step=step):
            for k, param in enumerate(params):
                param.grad = torch.sin(param.detach() + step + k)
            return 0.0

        if closure:
            optimizer.step(gradient)
        else:
            gradient()
            optimizer.step()
        schedule.step()
    return torch.cat([p.detach() for p in params])


def recorded(every=1):
    params = params_of()
    optimizer = torch.optim.AdamW(groups_of(params), lr=LR, weight_decay=DECAY, betas=(0.8, 0.9))
    follower = shadow(optimizer, every=every)
    return train(optimizer, params), follower.result()


# 30 steps, each off by the rounding of parameters of size 4 and of s_t, 2^-24 relative to its norm
TOLERANCE = STEPS * 4 * 2**-23


@pytest.mark.parametrize("every", [1, 3])  # a linear schedule is linear between recorded steps
@pytest.mark.parametrize("closure", [False, True])
def test_adamw_with_a_scheduler_is_replayed_with_its_decay(every, closure):
    there, found = recorded(every)
    params = params_of()
    again = ReplayedSchedule(groups_of(params), found, lr=LR, weight_decay=DECAY)
    late = 0 if every == 1 else 2 * LR * 2 / 50  # constant after the last recorded step, 28
    ended = train(again, params, closure=closure)
    assert (ended - there).abs().max() <= TOLERANCE + 3 * late


def test_another_schedule_gives_another_training():
    there, found = recorded()
    half = tuple(tuple(s / 2 for s in column) for column in found.schedule)
    changed = ShadowResult(found.steps, half, found.unexplained, found.update_norm, found.adam)
    params = params_of()
    ended = train(ReplayedSchedule(groups_of(params), changed, lr=LR, weight_decay=DECAY), params)
    assert (ended - there).abs().max() > 100 * TOLERANCE


def test_a_run_that_is_saved_and_resumed_equals_the_straight_one():
    _, found = recorded()

    def made(params):
        return ReplayedSchedule(groups_of(params), found, weight_decay=DECAY)

    params = params_of()
    straight = train(made(params), params)
    params = params_of()
    half = made(params)
    train(half, params, last=12)
    saved = copy.deepcopy(half.state_dict())
    assert copy.deepcopy(half).schedule == found
    resumed = made(params)
    resumed.load_state_dict(saved)
    assert torch.equal(train(resumed, params, first=12), straight)


def test_mistakes_are_refused():
    _, found = recorded()
    params = params_of()
    with pytest.raises(InvalidValueError, match=r"lr must be at least 0, got -1"):
        ReplayedSchedule(params, found, lr=-1)
    one = ShadowResult((1,), ((0.1,),), ((0.0,),), ((1.0,),), (ShadowAdam((0.9, 0.999), 1e-8),))
    with pytest.raises(InvalidValueError, match="at most the 1 recorded groups, got 2"):
        ReplayedSchedule(groups_of(params), one)
    table = nn.Embedding(4, 2, sparse=True)
    optimizer = ReplayedSchedule(table.parameters(), one)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(InvalidTypeError, match="must be dense"):
        optimizer.step()


def test_it_runs_as_an_arm_and_gives_the_scores_of_the_adamw_that_was_recorded(tmp_path):
    run = run_of(optimizer="AdamW", weight_decay=0.1, reference_lr=3e-3, shadow=True, steps=12)
    first = train_run(run)
    first.shadow.write(tmp_path / "s.json")
    settings = {"schedule": str(tmp_path / "s.json"), "lr": 3e-3}
    arm = {"optimizer": "dualadam.compare.ReplayedSchedule", "settings": settings}
    again = train_run(run_of(weight_decay=0.1, reference_lr=3e-3, shadow=True, steps=12, **arm))
    assert first.shadow.mean_unexplained < 1e-6
    assert again.validation.loss == pytest.approx(first.validation.loss, rel=1e-3)
    for mine, theirs in zip(again.shadow.schedule, first.shadow.schedule, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-2)
