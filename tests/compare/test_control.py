"""Where gradients are tiny, DualAdam's training is Adam's with a linear warm-up, step by step."""

from dataclasses import replace

import pytest
import torch
from compare_cases import run_of

from dualadam.compare.training import Training
from dualadam.tasks import get_task

STEPS, SCALE = 40, 1e-6


class Smooth:
    """Digits in float64, with a network without dead units.

    With eps = 0, a gradient that is exactly 0 would give 0 / 0.
    """

    def __init__(self, task):
        self.task, self.num_train = task, task.num_train

    def make_model(self, name):
        layers = [
            torch.nn.Flatten(),
            torch.nn.Linear(64, 16),
            torch.nn.Tanh(),
            torch.nn.Linear(16, 10),
        ]
        return torch.nn.Sequential(*layers).double()

    def batches(self, *arguments):
        return ((images.double(), labels) for images, labels in self.task.batches(*arguments))

    def loss(self, model, batch):
        return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])


def trained(run):
    training = Training(run, Smooth(get_task("digits")))
    for step, batch in zip(range(1, STEPS + 1), training.batches(), strict=False):
        training.step(step, batch)
    return torch.nn.utils.parameters_to_vector(training.model.parameters()).detach()


@pytest.mark.parametrize("xi", [1.0, 0.3, 0.05, 0.01])
def test_with_gradients_times_1e_6_and_eps_0_dualadam_equals_the_control(xi):
    run = run_of(
        steps=STEPS,
        settings={"lr": 1e-2, "eps": 0.0, "switch_rate": xi},
        weight_decay=0.1,
        loss_scale=SCALE,
    )
    ours = trained(replace(run, optimizer="DualAdam"))
    for name in ("AdamW+warmup", "Adam+warmup"):
        # The inverse part is r^2 (1 - xi t) / (xi t) of Adam's, at most (1e-6 max|g|)^2 / xi, which
        # is 1e-10 with gradients below 1. Training amplifies it at most a hundredfold in 40 steps.
        assert torch.allclose(ours, trained(replace(run, optimizer=name)), rtol=0, atol=1e-8)


def test_without_the_warm_up_adam_is_another_training():
    run = run_of(
        steps=STEPS,
        settings={"lr": 1e-2, "eps": 0.0},
        weight_decay=0.1,
        loss_scale=SCALE,
        optimizer="AdamW",
    )
    warmed = replace(run, optimizer="AdamW+warmup", settings={**run.settings, "switch_rate": 0.05})
    assert (trained(run) - trained(warmed)).abs().max() > 1e-3
