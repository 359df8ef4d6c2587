"""Arms take their fused step where they have one, and recorded studies keep the step they had."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from compare_cases import TINY, run_of
from torch import nn

from dualadam.compare import optimizers as optimizers_module
from dualadam.compare.continued import continued
from dualadam.compare.execution import StudyStore
from dualadam.compare.optimizers import is_fused, make_optimizer
from dualadam.compare.plan import make_plan
from dualadam.compare.run import Run
from dualadam.compare.spec_file import load_study_spec, make_spec, parse_spec
from dualadam.compare.train import train
from dualadam.compare.trial import Trial
from dualadam.optim import fused_status

KERNEL = fused_status().available
LOOP = {
    "name": "loop",
    "train": "mine.py:train",
    "direction": "higher",
    "points": 0,
    "seeds": 2,
    "primary": {"arm": "SGD", "against": "Adam", "margin": 0.1},
    "block": [{"arm": [{"name": n, "optimizer": n, "args": {"lr": 0.1}} for n in ("Adam", "SGD")]}],
}


def made(name, settings=None, params=None):
    params = params or [nn.Parameter(torch.ones(2))]
    return make_optimizer(name, params, {"lr": 0.1, **(settings or {})}, fused=True)


@pytest.mark.parametrize(
    ("name", "settings", "fused"),
    [
        ("Adam", {}, True),
        ("AdamW+warmup", {"switch_rate": 0.5}, True),
        ("DualAdam", {}, KERNEL),
        ("InvAdam", {}, KERNEL),
        ("torch.optim.AdamW", {}, True),
        ("NAdam", {}, False),  # it has no fused step
        ("SGD", {}, False),  # fused, it refuses sparse gradients
        ("Adam", {"fused": False}, False),
        ("Adam", {"foreach": True}, False),
        ("Adam", {"differentiable": True}, False),
    ],
)
def test_an_optimizer_that_has_a_fused_step_takes_it_unless_its_settings_choose(
    name, settings, fused
):
    assert is_fused(made(name, settings)) == fused


def test_parameters_that_no_fused_step_takes_are_stepped_as_before():
    param = nn.Parameter(torch.ones(2, dtype=torch.complex64))
    param.grad = torch.ones_like(param)
    optimizer = made("Adam", params=[param])
    optimizer.step()
    assert not is_fused(optimizer)
    assert param.real.max() < 1


def test_without_the_kernel_dualadam_takes_its_usual_step(monkeypatch):
    missing = replace(fused_status(), available=False)
    monkeypatch.setattr(optimizers_module, "fused_status", lambda: missing)
    assert not is_fused(made("DualAdam"))
    assert is_fused(made("Adam"))


@pytest.mark.parametrize("optimizer", ["Adam", "DualAdam"])
def test_the_fused_steps_of_a_run_are_the_usual_ones_up_to_rounding(optimizer):
    fused, usual = (train(run_of(optimizer=optimizer, steps=5, fused=f)) for f in (True, False))
    assert (fused.fused, usual.fused) == (optimizer == "Adam" or KERNEL, False)
    # five steps of Adam carry the rounding of float32, 6e-8, to some 1e-6
    assert fused.validation.loss == pytest.approx(usual.validation.loss, rel=1e-4)


def test_a_users_own_loop_gets_an_optimizer_with_torchs_defaults():
    spec = make_spec(LOOP)
    run = make_plan(spec).judged_runs({(b.name, a.name): 0 for b in spec.block for a in b.arm})[0]
    assert not run.fused
    assert not is_fused(Trial(run).optimizer([nn.Parameter(torch.ones(1))]))


def test_a_new_spec_has_fused_steps_and_a_recorded_run_keeps_its_own():
    run = run_of()
    assert run.fused
    recorded = {key: value for key, value in asdict(run).items() if key != "fused"}
    assert Run.from_json(recorded) == replace(run, fused=False)
    assert replace(run, fused=False).key == "0594231beb1e08f7"  # as before there was the field
    assert run.key != replace(run, fused=False).key


def folder_of(spec, folder):
    """The folder of a study from before there was the key, with a first record."""
    content = json.loads(spec.model_dump_json())
    assert content.pop("fused")
    (folder / "spec.json").write_text(json.dumps(content))
    (folder / "runs.jsonl").write_text("")
    return folder


def test_a_study_from_before_fused_steps_goes_on_without_them(tmp_path):
    spec = parse_spec(TINY)
    folder = folder_of(spec, tmp_path)
    assert not load_study_spec(folder).fused
    StudyStore(folder, continued(spec, folder))
    with pytest.raises(ValueError, match="fused differ"):
        StudyStore(folder, spec)


def test_a_study_of_an_own_loop_from_before_fused_steps_goes_on(tmp_path):
    spec = make_spec(LOOP)
    folder = folder_of(spec, tmp_path)
    assert load_study_spec(folder) == spec
    StudyStore(folder, continued(spec, folder))
