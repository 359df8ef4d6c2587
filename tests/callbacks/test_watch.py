"""When a training is diagnosed, what is logged of it, and what is warned of, once."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

import dualadam
from dualadam import DualAdam, InvAdam, diagnose
from dualadam.callbacks.watch import HandOverWatch
from dualadam.errors import InvalidTypeError, InvalidValueError


class Wrapper:
    """As DeepSpeed wraps: not an Optimizer itself."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer


class Training:
    """Gradients of one size at every step, under a watch."""

    def __init__(self, optimizer: Any = DualAdam, gradient: float = 0.01, **settings: Any) -> None:
        self.weight = torch.ones(3, requires_grad=True)
        self.optimizer = optimizer([self.weight], **{"lr": 1e-3, **settings})
        self.gradient = gradient
        self.watch = HandOverWatch(every=20, points_in_hand_over=5)
        self.seen: dict[int, dict[str, float]] = {}

    def run(
        self,
        steps: int,
        total: float | None = None,
        first: int = 0,
        scheduler: Callable[..., Any] | None = None,
    ) -> Training:
        schedule = scheduler(self.optimizer) if scheduler else None
        total = steps if total is None else total  # a smaller number of steps is an interruption
        self.watch.begin([Wrapper(self.optimizer)], first, total)
        for step in range(first + 1, steps + 1):
            self.weight.grad = torch.full_like(self.weight, self.gradient)
            self.optimizer.step()
            if schedule:
                schedule.step()
            if self.watch.due(step):
                self.seen[step] = self.watch.look(step)
        if steps == total:
            self.watch.end()
        return self


def texts_of(training: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        training()
    return [str(warning.message) for warning in caught]


def test_the_first_step_is_looked_at_then_five_of_the_hand_over_then_every_twentieth():
    training = Training(switch_rate=0.04).run(100)  # a hand-over of 25 steps
    assert list(training.seen) == [1, 5, 10, 15, 20, 25, 40, 60, 80, 100]


def test_a_hand_over_longer_than_the_distance_is_looked_at_as_often_as_the_rest():
    assert list(Training(switch_rate=1 / 150).run(200).seen) == [1, *range(20, 201, 20)]


@pytest.mark.parametrize(("optimizer", "settings"), [(InvAdam, {}), (DualAdam, {"switch_rate": 1})])
def test_without_a_hand_over_every_twentieth_step_is_looked_at(optimizer: Any, settings: Any):
    assert list(Training(optimizer, **settings).run(60).seen) == [1, 20, 40, 60]


def test_a_resumed_training_is_looked_at_at_once_and_then_as_an_uninterrupted_one():
    training = Training(switch_rate=0.04).run(13, total=100)
    training.seen.clear()
    training.run(100, first=13)
    assert list(training.seen) == [14, 15, 20, 25, 40, 60, 80, 100]


def test_a_step_that_is_seen_twice_or_passed_over_is_looked_at_once():
    """Accumulated batches repeat a step; a trainer with two optimizers counts by two."""
    training = Training(switch_rate=1.0).run(20)
    assert [training.watch.due(step) for step in (20, 20, 39, 41, 40)] == [
        False, False, False, True, True,
    ]  # fmt: skip
    training.watch.look(41)
    assert not training.watch.due(41)


def test_the_numbers_are_those_of_diagnose_without_the_ones_that_are_not_finite():
    training = Training(switch_rate=0.5).run(1, total=10)
    assert training.seen[1] == diagnose(training.optimizer).as_dict()
    inverse = Training(InvAdam).run(1)  # Adam's part is 0, so the ratio is infinite
    whole = diagnose(inverse.optimizer).as_dict()
    assert whole["group0/ratio"] == math.inf
    assert inverse.seen[1] == {k: v for k, v in whole.items() if k != "group0/ratio"}


def test_watching_changes_no_bit_of_the_training():
    watched = Training(switch_rate=0.04).run(30)
    alone = Training(switch_rate=0.04)
    for _ in range(30):
        alone.weight.grad = torch.full_like(alone.weight, alone.gradient)
        alone.optimizer.step()
    assert torch.equal(watched.weight, alone.weight)


def test_of_several_optimizers_ours_are_diagnosed_under_their_numbers():
    optimizers = [
        torch.optim.SGD([torch.ones(1, requires_grad=True)]),
        *(DualAdam([torch.ones(2, requires_grad=True)], switch_rate=rate) for rate in (0.1, 1.0)),
    ]
    watch = HandOverWatch()
    watch.begin(optimizers, 0, 100)
    for optimizer in optimizers[1:]:
        (param,) = optimizer.param_groups[0]["params"]
        param.grad = torch.full_like(param, 0.01)
        optimizer.step()
    numbers = watch.look(1)
    assert numbers["optimizer0/group0/mixing_weight"] == pytest.approx(0.9)
    assert numbers["optimizer1/group0/mixing_weight"] == 0.0


def test_an_ordinary_training_warns_of_nothing():
    """A cosine schedule falls; the inverse part is small; the hand-over ends in time."""
    training = Training(switch_rate=0.04, gradient=0.1)
    assert texts_of(lambda: training.run(30, scheduler=cosine)) == []


def cosine(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=30)


def test_large_gradients_are_warned_of_once_with_the_remedy():
    (text,) = texts_of(lambda: Training(switch_rate=0.04, gradient=2.0).run(60))
    # alpha is 0.96 and vh 4, so the inverse part is 3.84 times Adam's step
    assert text.startswith(
        "At step 1 the inverse part of parameter group 0 is 384 % of Adam's step"
    )
    for word in ("square of the loss scale", "a mean and not a sum", "accumulated", "unscaled"):
        assert word in text
    assert "clip the gradients" in text


@pytest.mark.parametrize(("gradient", "warns"), [(0.32, False), (0.33, True)])
def test_the_inverse_part_is_large_from_a_tenth_of_adams_step_on(gradient: float, warns: bool):
    """At step 1 the share is alpha vh, with alpha = 0.96: 0.098 and 0.105."""
    training = Training(switch_rate=0.04, gradient=gradient)
    assert bool(texts_of(lambda: training.run(30))) is warns


def test_an_early_step_of_a_long_hand_over_is_no_alarm_though_its_adam_part_is_tiny():
    training = Training(switch_rate=1e-4, gradient=0.03).run(1, total=20000)
    assert training.seen[1]["group0/ratio"] > 1


def test_a_training_that_is_stopped_early_is_warned_of_at_its_end():
    training = Training(switch_rate=0.01).run(30, total=200)
    assert texts_of(training.watch.end) == [
        "The training ended after 30 of the 100 updates that the hand-over of parameter group 0 "
        "takes: DualAdam has not become Adam. Use a larger switch_rate, such as "
        "switch_rate_for(total_steps)."
    ]


def test_invadam_is_not_warned_of_its_inverse_part():
    assert texts_of(lambda: Training(InvAdam, gradient=2.0).run(30)) == []


@pytest.mark.parametrize(
    "scheduler",
    [
        lambda optimizer: LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 10)),
        lambda optimizer: OneCycleLR(optimizer, max_lr=1e-3, total_steps=70),
    ],
    ids=["linear warm-up", "one cycle"],
)
def test_a_warm_up_within_the_hand_over_is_warned_of_once(scheduler: Callable[..., Any]):
    training = Training(switch_rate=0.04)
    (text,) = texts_of(lambda: training.run(60, scheduler=scheduler))
    assert text.startswith(
        "At step 5, within the hand-over, lr of parameter group 0 has risen from"
    )
    assert "multiply" in text
    assert "switch_rate=1" in text


def test_a_rate_that_rises_after_the_hand_over_is_not_warned_of():
    training = Training(switch_rate=0.2)
    restart = texts_of(
        lambda: training.run(
            80, scheduler=lambda o: LambdaLR(o, lambda step: 1.0 if step < 30 else 2.0)
        )
    )
    assert restart == []


def test_a_training_that_ends_before_the_hand_over_is_warned_of_when_it_begins():
    training = Training(switch_rate=0.01)
    (text,) = texts_of(lambda: training.watch.begin([training.optimizer], 0, 50))
    assert text == (
        "The hand-over of parameter group 0 takes 100 updates (1 / switch_rate), and the training "
        "has 50: DualAdam does not become Adam. "
        "Use switch_rate=switch_rate_for(50), which is 0.125."
    )
    assert texts_of(lambda: training.run(50)) == []  # not again


def test_a_training_that_ends_with_the_hand_over_is_not_warned_of():
    assert texts_of(lambda: Training(switch_rate=1 / 50).run(50)) == []


def test_a_resumed_training_counts_the_updates_of_the_state():
    """AdamW's state, for example, has a count that the trainer does not know."""
    training = Training(switch_rate=0.01).run(0, total=200)
    for _ in range(80):
        training.weight.grad = torch.full_like(training.weight, 0.01)
        training.optimizer.step()
    assert texts_of(lambda: training.watch.begin([training.optimizer], 0, 20)) == []
    assert texts_of(lambda: training.watch.begin([training.optimizer], 0, 19))


def test_a_process_that_does_not_speak_does_not_warn():
    training = Training(switch_rate=0.01, gradient=2.0)

    def run() -> None:
        training.watch.begin([training.optimizer], 0, 50, speaks=False)
        training.weight.grad = torch.full_like(training.weight, 2.0)
        training.optimizer.step()
        training.watch.look(1)
        training.watch.end()

    assert texts_of(run) == []


def test_a_trainer_without_our_optimizers_is_refused_with_the_remedy():
    sgd = torch.optim.SGD([torch.ones(1, requires_grad=True)])
    for optimizers, found in (([Wrapper(sgd)], "Wrapper"), ([sgd, sgd], "SGD, SGD"), ([], "none")):
        with pytest.raises(InvalidTypeError) as error:
            HandOverWatch().begin(optimizers, 0, 10, remedy="Do this.")
        assert str(error.value) == (
            f"The optimizer of the trainer must be a DualAdam or an InvAdam, got {found}. Do this."
        )
    circle = Wrapper(None)
    circle.optimizer = circle
    with pytest.raises(InvalidTypeError, match="leave DiagnoseCallback out"):
        HandOverWatch().begin([circle], 0, 10)


@pytest.mark.parametrize("name", ["every", "points_in_hand_over"])
def test_distances_are_integers_of_at_least_1(name: str):
    with pytest.raises(InvalidValueError, match=f"{name} must be at least 1, got 0"):
        HandOverWatch(**{name: 0})
    for value in (2.5, True, "10"):
        with pytest.raises(InvalidTypeError, match=f"{name} must be an integer, got"):
            HandOverWatch(**{name: value})


def test_without_its_trainer_a_callback_says_what_to_install():
    code = """
import importlib, sys
from dualadam.errors import MissingExtraError
for name in ("transformers", "lightning", "pytorch_lightning"):
    sys.modules[name] = None
for name in ("transformers", "lightning"):
    try:
        importlib.import_module(f"dualadam.callbacks.{name}")
    except MissingExtraError as error:
        print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(dualadam.__file__).parents[1])},
    )
    assert result.stdout.splitlines() == [
        "dualadam.callbacks.transformers needs transformers: pip install transformers accelerate",
        "dualadam.callbacks.lightning needs Lightning: pip install lightning",
    ]
