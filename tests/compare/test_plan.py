"""The plan is drawn before anything runs: all arms have the same points and the same seeds."""

from dataclasses import replace

import numpy as np
import pytest
from compare_cases import DIGITS, TINY, drawn_record, run_of
from scipy.stats import qmc

from dualadam.compare.plan import make_plan
from dualadam.compare.run import SplitScore
from dualadam.compare.spec_file import load_spec, parse_spec

BLOCK = "no weight decay"


def settings(arm, text=DIGITS):
    spec = parse_spec(text)
    return make_plan(spec).settings[spec.block[0].name, arm]


def test_dualadam_and_its_control_try_the_same_points():
    assert settings("DualAdam") == settings("Adam + warm-up")
    assert len({tuple(p.values()) for p in settings("DualAdam")}) == 8


@pytest.mark.parametrize("arm", ["NAdam", "RAdam", "DualAdam", "Adam + warm-up"])
def test_arms_with_one_range_of_learning_rates_try_the_same_learning_rates(arm):
    assert [p["lr"] for p in settings(arm)] == [p["lr"] for p in settings("Adam")]


def test_an_arm_with_a_range_of_its_own_stands_at_the_same_places_of_it():
    ours, theirs = settings("InvAdam"), settings("Adam")
    for inverse, adam in zip(
        ours, theirs, strict=True
    ):  # ranges of three and two decades; the points have four digits
        assert (inverse["lr"] / 1e-1) ** (1 / 3) == pytest.approx(
            (adam["lr"] / 3e-4) ** (1 / 2), rel=3e-4
        )


HALTON = DIGITS.replace("points = 8", 'points = 8\nsampler = "halton"')
SEQUENCES = [
    (DIGITS, lambda: qmc.Sobol(2, scramble=True, rng=0).random_base2(3)),
    (HALTON, lambda: qmc.Halton(2, scramble=True, rng=0).random(8)),
]


@pytest.mark.parametrize(("text", "sequence"), SEQUENCES, ids=["sobol", "halton"])
def test_points_are_scipys_scrambled_sequence_on_a_logarithmic_scale(text, sequence):
    expected = [(3e-4 * 100**x, 3e-3 * (1e-1 / 3e-3) ** y) for x, y in sequence()]
    assert [(p["lr"], p["switch_rate"]) for p in settings("DualAdam", text)] == [
        pytest.approx(e, rel=5e-4) for e in expected
    ]


@pytest.mark.parametrize("first", [0, 8, 16])
@pytest.mark.parametrize("seed", range(5))
def test_every_quarter_of_the_learning_rates_meets_low_and_high_switch_rates(seed, first):
    """Also beside a third setting, which the order of the names would put between the two."""
    text = DIGITS.replace("points = 8", f"points = 24\nsampler_seed = {seed}").replace(
        "switch_rate = [3e-3, 1e-1] }", "switch_rate = [3e-3, 1e-1], eps = [1e-9, 1e-7] }"
    )
    met = set()
    for point in settings("DualAdam", text)[first : first + 8]:
        quarter = int(4 * np.log(point["lr"] / 3e-4) / np.log(100))
        half = int(2 * np.log(point["switch_rate"] / 3e-3) / np.log(1e-1 / 3e-3))
        met.add((quarter, half))
    assert len(met) == 8


def test_points_lie_in_their_ranges():
    for point in settings("DualAdam", DIGITS.replace("points = 8", "points = 500")):
        assert 3e-4 <= point["lr"] <= 3e-2
        assert 3e-3 <= point["switch_rate"] <= 1e-1


def test_one_spec_has_one_plan_and_another_sampler_seed_another():
    assert make_plan(load_spec("digits")) == make_plan(load_spec("digits"))
    assert settings("Adam") != settings(
        "Adam", DIGITS.replace("seeds = 5", "seeds = 5\nsampler_seed = 1", 1)
    )


def test_more_points_begin_with_the_fewer_ones():
    assert settings("DualAdam", DIGITS.replace("points = 8", "points = 12"))[:8] == settings(
        "DualAdam"
    )


def test_every_arm_has_the_same_budget_and_no_seed_is_in_both_phases():
    spec = load_spec("digits")
    plan = make_plan(spec)
    tuning, judged = plan.tuning_runs, plan.judged_runs(dict.fromkeys(plan.settings, 3))
    assert plan.num_runs == len(tuning) + len(judged) == 6 * 8 + 6 * 5
    assert {r.phase for r in tuning} == {"tune"}
    assert {r.phase for r in judged} == {"judge"}
    for arm in (a.name for a in spec.block[0].arm):
        assert [(r.trial, r.seed) for r in tuning if r.arm == arm] == [
            (r.trial, r.seed) for r in tuning if r.arm == "Adam"
        ]
        assert [(r.trial, r.seed) for r in judged if r.arm == arm] == [(3, s) for s in range(5)]
    assert not {r.seed for r in tuning} & {r.seed for r in judged}


def test_a_replication_is_judged_on_seeds_of_its_own():
    later = parse_spec(DIGITS.replace("\nseeds = 5", "\nseeds = 5\nfirst_seed = 1000"))
    plan, first = make_plan(later), make_plan(parse_spec(DIGITS))
    judged = [p.judged_runs(dict.fromkeys(p.settings, 0)) for p in (plan, first)]
    assert [run.seed for run in judged[0]] == [1000 + run.seed for run in judged[1]]
    assert {run.seed for run in judged[0]} == set(range(1000, 1005))
    assert plan.tuning_runs == first.tuning_runs


def test_keys_tell_all_runs_apart_and_are_the_same_in_every_process():
    plan = make_plan(load_spec("digits"))
    runs = [*plan.tuning_runs, *plan.judged_runs(dict.fromkeys(plan.settings, 0))]
    assert len({r.key for r in runs}) == len(runs)
    assert runs[0].key == make_plan(load_spec("digits")).tuning_runs[0].key


def test_fixed_arms_are_judged_without_tuning():
    text = (
        TINY.replace("points = 2", "points = 0")
        .replace("[3e-4, 3e-2]", "1e-3")
        .replace("[0.2, 0.5]", "5e-2")
        .replace("tune =", "args =")
    )
    plan = make_plan(parse_spec(text))
    assert plan.tuning_runs == []
    assert plan.settings["all arms", "DualAdam"] == [{"lr": 1e-3, "switch_rate": 5e-2}]
    assert set(plan.winners([]).values()) == {0}


def record(trial, score, loss):
    run = run_of(phase="tune", block=BLOCK, arm="Adam", trial=trial)
    drawn = drawn_record(run, np.random.default_rng(0), lost=False, flatness=None)
    return replace(drawn, validation=SplitScore(score, loss, {"accuracy": score}))


# (point, score, loss) of the tuning runs of an arm -> the point that wins
WINNERS = [
    ([(0, 90.0, 0.3), (1, 91.0, 0.4), (2, 89.0, 0.1)], 1),
    ([(0, 91.0, 0.4), (1, 91.0, 0.3)], 1),  # a tie of scores goes to the lower loss
    ([(0, 91.0, 0.3), (1, 91.0, 0.3)], 0),  # a whole tie to the first point
    ([(0, 0.0, None), (1, 0.0, 2.3)], 1),  # diverged is worse than useless
    ([(0, 0.0, None), (1, 0.0, None)], 0),  # all diverged: still an arm with a row
    (
        [(0, 95.0, 0.1), (0, 0.0, None), (1, 60.0, 1.0), (1, 60.0, 1.0)],
        1,
    ),  # over two seeds: one of them diverged
]


@pytest.mark.parametrize(("runs", "winner"), WINNERS)
def test_the_best_mean_validation_score_wins(runs, winner):
    records = [record(*run) for run in runs]
    assert make_plan(load_spec("digits")).winners(records) == {(BLOCK, "Adam"): winner}
