"""Schedules equal torch's."""

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR

from dualadam.compare.schedule import LearningRateSchedule, schedule_factor

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
        theirs = optimizer.param_groups[0]["lr"]
        assert schedule_factor(kind, step, TOTAL, FINAL) == pytest.approx(theirs, rel=1e-12)
        optimizer.step()
        scheduler.step()


def test_every_group_keeps_its_ratio_to_the_others():
    params = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": [params[0]], "lr": 1.0}, {"params": [params[1]], "lr": 0.25}]
    optimizer = torch.optim.SGD(groups)
    schedule = LearningRateSchedule(optimizer, "linear", 4, 0.0)
    for step, factor in ((1, 1.0), (2, 0.75), (4, 0.25)):
        schedule.set(step)
        assert [group["lr"] for group in optimizer.param_groups] == [factor, factor / 4]


def test_an_unknown_schedule_is_refused():
    with pytest.raises(
        ValueError, match=r"^schedule must be constant, linear or cosine, got 'step'\.$"
    ):
        schedule_factor("step", 1, 10, 0.1)
