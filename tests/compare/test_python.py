"""``compare`` from Python: defaults, functions that travel, a second call, and the result."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from compare_cases import environment
from torch import nn

from dualadam.compare import Problem, Result, compare
from dualadam.compare.arms import Choice, arm_tables, primary_arms, range_around
from dualadam.compare.spec_file import load_study_spec
from dualadam.errors import last_line
from dualadam.harness.progress import Progress
from dualadam.tasks.pickled import code_fingerprint, pickled_source

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
SMALL = {"lr": 1e-2, "steps": 6, "batch_size": 8, "points": 2, "seeds": 2, "workers": 0}


def squared(model, batch):
    return (model(batch[0]) - batch[1]).square().mean()


def make() -> Problem:
    return Problem(model=lambda: nn.Linear(3, 1), loss=squared, train=(X, X.sum(1, keepdim=True)))


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> Result:
    return compare(make, **SMALL, out=tmp_path_factory.mktemp("study") / "out")


def test_the_defaults_are_three_arms_against_the_control_a_decade_either_side(result: Result):
    spec = load_study_spec(result.folder)
    assert [arm.name for arm in spec.block[0].arm] == ["AdamW", "AdamW+warmup", "DualAdam"]
    assert (spec.primary.arm, spec.primary.against) == ("DualAdam", "AdamW+warmup")
    assert spec.block[0].arm[0].tune["lr"] == pytest.approx([1e-3, 1e-1])
    low, high = spec.block[0].arm[2].tune["switch_rate"]
    assert low < high == 1.0  # six steps: switch_rate_for gives 1


def test_a_result_shows_its_table_its_verdict_and_its_report(result: Result):
    assert "DualAdam" in result.table()
    assert str(result.verdict) == "demonstration"  # of few seeds
    assert str(result.summary.primary.verdict) in {"better", "worse", "equivalent", "not decided"}
    assert result.difference.n == 2
    assert result._repr_html_().startswith("<iframe srcdoc=")
    assert "Report:" in repr(result)
    pandas = pytest.importorskip("pandas")
    assert isinstance(result.to_dataframe(), pandas.DataFrame)


def test_without_a_margin_the_report_says_that_the_tuning_runs_gave_it(result: Result):
    assert result.summary.spec.primary.margin is None
    assert result.summary.margin > 0
    page = (result.folder / "report.md").read_text()
    assert "standard deviation over the better half of the control's tuned points" in page


def test_with_tuning_seeds_the_margin_is_the_spread_between_them(tmp_path: Path):
    found = compare(make, **SMALL, tuning_seeds=3, out=tmp_path)
    assert "the standard deviation between tuning seeds" in (tmp_path / "report.md").read_text()
    assert found.summary.margin > 0


def test_a_second_call_repeats_nothing_and_changed_code_is_refused(result: Result):
    before = (result.folder / "runs.jsonl").read_bytes()
    again = compare(make, **SMALL, out=result.folder)
    assert (result.folder / "runs.jsonl").read_bytes() == before
    assert repr(again.difference) == repr(result.difference)  # two seeds: its ends are nan

    def changed() -> Problem:
        return Problem(model=lambda: nn.Linear(3, 1), loss=squared, train=(X, X[:, :1]))

    changed.__name__ = "make"
    with pytest.raises(ValueError, match="The code of python:make changed since"):
        compare(changed, **SMALL, out=result.folder)


def test_a_problem_itself_can_be_compared(tmp_path: Path):
    found = compare(make(), **SMALL | {"margin": 0.5}, out=tmp_path)
    assert found.summary.margin == 0.5


def test_a_live_study_writes_its_page_while_it_runs(tmp_path: Path):
    pages: list[str] = []

    class Reading(Progress):
        def running(self, labels):
            pages.append((tmp_path / "report.html").read_text())

    compare(make(), **SMALL, out=tmp_path, live=True, progress=Reading())
    assert all("Not finished, no verdict yet" in page for page in pages)
    assert len(pages) == 3 * 2 + 3 * 2
    assert "Not finished" not in (tmp_path / "report.html").read_text()


def test_a_function_that_travels_keeps_the_name_of_its_file():
    def fails() -> None:
        raise KeyError("lost")

    arrived = pickle.loads(pickled_source(fails).pickled)
    with pytest.raises(KeyError) as caught:
        arrived()
    line = fails.__code__.co_firstlineno + 1
    assert last_line(caught.value).startswith(f"KeyError: 'lost' ({__file__}, line {line},")


def test_a_function_that_cannot_be_pickled_is_refused_with_its_name(tmp_path: Path):
    stream = (tmp_path / "log").open("w")

    def closes_over_a_file() -> Problem:
        print("made", file=stream)
        return make()

    with stream, pytest.raises(ValueError, match="closes_over_a_file must be picklable"):
        compare(closes_over_a_file, **SMALL, out=tmp_path / "out")


SCRIPT = """
import torch
from torch import nn
from dualadam.compare import Problem, compare
X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)
    def forward(self, x):
        return self.layer(x)
def loss(model, batch):
    return (model(batch[0]) - batch[1]).square().mean()
def make():
    return Problem(model=Net, loss=loss, train=(X, X.sum(1, keepdim=True)))
print("top")
result = compare(make, lr=1e-2, steps=4, batch_size=8, points=2, seeds=2, workers=2, out="out")
print(result.table())
"""


def test_functions_of_a_script_reach_the_workers_which_do_not_run_the_script(tmp_path: Path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("top") == 1
    assert "AdamW+warmup" in done.stdout


def test_any_class_can_be_an_arm_and_be_warmed_up():
    tables = arm_tables(
        ["torch.optim.SGD+warmup", torch.optim.Adamax, {"optimizer": "DualAdam", "name": "D"}],
        (1e-4, 1e-2),
        Choice(None, 1000),
    )
    assert tables[0] | {"tune": None} == {
        "name": "SGD+warmup",
        "optimizer": "torch.optim.SGD",
        "warmup": True,
        "tune": None,
    }
    assert list(tables[0]["tune"]) == ["lr", "switch_rate"]
    assert tables[0]["tune"]["switch_rate"] == pytest.approx([1 / 480, 3 / 160])
    assert tables[1]["optimizer"] == "torch.optim.adamax.Adamax"
    assert primary_arms(tables) == ("D", "SGD+warmup")


class Local(torch.optim.SGD):
    pass


Local.__module__ = "__main__"

MISTAKES = [
    ({"lr": -1}, "lr must be a number above 0 or a range"),
    ({"lr": (1e-2, 1e-4)}, "lr must be a number above 0 or a range"),
    ({"arms": ["AdamW"]}, "arms must be at least 2, got 1"),
    ({"arms": ["AdamV", "AdamW"]}, "optimizer must be one of"),
    ({"arms": [Local, "AdamW"]}, "Local must be importable by the workers"),
    ({"arms": [3, "AdamW"]}, "an arm must be a name, an optimizer class or a table, got 3"),
    ({"steps": None}, "switch_rate must be given as a range"),
    ({"epochs": 2}, "epochs or steps must be given, and not both"),
    ({"seeds": 1}, "seeds must"),
    ({"scheduler": "cosine"}, "scheduler is not a key of a spec; did you mean 'schedule'"),
    ({"points": 1}, "margin must be given where no arm is tuned at two points"),
    ({"workers": -1}, "workers must be at least 0, got -1"),
    ({"what": 3}, "the training must be a function that returns a Problem"),
    ({"what": "digit"}, "task must be a known task, got 'digit'; did you mean 'digits'?"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES, ids=lambda value: str(value)[:40])
def test_a_mistake_in_a_call_is_a_sentence(tmp_path: Path, change, message: str):
    call = {"what": make} | SMALL | change
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        compare(call.pop("what"), **call, out=tmp_path)


def test_a_range_around_a_number_is_a_decade_either_side():
    assert range_around(3e-4) == pytest.approx((3e-5, 3e-3))


def test_a_fingerprint_sees_helpers_and_constants_but_not_data():
    space = {"X": 1, "data": torch.zeros(2)}
    code = "def helper():\n    return {}\ndef make():\n    return helper() + X + data.sum()\n"

    def version(number: int, **changes):
        names = {"__name__": "nb", **space, **changes}
        exec(code.format(number), names)
        return code_fingerprint(names["make"])

    assert version(1) == version(1, data=torch.ones(2))
    assert version(1) != version(2)
    assert version(1) != version(1, X=3)
