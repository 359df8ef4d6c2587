"""Every recorded study is drawn again from its records alone, with the recorded numbers."""

import json
import math
import re
import shutil
from pathlib import Path

import pytest
from compare_cases import run_command

RECORDS = Path(__file__).parents[2] / "benchmarks" / "records"
STUDIES = [file.parent for file in sorted(RECORDS.glob("*/runs.jsonl"))]


def equal(recorded, drawn):
    """Compare two values of JSON; SciPy's quantiles differ by version, in the last bits."""
    if isinstance(recorded, float) and isinstance(drawn, float):
        return math.isclose(recorded, drawn, rel_tol=1e-12, abs_tol=1e-12)
    return recorded == drawn


def differing(recorded, drawn, place=""):
    """Return the places where two values of JSON differ."""
    if isinstance(recorded, dict) and isinstance(drawn, dict):
        keys = sorted(recorded.keys() | drawn.keys())
        pairs = [(f"{place}.{k}", recorded.get(k, "none"), drawn.get(k, "none")) for k in keys]
    elif isinstance(recorded, list) and isinstance(drawn, list) and len(recorded) == len(drawn):
        both = zip(recorded, drawn, strict=True)
        pairs = [(f"{place}[{i}]", a, b) for i, (a, b) in enumerate(both)]
    else:
        return [] if equal(recorded, drawn) else [place]
    return [found for name, a, b in pairs for found in differing(a, b, name)]


def test_there_are_recorded_studies():
    assert len(STUDIES) >= 7


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_a_recorded_study_is_drawn_again_with_the_same_numbers_and_verdicts(study, tmp_path):
    for name in ("spec.json", "runs.jsonl", "task.json"):  # the last for a task of our own
        if (study / name).exists():
            shutil.copy(study / name, tmp_path)
    assert run_command("report", tmp_path) == 0
    recorded = json.loads((study / "summary.json").read_text())
    drawn = json.loads((tmp_path / "summary.json").read_text())
    # the sentence may be worded anew, and name the arms on the edge of a range; its numbers stay
    verdicts = [s.pop("sentence").partition(" On the edge of")[0] for s in (recorded, drawn)]
    sentences = [re.findall(r"[-+]?\d+\.?\d*", verdict) for verdict in verdicts]
    assert sentences[0] == sentences[1]
    assert differing(recorded, drawn) == []
    figures = {file.name for file in (study / "figures").iterdir()}
    assert {file.name for file in (tmp_path / "figures").iterdir()} == figures


def test_a_difference_anywhere_would_be_found():
    one = {"arms": [{"scores": [1.0, 2.0], "verdict": "better"}], "n": 3}
    other = {"arms": [{"scores": [1.0, 2.5], "verdict": "worse"}], "n": 3, "new": None}
    assert differing(one, other) == [".arms[0].scores[1]", ".arms[0].verdict", ".new"]
    assert differing(one, {"arms": []}) == [".arms", ".n"]


def test_a_study_of_a_task_of_ones_own_says_that_its_description_is_missing(tmp_path, capsys):
    study = next(study for study in STUDIES if (study / "task.json").exists())
    for name in ("spec.json", "runs.jsonl"):
        shutil.copy(study / name, tmp_path)
    assert run_command("report", tmp_path) != 0
    assert "task.json must describe the task '" in " ".join(capsys.readouterr().err.split())
