"""Points and seeds that fit into a time, and how runs are timed."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
from compare_cases import TINY, run_command, run_of
from torch import nn

from dualadam.compare import budget, compare, timing
from dualadam.compare.budget import fit_to_hours, plan_for_hours
from dualadam.compare.estimate import ArmTime, Estimate, estimate
from dualadam.compare.own_task import bind_task
from dualadam.compare.plan import make_plan
from dualadam.compare.power import detectable_difference, detectable_in_spreads
from dualadam.compare.run import OwnLoop
from dualadam.compare.spec_file import load_study_spec, parse_spec
from dualadam.compare.timing import RunTime, time_own, time_run
from dualadam.compare.training import Training
from dualadam.compare.workers import choose_executor
from dualadam.errors import FailedRunsError
from dualadam.harness.executors import InlineExecutor
from dualadam.harness.progress import Progress
from dualadam.tasks import Source

SLOW = """
import time
from pathlib import Path
def train(run):
    log = Path(__file__).parent / "calls"
    with log.open("a") as file:
        file.write(f"{run.phase} {run.steps}\\n")
    time.sleep(0.02 + 0.0005 * (run.steps or 100))
    return run.scores(validation=1.0 + 1e-3 * run.seed, test=lambda: log.open("a").write("test\\n"))
def stubborn(run):
    time.sleep(0.05)
    return run.scores(validation=1.0, test=1.0)
def broken(run):
    raise KeyError("no data")
"""
LOOP = """
name = "slow"
train = "slow.py:train"
direction = "higher"
steps = 400
points = 8
seeds = 5
primary = { arm = "AdamW", against = "SGD", margin = 0.5 }

[[block]]
[[block.arm]]
name = "AdamW"
optimizer = "AdamW"
tune = { lr = [1e-3, 1e-2] }

[[block.arm]]
name = "SGD"
optimizer = "SGD"
tune = { lr = [1e-3, 1e-2] }
"""


@pytest.fixture
def source(tmp_path) -> Source:
    (tmp_path / "slow.py").write_text(SLOW)
    return Source(folder=str(tmp_path))


def cost_of(tuning: float, judged: float, *, width: int = 1, arms: int = 2) -> Estimate:
    times = [ArmTime("b", f"a{k}", RunTime(None, tuning, judged)) for k in range(arms)]
    return Estimate(times, 8, 5, None, width, evaluations=True)


FITS = [
    # seconds of a tuning and a judged run, workers, hours -> points, seeds
    (60, 60, 1, 0.64, 8, 10),  # 36 runs of 1 minute in 95 % of 38.4 minutes
    (60, 60, 2, 0.32, 8, 10),
    (60, 60, 1, 0.15, 2, 2),
    (60, 120, 1, 1.0, 8, 10),
    (1, 1, 1, 1.0, 32, 1678),  # no more than 32 points: the rest goes into seeds
]


@pytest.mark.parametrize(("tuning", "judged", "width", "hours", "points", "seeds"), FITS)
def test_the_most_seeds_that_fit_come_with_four_points_for_five_seeds(
    tuning, judged, width, hours, points, seeds
):
    cost = cost_of(tuning, judged, width=width)
    fitted = fit_to_hours(parse_spec(LOOP), cost, hours)
    assert (fitted.spec.points, fitted.spec.seeds) == (points, seeds)
    assert fitted.seconds <= 0.95 * 3600 * hours
    assert cost.seconds_of(points, seeds) == fitted.seconds
    assert cost.seconds_of(points, seeds + 1) > 0.95 * 3600 * hours


def test_tuning_seeds_are_kept_and_fixed_arms_get_seeds_alone():
    spec = parse_spec(LOOP.replace("points = 8", "points = 8\ntuning_seeds = 3"))
    fitted = fit_to_hours(spec, cost_of(60, 60), 1.2).spec
    assert (fitted.points, fitted.tuning_seeds, fitted.seeds) == (8, 3, 10)
    fixed = LOOP.replace("points = 8", "points = 0").replace("[1e-3, 1e-2]", "1e-3")
    fitted = fit_to_hours(parse_spec(fixed.replace("tune =", "args =")), cost_of(60, 60), 1.0).spec
    assert (fitted.points, fitted.seeds) == (0, 28)


def test_more_seeds_than_there_are_below_the_tuning_seeds_are_not_chosen():
    late = LOOP.replace("\nseeds =", "\nfirst_seed = 9990\nseeds =", 1)
    assert fit_to_hours(parse_spec(late), cost_of(60, 60), 100).spec.judged_seeds[-1] == 9999


def test_too_little_time_is_refused_with_the_time_of_the_smallest_plan():
    message = (
        "hours must be at least 0.15 for this study, got 0.1: its smallest plan, 2 points and "
        "2 seeds for each of 2 arms, takes about 8 min."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        fit_to_hours(parse_spec(LOOP), cost_of(60, 60), 0.1)
    fit_to_hours(parse_spec(LOOP), cost_of(60, 60), 0.15)


@pytest.mark.parametrize("hours", [0, -1, float("inf"), float("nan")])
def test_hours_that_are_no_time_are_refused(hours):
    with pytest.raises(ValueError, match="hours must be above 0"):
        fit_to_hours(parse_spec(LOOP), cost_of(60, 60), hours)


def test_a_study_of_unknown_length_cannot_be_fitted():
    times = [ArmTime("b", "a", RunTime(0.1, None, None))]
    with pytest.raises(ValueError, match="the number of steps is not known"):
        fit_to_hours(parse_spec(LOOP), Estimate(times, 8, 5, None, 1, evaluations=True), 1)


def test_what_n_seeds_find_is_the_power_of_the_paired_t_test():
    rng = np.random.default_rng(0)
    differences = rng.normal(size=10)
    found = detectable_difference(differences) / differences.std(ddof=1)
    assert detectable_in_spreads(10) == pytest.approx(found)
    draws = rng.normal(size=(20_000, 10)) + detectable_in_spreads(10)
    t = draws.mean(1) / (draws.std(1, ddof=1) / 10**0.5)
    # 20,000 draws: a standard error of 0.3 %
    assert (abs(t) > 2.2622).mean() == pytest.approx(0.8, abs=0.012)


def test_the_sentence_says_points_seeds_time_and_what_they_find():
    said = fit_to_hours(parse_spec(LOOP), cost_of(60, 60), 0.64).sentences()
    assert said == (
        "8 points and 10 seeds for each of 2 arms: about 36 min. With 80 % power, 10 seeds find a "
        "difference of 1.00 standard deviations of the paired differences. A difference as large "
        "as the margin, 0.5, is found where that standard deviation is at most 0.5."
    )


def test_a_function_is_timed_at_a_twentieth_and_a_tenth_of_its_steps(tmp_path, source):
    run = run_of(task="slow.py:train", own_loop=OwnLoop(0.0), steps=400, metric="score")
    assert time_own(run, source=source) > 0
    calls = (tmp_path / "calls").read_text().split("\n")[:-1]
    assert calls == ["tune 20", "tune 20", "tune 40"]  # the test score is never computed


@pytest.mark.parametrize(
    ("changes", "calls"),
    [({"steps": 39}, ["tune 39"]), ({"steps": None}, ["tune None"])],
)
def test_a_short_or_uncounted_function_is_timed_whole(tmp_path, source, changes, calls):
    run = run_of(task="slow.py:train", own_loop=OwnLoop(0.0), metric="score", **changes)
    time_own(run, source=source)
    assert (tmp_path / "calls").read_text().split("\n")[:-1] == calls


def test_times_on_a_line_give_the_whole_and_equal_times_are_the_answer(monkeypatch):
    run = run_of(own_loop=OwnLoop(0.0), steps=1000)
    for seconds, whole in ((lambda n: 2 + 0.1 * n, 102.0), (lambda n: 7.0, 7.0)):
        clock = [0.0]

        def train(shorter, clock=clock, seconds=seconds, **_):
            clock[0] += seconds(shorter.steps)

        monkeypatch.setattr(timing, "train_own", train)
        monkeypatch.setattr(time, "perf_counter", lambda clock=clock: clock[0])
        assert time_own(run) == pytest.approx(whole)


def test_a_command_without_steps_is_timed_whole(monkeypatch):
    seen = []
    monkeypatch.setattr(timing, "train_own", lambda run, **_: seen.append(run.steps))
    time_own(run_of(own_loop=OwnLoop(0.0, "{python} x.py --out {out}"), steps=1000))
    time_own(run_of(own_loop=OwnLoop(0.0, "{python} x.py {steps} --out {out}"), steps=1000))
    assert seen == [1000, 50, 50, 100]


def test_a_built_in_run_is_timed_with_its_evaluations_on_its_own_data(monkeypatch):
    run = run_of(steps=20, evaluations=4)
    step = time_run(run, total_steps=20, whole=False)
    assert step.tuning == step.judged == pytest.approx(20 * step.step)
    evaluate = Training.evaluate

    def slow(training, split):
        time.sleep(0.2)
        return evaluate(training, split)

    monkeypatch.setattr(Training, "evaluate", slow)
    whole = time_run(run, total_steps=20, whole=True)
    assert whole.tuning >= 0.2
    assert whole.judged - whole.tuning >= 4 * 0.2


def test_an_estimate_of_an_own_function_counts_whole_runs(tmp_path, source):
    spec = bind_task(parse_spec(LOOP), source)
    cost = estimate(make_plan(spec), InlineExecutor(), 1, source=source)
    assert (cost.tuning_runs, cost.judged_runs, cost.num_runs) == (8, 5, 26)
    assert cost.seconds == pytest.approx(sum(13 * arm.time.tuning for arm in cost.arms))
    assert cost.evaluations


def test_a_timed_run_that_fails_is_a_sentence(source):
    spec = bind_task(parse_spec(LOOP.replace("slow.py:train", "slow.py:broken")), source)
    with pytest.raises(FailedRunsError, match=r"A run that was timed failed: KeyError: 'no data'"):
        estimate(make_plan(spec), InlineExecutor(), 1, source=source)


def test_hours_choose_points_and_seeds_once_and_a_second_start_goes_on_with_them(
    tmp_path, source, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("slow.toml").write_text(LOOP)
    # the time of a run would depend on how busy the machine is
    monkeypatch.setattr(budget, "estimate", lambda *_, **__: cost_of(60, 60))
    options = ["compare", "slow.toml", "--hours", 0.2, "--workers", 1, "--out", "o"]
    assert run_command(*options) == 0
    said = " ".join(capsys.readouterr().out.split())
    spec = load_study_spec(Path("o"))
    assert (spec.points, spec.seeds) == (2, 3)
    assert "2 points and 3 seeds for each of 2 arms: about 10 min" in said
    lines = Path("o/runs.jsonl").read_text().splitlines()
    assert len(lines) == 2 * (spec.points + spec.seeds)
    calls = Path("calls").read_text()
    assert run_command(*options) == 0
    assert "o goes on with" in capsys.readouterr().out
    assert Path("calls").read_text() == calls


def test_a_time_that_is_too_short_is_refused_before_anything_is_kept(tmp_path, source):
    spec = bind_task(parse_spec(LOOP), source)
    workers = choose_executor(0, None, "cpu", None)
    with pytest.raises(ValueError, match="hours must be at least"):
        plan_for_hours(spec, tmp_path / "out", 1e-6, workers, source=source)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--dry-run", "--estimate", "--smoke"])
def test_hours_run_the_study_so_that_other_ways_are_refused(tmp_path, capsys, option):
    file = tmp_path / "study.toml"
    file.write_text(TINY)
    assert run_command("compare", file, "--hours", 1, option) == 2
    assert f"{option} must be left out with --hours" in capsys.readouterr().err


def test_compare_in_python_takes_hours_too(tmp_path, monkeypatch):
    sentences = []

    class Sentences(Progress):
        def said(self, sentence):
            sentences.append(sentence)

    def train(run):
        run.optimizer(nn.Linear(1, 1))
        time.sleep(0.05)
        return run.scores(validation=float(run.seed % 7), test=1.0 + run.seed)

    result = compare(
        train,
        lr=1e-2,
        arms=["AdamW", "SGD"],
        direction="higher",
        hours=0.001,
        workers=0,
        out=tmp_path,
        progress=Sentences(),
    )
    spec = result.summary.spec
    assert 4 <= spec.points + spec.seeds <= 40  # of 0.05 s or more each, in 3.4 s
    assert f"{spec.seeds} seeds find a difference" in sentences[0]
    assert json.loads((tmp_path / "spec.json").read_text())["seeds"] == spec.seeds
