"""Every arm of a block decays by the same share of its weights per step, whatever its lr."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from compare_cases import TINY, drawn_records, folder_of, run_command, run_of

from dualadam.compare.continued import continued
from dualadam.compare.control import reference_lr
from dualadam.compare.decay import weight_decay_at
from dualadam.compare.optimizers import decay_of, make_optimizer
from dualadam.compare.own_loop import command_values
from dualadam.compare.plan import make_plan
from dualadam.compare.run import AppliedDecay, Record
from dualadam.compare.spec_file import load_spec, load_study_spec, parse_spec
from dualadam.compare.train import train
from dualadam.compare.training import Training
from dualadam.tasks import get_task

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "benchmarks" / "records"
INVADAM = """
[[block.arm]]
name = "InvAdam"
optimizer = "InvAdam"
tune = { lr = [1e-1, 1e2] }
"""
DECAYED = TINY.replace("weight_decay = 0.01", "weight_decay = 0.05") + INVADAM
REFERENCE = 3e-3  # the geometric middle of the control's range


def runs_of(text: str) -> list:
    return make_plan(parse_spec(text)).tuning_runs


def per_step(run) -> float:
    """lr x weight_decay of a run's own optimizer."""
    decay = Training(run, get_task("digits")).decay
    assert decay.per_step is not None
    return decay.per_step


def test_every_arm_at_every_point_decays_by_the_same_share_per_step():
    runs = runs_of(DECAYED)
    assert {run.reference_lr for run in runs} == {REFERENCE}
    assert [per_step(run) for run in runs] == [pytest.approx(0.05 * REFERENCE)] * len(runs)


def test_times_lr_gives_every_arm_the_blocks_weight_decay():
    runs = runs_of(DECAYED.replace("points = 2", 'points = 2\ndecay = "times lr"'))
    assert {run.reference_lr for run in runs} == {None}
    for run in runs:
        assert per_step(run) == pytest.approx(0.05 * run.settings["lr"])


@pytest.mark.parametrize(("reference", "kept"), [(None, 0.0), (REFERENCE, 0.98)])
def test_invadam_at_lr_74_and_decay_0_05_no_longer_erases_its_weights(reference, kept):
    """With 0.05 x 74 per step, a step without a gradient turns weights w into -2.7 w."""
    if reference is None:
        warnings.filterwarnings("ignore", "lr \\* weight_decay is 3.7")
    run = run_of(optimizer="InvAdam", settings={"lr": 74.0}, weight_decay=0.05, schedule="constant")
    training = Training(replace(run, reference_lr=reference, steps=20), get_task("digits"))
    weights = [p for p in training.model.parameters() if p.dim() > 1]
    before = [p.detach().clone() for p in weights]
    for step in range(1, 21):
        for p in training.model.parameters():
            p.grad = torch.zeros_like(p)
        training.schedule.set(step)
        training.optimizer.step()
    shares = [
        float((p.detach() * b).sum() / (b * b).sum()) for p, b in zip(weights, before, strict=True)
    ]
    if kept:
        assert all(kept < share < 1 for share in shares)
    else:
        assert all(abs(share) > 1e6 for share in shares)


def test_the_decay_follows_the_schedule_as_adamws_does_and_is_not_warmed_up():
    run = run_of(optimizer="AdamW", settings={"lr": 0.02}, weight_decay=0.1, schedule="linear")
    run = replace(run, reference_lr=0.01, steps=4, final_fraction=0.0)
    warmed = replace(run, optimizer="AdamW+warmup", settings=run.settings | {"switch_rate": 0.25})
    for each in (run, warmed):
        training = Training(each, get_task("digits"))
        weight = next(p for p in training.model.parameters() if p.dim() > 1)
        for step in range(1, 5):
            training.optimizer.zero_grad()
            weight.grad = torch.zeros_like(weight)
            before = weight.detach().clone()
            training.schedule.set(step)
            training.optimizer.step()
            share = 1 - 0.1 * 0.01 * (1 - (step - 1) / 4)
            torch.testing.assert_close(weight.detach(), before * share, rtol=1e-6, atol=0)


def test_one_learning_rate_for_all_arms_changes_no_weight_decay():
    """So the studies as published run at their settings, bit for bit."""
    for path in sorted((ROOT / "benchmarks" / "specs").glob("*_as-published.toml")):
        spec = load_spec(path)
        plan = make_plan(spec)
        for run in plan.judged_runs(dict.fromkeys(plan.settings, 0)):
            lr = run.settings["lr"]
            assert weight_decay_at(run.weight_decay, run.reference_lr, lr) == run.weight_decay


class NoDecay(torch.optim.SGD):
    """A class without weight_decay."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, lr=lr)
        del self.defaults["weight_decay"]


@pytest.mark.parametrize(
    ("name", "settings", "decay"),
    [
        ("AdamW", {"lr": 0.01}, AppliedDecay(0.015, 0.00015)),
        ("AdamW", {}, AppliedDecay(0.15, 0.00015)),  # the lr of the class, 1e-3
        ("DualAdam", {"lr": 30.0}, AppliedDecay(5e-6, 0.00015)),
        ("torch.optim.Adam", {"lr": 0.01, "decoupled_weight_decay": True}, None),
        ("Adam", {"lr": 0.01}, AppliedDecay(0.05, None)),  # in the gradient: nothing to divide
        ("torch.optim.SGD", {"lr": 0.01}, AppliedDecay(0.05, None)),
        (f"{__name__}.NoDecay", {"lr": 0.01}, AppliedDecay(None, None)),
    ],
)
def test_what_an_optimizer_applies_is_read_from_it(name, settings, decay):
    param = torch.nn.Parameter(torch.ones(2, 2))
    found = decay_of(name, make_optimizer(name, [param], settings, 0.05, reference_lr=REFERENCE))
    expected = decay or AppliedDecay(0.015, 0.00015)
    assert (found.weight_decay is None) == (expected.weight_decay is None)
    assert found.weight_decay == pytest.approx(expected.weight_decay)
    assert found.per_step == pytest.approx(expected.per_step)


def test_a_group_with_its_own_learning_rate_and_a_later_group_decay_as_much():
    first, second, third = (torch.nn.Parameter(torch.ones(1)) for _ in range(3))
    groups = [{"params": [first], "lr": 0.1}, {"params": [second]}]
    optimizer = make_optimizer("AdamW", groups, {"lr": 0.01}, 0.05, reference_lr=REFERENCE)
    optimizer.add_param_group({"params": [third]})
    shares = [group["lr"] * group["weight_decay"] for group in optimizer.param_groups]
    assert shares == [pytest.approx(0.05 * REFERENCE)] * 3


def test_a_command_gets_the_divided_weight_decay():
    run = run_of(settings={"lr": 0.03}, weight_decay=0.05)
    assert command_values(run, "cpu", "out")["weight_decay"] == 0.05
    run = replace(run, reference_lr=REFERENCE)
    assert command_values(run, "cpu", "out")["weight_decay"] == pytest.approx(0.005)
    run = replace(run, settings={"lr": "auto"})
    assert command_values(run, "cpu", "out")["weight_decay"] == 0.05


REFERENCES = [
    ("", REFERENCE),
    ("reference_lr = 1e-2", 1e-2),
]


@pytest.mark.parametrize(("line", "reference"), REFERENCES)
def test_the_reference_is_the_blocks_or_the_middle_of_the_controls_range(line, reference):
    spec = parse_spec(DECAYED.replace("[[block]]", f"[[block]]\n{line}", 1))
    assert reference_lr(spec, spec.block[0]) == pytest.approx(reference)


def test_the_reference_is_the_fixed_lr_of_the_control_or_that_of_the_first_arm_with_one():
    fixed = (
        TINY.replace("points = 2", "points = 0")
        .replace("lr = [3e-4, 3e-2]", "lr = 2e-3")
        .replace("[0.2, 0.5]", "0.2")
        .replace("tune =", "args =")
    )
    spec = parse_spec(fixed)
    assert reference_lr(spec, spec.block[0]) == 2e-3
    spec = parse_spec(fixed.replace("lr = 2e-3, switch_rate", "switch_rate"))
    assert reference_lr(spec, spec.block[0]) == 2e-3
    spec = parse_spec(
        fixed.replace("lr = 2e-3, switch_rate", "switch_rate").replace("lr = 2e-3", "")
    )
    assert reference_lr(spec, spec.block[0]) is None


def test_without_weight_decay_a_run_has_the_key_that_it_always_had():
    text = TINY.replace("weight_decay = 0.01", "weight_decay = 0.0")
    older = text.replace("points = 2", 'points = 2\ndecay = "times lr"')
    assert [run.key for run in runs_of(text)] == [run.key for run in runs_of(older)]


@pytest.mark.parametrize("study", ["2026-11-24_cifar10_study", "2026-11-24_digits_study"])
def test_a_recorded_study_keeps_its_points_its_decay_and_its_keys(study, tmp_path):
    for name in ("spec.json", "runs.jsonl"):
        shutil.copy(RECORDS / study / name, tmp_path)
    spec = load_study_spec(tmp_path)
    assert (spec.decay, spec.sampler, spec.extended) == ("times lr", "halton", [])
    lines = (tmp_path / "runs.jsonl").read_text().splitlines()
    records = [Record.from_json(json.loads(line)) for line in lines]
    plan = make_plan(spec)
    runs = [*plan.tuning_runs, *plan.judged_runs(plan.winners(records))]
    assert {run.key for run in runs} == {json.loads(line)["key"] for line in lines}
    published = ROOT / "benchmarks" / "specs" / f"{study.partition('_')[2]}.toml"
    assert make_plan(load_spec(published)).settings == plan.settings


def test_a_folder_from_before_the_keys_goes_on_as_it_was_started_unless_the_spec_says_otherwise(
    tmp_path,
):
    folder = folder_of(TINY, tmp_path)
    recorded = json.loads((folder / "spec.json").read_text())
    for key in ("decay", "sampler", "extended"):
        del recorded[key]
    (folder / "spec.json").write_text(json.dumps(recorded))
    spec = continued(parse_spec(TINY), folder)
    assert (spec.decay, spec.sampler) == ("times lr", "halton")
    own = TINY.replace("points = 2", 'points = 2\ndecay = "independent"')
    assert continued(parse_spec(own), folder).decay == "independent"
    assert continued(parse_spec(TINY), tmp_path / "none").decay == "independent"


def test_the_record_and_the_report_say_what_every_arm_applied(tmp_path):
    run = make_plan(parse_spec(TINY)).tuning_runs[0]
    record = train(replace(run, steps=1))
    again = Record.from_json(json.loads(json.dumps(record.to_json())))
    assert again.decay == record.decay
    assert record.decay.per_step == pytest.approx(0.01 * REFERENCE)

    decays = {
        "AdamW": AppliedDecay(0.003, 3e-5),
        "Adam + warm-up": AppliedDecay(0.05, None),
        "DualAdam": AppliedDecay(None, None),
    }
    spec = parse_spec(TINY)
    folder = folder_of(TINY, tmp_path)
    (folder / "runs.jsonl").write_text(
        "".join(
            json.dumps(replace(r, decay=decays[r.run.arm]).to_json()) + "\n"
            for r in drawn_records(spec)
        )
    )
    assert run_command("report", folder) == 0
    page = (folder / "report.md").read_text()
    assert "Weight decay: 0.01 at a learning rate of 0.003." in page
    assert "every other arm with one decays by 3e-05 per step" in page
    assert "| AdamW | 0.003 | 3e-05 |" in page
    assert "| Adam + warm-up | 0.05 | part of the gradient (L2) |" in page
    assert "| DualAdam | the class takes none | 0 |" in page


def test_a_plan_says_the_decay_per_step(tmp_path, capsys):
    file = tmp_path / "my.toml"
    file.write_text(DECAYED)
    assert run_command("compare", file, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "weight decay 0.05 at lr 0.003, 0.00015 per step in every arm" in said
