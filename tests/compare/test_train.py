"""A run is reproducible, paired by seed, strict JSON, and needs torch and NumPy alone."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from compare_cases import environment, numbers, run_of

from dualadam.compare.run import Record, SplitScore
from dualadam.compare.train import train
from dualadam.compare.training import Training
from dualadam.tasks import get_task


def test_the_same_run_twice_gives_the_same_record():
    run = run_of(optimizer="DualAdam", settings={"lr": 3e-3, "switch_rate": 0.1})
    torch.manual_seed(1)
    first = train(run)
    torch.manual_seed(2)  # nothing outside the run decides its numbers
    assert numbers(first) == numbers(train(run))
    assert first.test.score > 20  # of ten classes: it learns


def test_another_seed_is_another_run():
    assert train(run_of()).curve != train(run_of(seed=1)).curve


ARMS = [
    ("Adam", {"lr": 1e-2}),
    ("SGD", {"lr": 1e-1}),
    ("InvAdam", {"lr": 10.0}),
    ("DualAdam", {"lr": 1e-2, "switch_rate": 0.1}),
    ("Adam+warmup", {"lr": 1e-2, "switch_rate": 0.1}),
]


def test_arms_of_a_seed_start_from_the_same_weights_and_see_the_same_batches():
    task = get_task("digits")
    seen = []
    for optimizer, settings in ARMS:
        training = Training(run_of(optimizer=optimizer, settings=settings), task)
        weights = (
            torch.nn.utils.parameters_to_vector(p.contiguous() for p in training.model.parameters())
            .detach()
            .clone()
        )
        batches = []
        for step, (images, labels) in zip(
            range(1, 150), training.batches(), strict=False
        ):  # into the second epoch
            batches.append((images.sum().item(), labels.tolist()))
            if step < 5:
                training.step(step, (images, labels))
        seen.append((weights, batches))
    assert all(torch.equal(seen[0][0], weights) for weights, _ in seen)
    assert all(batches == seen[0][1] for _, batches in seen)


@pytest.mark.parametrize("phase", ["tune", "judge"])
@pytest.mark.parametrize(
    ("optimizer", "settings"),
    [
        ("SGD", {"lr": 1e12}),
        ("InvAdam", {"lr": 1e12}),
        ("DualAdam", {"lr": 1e12, "switch_rate": 0.01}),
    ],
)
def test_a_diverging_run_is_a_record_with_the_worst_score_and_strict_json(
    optimizer, settings, phase
):
    record = train(run_of(optimizer=optimizer, settings=settings, phase=phase, steps=60))
    assert record.diverged
    assert record.validation == SplitScore(score=0.0, loss=None, metrics={"accuracy": 0.0})
    assert Record.from_json(json.loads(json.dumps(record.to_json(), allow_nan=False))) == record
    if phase == "judge":
        assert record.test.score == 0.0
        assert set(record.correct) == {"0"}


def test_tuning_never_looks_at_the_test_split(monkeypatch):
    looked = []
    task = get_task("digits")
    evaluate = type(task).evaluate
    monkeypatch.setattr(
        type(task),
        "evaluate",
        lambda self, model, split: looked.append(split) or evaluate(self, model, split),
    )
    assert train(run_of(phase="tune")).test is None
    assert set(looked) == {"validation"}
    train(run_of(phase="judge"))
    assert looked.count("test") == 1


def test_bits_of_the_right_examples_add_up_to_the_accuracy():
    record = train(run_of())
    bits = bin(int("1" + record.correct, 16))[3:][: record.num_test]
    assert 100 * bits.count("1") / record.num_test == pytest.approx(record.test.score)


def test_curve_and_diagnosis_cover_the_run_and_only_the_mixed_optimizers_are_diagnosed():
    run = run_of(steps=40, optimizer="DualAdam", settings={"lr": 1e-3, "switch_rate": 0.1})
    record = train(run)
    assert [p.step for p in record.curve] == list(range(2, 41, 2))
    steps = [p.step for p in record.diagnosis]
    assert (steps[0], steps[-1]) == (1, 40)
    assert all(
        p.mixing_weight == pytest.approx(max(0.0, 1 - 0.1 * p.step), abs=1e-9)
        for p in record.diagnosis
    )
    assert train(replace(run, optimizer="AdamW", settings={"lr": 1e-3})).diagnosis == ()


def test_evaluations_on_the_way_change_no_number_of_the_training():
    """A tuning run is evaluated at its end alone, a judged run is also evaluated on the way."""
    run = run_of(optimizer="DualAdam", settings={"lr": 1e-2, "switch_rate": 0.1})
    assert train(run).validation == train(replace(run, phase="tune")).validation


def test_loss_scale_multiplies_what_is_differentiated_and_not_what_is_reported():
    run = run_of(optimizer="Adam", settings={"lr": 1e-3, "eps": 0.0})
    plain, scaled = (
        train(run),
        train(replace(run, loss_scale=1024.0)),
    )  # a power of two: Adam's step is the same to the bit
    assert scaled.curve == plain.curve
    inverse = replace(run, optimizer="InvAdam", settings={"lr": 1e-3})
    assert train(replace(inverse, loss_scale=1024.0)).curve != train(inverse).curve


def test_any_importable_class_stands_in_an_arm_by_its_dotted_name():
    record = train(run_of(optimizer="torch.optim.Adamax", settings={"lr": 3e-3}))
    assert record.status == "finished"
    assert record.state_bytes > 0


def test_a_batch_larger_than_the_data_is_refused_and_not_waited_for():
    with pytest.raises(
        ValueError,
        match=r"batch_size must be at most the number of training examples, 1078, got 2000\.",
    ):
        train(run_of(batch_size=2000))


def test_training_imports_torch_and_numpy_alone():
    blocker = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        missing = "scipy pydantic sklearn rich typer matplotlib jinja2 pandas".split()
        if name.partition(".")[0] in missing:
            raise ImportError(f"{name} is not here")
sys.meta_path.insert(0, Blocker())
import dualadam.compare.train, dualadam.tasks.images.task
"""
    done = subprocess.run(
        [sys.executable, "-c", blocker],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
