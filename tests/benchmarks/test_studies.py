"""The registered studies: their specs, problems and optimizers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from dualadam.compare.warmup import LinearWarmup

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks" / "studies"))

import evidence_studies
import images
import run_studies
import scale_free

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
LR, RATE = 1e-2, 0.1


def trained(make, steps=12):
    """Return the weights of a small network after a few steps."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3))
    optimizer = make(model.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(8, 5)).square().sum().backward()
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def first_step(cls):
    """Return the steps that one update takes on two tensors; alpha is 0.75."""
    params = [torch.zeros(4, 3, requires_grad=True), torch.zeros(6, requires_grad=True)]
    draw = torch.Generator().manual_seed(0)
    for param in params:
        param.grad = torch.randn(param.shape, generator=draw)
    cls(params, lr=1.0, switch_rate=1.0, mix_steps=4).step()
    return [param.detach() for param in params]


def test_every_spec_is_run_and_has_its_rows_on_the_page():
    files = {file.stem for file in (BENCHMARKS / "studies").glob("*.toml")}
    assert files == set(run_studies.NAMES)
    registered = files - {"characters_uint8-state"}
    assert registered <= {study.name for study in evidence_studies.STUDIES}
    for name in files:
        assert f'name = "{name}"' in (BENCHMARKS / "studies" / f"{name}.toml").read_text()


def test_a_cpu_is_not_given_what_only_a_gpu_can_train():
    on_a_cpu, on_a_gpu = (run_studies.studies_for(device) for device in ("cpu", "cuda"))
    assert set(on_a_cpu) | set(on_a_gpu) == set(run_studies.NAMES)
    assert on_a_gpu == [name for name in run_studies.NAMES if "resnet" in name]


def test_without_mixing_every_form_is_adam_with_the_warm_up():
    adam = trained(lambda p: LinearWarmup(torch.optim.AdamW(p, lr=LR, weight_decay=0.1), RATE))
    for cls in (scale_free.MixLong, scale_free.BoundLong, scale_free.BoundLongDirection):
        found = trained(
            lambda p, cls=cls: cls(p, lr=LR, weight_decay=0.1, switch_rate=RATE, mix_steps=1)
        )
        # a different order of operations in float32, over 12 steps
        torch.testing.assert_close(found, adam, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", ["MixLong", "BoundLong"])
def test_a_control_has_the_forms_size_and_adams_direction(form):
    whole, sized = (first_step(getattr(scale_free, name)) for name in (form, f"{form}Size"))
    for step, control in zip(whole, sized, strict=True):
        assert control.norm().item() == pytest.approx(step.norm().item(), rel=1e-5)
        # at the first step Adam's direction is the sign of the gradient
        assert control.abs().max().item() == pytest.approx(control.abs().min().item(), rel=1e-5)
        assert step.abs().max() > 1.5 * step.abs().min()


def test_the_control_of_the_direction_has_adams_size():
    whole, turned = (
        first_step(cls) for cls in (scale_free.BoundLong, scale_free.BoundLongDirection)
    )
    for step, control in zip(whole, turned, strict=True):
        cosine = torch.cosine_similarity(step.flatten(), control.flatten(), dim=0)
        assert cosine.item() == pytest.approx(1.0, abs=1e-6)
        assert control.norm().item() == pytest.approx(step.numel() ** 0.5, rel=1e-5)


def test_wrong_labels_are_as_many_as_said_and_the_same_in_every_run():
    right, wrong = images.digits().train[1], images.digits_wrong_20().train[1]
    assert int((right != wrong).sum()) == round(0.2 * len(right))
    assert torch.equal(wrong, images.digits_wrong_20().train[1])


def test_a_summed_loss_is_the_mean_times_the_batch():
    problem = images.digits_summed()
    torch.manual_seed(0)
    model = problem.model()
    batch = tuple(part[:32] for part in problem.train)
    assert problem.loss(model, batch).item() == pytest.approx(
        32 * images.mean_loss(model, batch).item(), rel=1e-5
    )
