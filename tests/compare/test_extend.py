"""Ranges whose best point lies on an edge are widened for all arms alike, before judging."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from compare_cases import TINY, run_command

from dualadam.compare.continued import continued
from dualadam.compare.control import reference_lr
from dualadam.compare.edges import Edge, edges_of
from dualadam.compare.execution import StudyStore, execute, read_records
from dualadam.compare.extension import Extension, extension_sentence
from dualadam.compare.own_task import bind_task
from dualadam.compare.plan import make_plan
from dualadam.compare.spec import Spec
from dualadam.compare.spec_file import SpecError, load_study_spec, parse_spec
from dualadam.errors import InvalidValueError
from dualadam.harness.executors import InlineExecutor
from dualadam.harness.progress import Progress
from dualadam.tasks import Source

SPEC = """
name = "far"
train = "far.py:train"
direction = "higher"
points = 4
seeds = 2
primary = { arm = "DualAdam", against = "AdamW + warm-up", margin = 0.1 }

[[block]]
weight_decay = 0.01

[[block.arm]]
name = "AdamW"
optimizer = "AdamW"
tune = { lr = [1e-3, 1e-2] }

[[block.arm]]
name = "AdamW + warm-up"
optimizer = "AdamW+warmup"
tune = { lr = [1e-3, 1e-2], switch_rate = [0.01, 0.5] }

[[block.arm]]
name = "DualAdam"
optimizer = "DualAdam"
tune = { lr = [1e-3, 1e-2], switch_rate = [0.01, 0.5] }
"""
# the best learning rate is 0.05, five times the end of the range; the run needs no training
CODE = """
import math
from pathlib import Path

def train(run):
    with (Path(__file__).parent / "calls").open("a") as file:
        file.write(f"{run.phase} {run.lr}\\n")
    if (Path(__file__).parent / "stop").exists() and run.lr > 0.01:
        raise RuntimeError("stopped")
    score = -abs(math.log(run.lr / BEST)) - abs(math.log(run.settings.get("switch_rate", 1) / RATE))
    return run.scores(validation=score + run.seed * 1e-6, test=score + run.seed * 1e-6)

BEST, RATE = 0.05, 0.05
"""


class Narrow(torch.optim.SGD):
    """A class with an argument that must be at most 1."""

    def __init__(self, params, lr=0.1, part=1.0, weight_decay=0.0):
        if part > 1:
            raise ValueError(f"part must be at most 1, got {part}")
        super().__init__(params, lr=lr, weight_decay=weight_decay)


class Sentences(Progress):
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def said(self, sentence: str) -> None:
        self.sentences.append(sentence)


def run(folder: Path, text: str = SPEC, code: str = CODE, **options) -> Spec:
    """Start or continue the study in a folder, in this process; return the recorded spec."""
    folder.mkdir(exist_ok=True)
    if not (folder / "far.py").exists():
        (folder / "far.py").write_text(code)
    source, out = Source(folder=str(folder)), folder / "out"
    spec = bind_task(continued(parse_spec(text), out), source)
    out.mkdir(exist_ok=True)
    store = StudyStore(out, spec)
    execute(make_plan(spec), store, InlineExecutor(), lambda: 1, source=source, **options)
    return load_study_spec(out)


def test_an_edge_is_the_first_or_the_last_value_in_sorted_order():
    tried = [{"lr": lr, "eps": 1e-8, "name": "x"} for lr in (0.1, 0.4, 0.2)]
    assert edges_of(tried[0], tried) == [Edge("lr", "low", 0.1)]
    assert edges_of(tried[1], tried) == [Edge("lr", "high", 0.4)]
    assert edges_of(tried[2], tried) == []
    assert edges_of(tried[0], tried[:1]) == []


def test_the_end_of_a_range_moves_until_no_best_point_lies_on_it(tmp_path):
    progress = Sentences()
    spec = run(tmp_path, extend=True, progress=progress)
    high = [more for more in spec.extended if (more.setting, more.side) == ("lr", "high")]
    assert [(more.factor, more.points, more.round) for more in high[:2]] == [
        (4.0, 2, 1),
        (4.0, 2, 2),
    ]
    assert len(progress.sentences) == max(more.round for more in spec.extended)
    assert "Ranges widened for all arms: lr upwards by a factor of 4" in progress.sentences[0]
    plan = make_plan(spec)
    records = list(read_records(tmp_path / "out"))
    winners = plan.winners(record for record in records if record.run.phase == "tune")
    for key, points in plan.settings.items():
        assert 0.02 < points[winners[key]]["lr"] < 0.12
    assert {r.run.key for r in records if r.run.phase == "judge"} == {
        r.key for r in plan.judged_runs(winners)
    }


def test_every_arm_gets_the_same_number_of_new_points_and_equal_ranges_the_same_values(tmp_path):
    plan = make_plan(run(tmp_path, extend=True))
    settings = {name: points for (_, name), points in plan.settings.items()}
    assert len({len(points) for points in settings.values()}) == 1
    assert settings["DualAdam"] == settings["AdamW + warm-up"]
    assert [p["lr"] for p in settings["AdamW"]] == [p["lr"] for p in settings["DualAdam"]]
    first = make_plan(parse_spec(SPEC)).settings
    for key, points in first.items():
        assert plan.settings[key][:4] == points


def test_new_points_lie_in_the_new_part_of_the_range_alone():
    more = [{"setting": "lr", "side": "high", "factor": 4.0, "points": 3, "round": 1}]
    more += [{"setting": "switch_rate", "side": "low", "factor": 4.0, "points": 2, "round": 1}]
    spec = parse_spec(SPEC).model_copy(
        update={"extended": [Extension.model_validate(m) for m in more]}
    )
    points = make_plan(spec).settings["all arms", "DualAdam"]
    assert len(points) == spec.num_points == 9
    for point in points[4:7]:
        assert 0.01 <= point["lr"] <= 0.04
        assert 0.01 <= point["switch_rate"] <= 0.5
    for point in points[7:]:
        assert 0.001 <= point["lr"] <= 0.04
        assert 0.0025 <= point["switch_rate"] <= 0.01
    # AdamW has no switch_rate: as many points, in its whole range
    assert all(0.001 <= p["lr"] <= 0.04 for p in make_plan(spec).settings["all arms", "AdamW"][7:])


def test_without_extend_nothing_is_widened(tmp_path):
    assert run(tmp_path).extended == []


def test_no_more_than_three_rounds_and_the_edge_is_still_named(tmp_path):
    spec = run(tmp_path, code=CODE.replace("BEST, RATE = 0.05", "BEST, RATE = 1e9"), extend=True)
    assert max(more.round for more in spec.extended) == 3
    assert spec.extended[0].widen([1e-3, 1e-2]).whole == [1e-3, 4e-2]
    assert run_command("report", tmp_path / "out") == 0
    sentence = json.loads((tmp_path / "out" / "summary.json").read_text())["sentence"]
    assert "On the edge of the range: AdamW (highest lr" in sentence
    page = (tmp_path / "out" / "report.md").read_text()
    assert "Ranges widened for all arms: lr upwards by a factor of 4" in page
    assert "On the edge of the range: AdamW (highest lr" in page


def test_a_killed_extension_goes_on_and_ends_like_the_straight_study(tmp_path):
    straight = run(tmp_path / "straight", extend=True)
    killed = tmp_path / "killed"
    killed.mkdir()
    (killed / "stop").touch()
    with pytest.raises(Exception, match="runs failed"):
        run(killed, extend=True)
    assert load_study_spec(killed / "out").extended
    assert all(r.run.phase == "tune" for r in read_records(killed / "out"))
    (killed / "stop").unlink()
    assert run(killed, extend=True).extended == straight.extended
    keys = [sorted(r.key for r in read_records(f / "out")) for f in (tmp_path / "straight", killed)]
    assert keys[0] == keys[1]


def test_a_second_start_repeats_nothing_with_or_without_extend(tmp_path):
    first = run(tmp_path, extend=True)
    calls = (tmp_path / "calls").read_text()
    assert run(tmp_path, extend=True).extended == first.extended
    assert run(tmp_path).extended == first.extended
    assert (tmp_path / "calls").read_text() == calls
    phases = [line.split()[0] for line in calls.splitlines()]
    assert phases == sorted(phases, reverse=True)  # all tuning before the first judged run


def test_a_range_is_never_widened_after_judged_runs(tmp_path):
    run(tmp_path)
    with pytest.raises(InvalidValueError, match="has judged runs, and ranges are widened before"):
        run(tmp_path, extend=True)
    assert load_study_spec(tmp_path / "out").extended == []


def test_a_switch_rate_is_widened_to_1_at_most_and_what_a_class_refuses_is_not_widened(tmp_path):
    more = Extension(setting="switch_rate", side="high", factor=4.0, points=2, round=1)
    assert more.widen([0.1, 0.5]) == ([0.1, 1.0], [0.5, 1.0])
    assert more.widen([0.1, 1.0]) == ([0.1, 1.0], [0.1, 1.0])
    arm = f'optimizer = "{__name__}.Narrow"\ntune = {{ part = [0.5, 0.9], lr'
    text = SPEC.replace("0.5]", "1.0]").replace('optimizer = "AdamW"\ntune = { lr', arm)
    code = CODE.replace("RATE = 0.05, 0.05", "RATE = 0.05, 1e9").replace(
        "score = ", 'score = 100 * run.settings.get("part", 0)'
    )
    spec = run(tmp_path, text, code, extend=True)
    plan = make_plan(spec)
    tuned = [r for r in read_records(tmp_path / "out") if r.run.phase == "tune"]
    winners = plan.winners(tuned)
    edges = {
        (edge.setting, edge.side)
        for key, points in plan.settings.items()
        for edge in edges_of(points[winners[key]], points)
    }
    assert {("part", "high"), ("switch_rate", "high")} <= edges
    assert not {("part", "high"), ("switch_rate", "high")} & {
        (more.setting, more.side) for more in spec.extended
    }


def test_the_reference_of_the_decay_does_not_move_with_the_range():
    spec = parse_spec(SPEC)
    more = Extension(setting="lr", side="high", factor=4.0, points=2, round=1)
    wider = spec.model_copy(update={"extended": [more]})
    before, after = (reference_lr(s, s.block[0]) for s in (spec, wider))
    assert before == after == pytest.approx(math.sqrt(1e-5), rel=1e-3)


def test_an_extension_in_a_spec_names_a_tuned_setting():
    line = 'extended = [{ setting = "lrr", side = "low", factor = 2.0, points = 2, round = 1 }]'
    with pytest.raises(SpecError, match=r"extended\.setting must be a tuned setting, got 'lrr'"):
        parse_spec(TINY.replace("points = 2", f"points = 2\n{line}"))
    spec = parse_spec(TINY.replace("points = 2", f"points = 2\n{line.replace('lrr', 'lr')}"))
    assert "lr downwards by a factor of 2; 2 more points" in extension_sentence(spec.extended)


def test_the_command_widens_and_the_second_start_goes_on(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("far.py").write_text(CODE)
    Path("far.toml").write_text(SPEC)
    for _ in range(2):
        assert run_command("compare", "far.toml", "--extend", "--workers", 1, "--out", "o") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Ranges widened for all arms: lr upwards by a factor of 4" in said
    assert said.count("Ranges widened") == max(m.round for m in load_study_spec(Path("o")).extended)
