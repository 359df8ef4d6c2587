"""Walkers that leave a minimum, and the descent that decides where they are."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dualadam.diffusion import ADAM, INVADAM, SGD
from dualadam.studies.escape_networks import descent
from dualadam.studies.escape_networks.descent import Basin, find_basins
from dualadam.studies.escape_networks.escapes import EscapeSimulation, check_steps
from dualadam.studies.escape_networks.geometry import Minimum
from dualadam.studies.escape_networks.network import NetworkProblem
from dualadam.studies.escape_networks.starts import Start

PROBLEM = NetworkProblem(num_examples=200, num_components=5, num_hidden=3)


@pytest.fixture(scope="module")
def minimum():
    return Minimum(PROBLEM, torch.tensor(Start(PROBLEM, 4).run().w, dtype=torch.float64))


def test_a_descent_ends_where_plain_descent_ends(minimum):
    generator = torch.Generator().manual_seed(3)
    scale = torch.linspace(0.1, 16.0, 12, dtype=torch.float64)[:, None] / PROBLEM.num_params**0.5
    shape = (12, PROBLEM.num_params)
    w = minimum.w + scale * torch.randn(shape, dtype=torch.float64, generator=generator)
    found = find_basins(minimum, w.float())
    for _ in range(2500):
        w = w - PROBLEM.loss_and_gradient(w, *PROBLEM.data)[1] / minimum.curvature
    is_home = (w - minimum.w).norm(dim=1) < 1e-2
    expected = torch.where(is_home, int(Basin.HOME), int(Basin.ELSEWHERE))
    decided = found != Basin.UNDECIDED
    assert decided.sum() >= 11  # one of the far ones creeps along a valley
    assert found[decided].tolist() == expected[decided].tolist()
    assert {Basin.HOME, Basin.ELSEWHERE} == set(expected.tolist())


@pytest.mark.parametrize("rule", [SGD, ADAM, INVADAM], ids=lambda rule: rule.name)
def test_cold_walkers_stay_hot_ones_leave_and_a_second_run_is_the_same(minimum, rule, monkeypatch):
    monkeypatch.setattr(descent, "MAX_STEPS", 1500)  # slow descents are not the subject here

    def run(temperature):
        lr = temperature / minimum.temperature_per_lr(rule, 16)
        w = tuple(minimum.w.tolist())
        return EscapeSimulation(
            PROBLEM, 4, w, rule, temperature, lr, batch_size=16, num_walkers=4, num_steps=320
        ).run()

    cold, hot = run(1e-6), run(0.2)
    assert cold.first_elsewhere == (None,) * 4
    assert cold.last_home == (check_steps(320)[-1],) * 4
    assert any(step is not None for step in hot.first_elsewhere)
    assert replace(run(0.2), cpu_seconds=0) == replace(hot, cpu_seconds=0)
