"""An unfinished study has a report that says what is still to come, and no verdict."""

import time
from dataclasses import replace

import pytest
from compare_cases import NUM_RUNS, TINY, drawn_records, run_command

from dualadam.compare.execution import StudyStore, execute
from dualadam.compare.live import LiveReport
from dualadam.compare.plan import make_plan
from dualadam.compare.spec_file import parse_spec
from dualadam.compare.unfinished import survey
from dualadam.compare.unfinished_report import draw_report, unfinished_sentence
from dualadam.harness.executors import InlineExecutor
from dualadam.harness.progress import Progress

SPEC = parse_spec(TINY)


def of(keep):
    return [record for record in drawn_records(SPEC) if keep(record.run)]


# which runs are finished -> the sentence that heads the report
STAGES = [
    (
        lambda run: False,
        "0 of 15 runs are finished. Still to come: 6 tuning runs (2 of every arm), then 9 judged "
        "runs (3 of every arm).",
    ),
    (
        lambda run: run.phase == "tune" and (run.arm, run.trial) != ("DualAdam", 1),
        "5 of 15 runs are finished. Still to come: 1 tuning run (DualAdam 1), then 9 judged runs "
        "(3 of every arm).",
    ),
    (
        lambda run: run.phase == "tune",
        "6 of 15 runs are finished. Still to come: 9 judged runs (3 of every arm).",
    ),
]


@pytest.mark.parametrize(("keep", "sentence"), STAGES)
def test_the_report_is_headed_by_what_is_still_to_come(keep, sentence, tmp_path):
    study = survey(SPEC, of(keep))
    assert unfinished_sentence(study) == f"Not finished, no verdict yet: {sentence}"


def write(folder, records):
    store = StudyStore(folder, SPEC)
    for record in records:
        store.add(record)
    return store


def test_missing_judged_runs_are_named_by_arm_and_their_scores_are_not_shown(tmp_path, capsys):
    records = drawn_records(SPEC)
    lost = [r for r in records if (r.run.arm, r.run.seed) != ("AdamW", 2)]
    write(tmp_path, lost)
    assert run_command("report", tmp_path) == 0
    sentence = (
        "Not finished, no verdict yet: 14 of 15 runs are finished. Still to come: 1 judged run "
        "(AdamW 1)."
    )
    assert sentence in " ".join(capsys.readouterr().out.split())
    for form in ("html", "md"):
        text = (tmp_path / f"report.{form}").read_text()
        assert sentence in text
        for record in lost:
            if record.test:
                assert f"{record.test.score:.2f}" not in text
    assert sorted(f.stem for f in (tmp_path / "figures").iterdir()) == ["budget", "learning-rates"]
    assert not (tmp_path / "summary.json").exists()


def test_points_that_lack_a_tuning_seed_are_not_scored_yet():
    spec = SPEC.model_copy(update={"tuning_seeds": 2})
    records = [r for r in drawn_records(spec) if r.run.phase == "tune"][:-1]
    study = survey(spec, records)
    assert [(row.num_tuned, len(row.tuning)) for row in study.arms] == [(4, 2), (4, 2), (3, 1)]


def test_a_finished_study_is_no_unfinished_one(tmp_path):
    records = drawn_records(SPEC)
    assert survey(SPEC, records) is None
    write(tmp_path, records)
    assert draw_report(tmp_path).primary.arm == "DualAdam"
    assert "paired seeds" in (tmp_path / "report.md").read_text()


def test_where_every_point_so_far_diverged_the_page_is_drawn(tmp_path):
    records = of(lambda run: run.phase == "tune" and run.trial == 0)
    write(tmp_path, [replace(record, status="diverged") for record in records])
    assert draw_report(tmp_path).num_done == 3
    assert "3 of 15 runs are finished" in (tmp_path / "report.html").read_text()


class Heard(Progress):
    """Notes what it is told."""

    def __init__(self):
        self.labels = []

    def finished(self, label):
        self.labels.append(label)


def test_a_live_page_is_replaced_as_a_whole_and_loads_itself(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    store, heard = StudyStore(tmp_path, SPEC), Heard()
    pages = []
    live = LiveReport(store, heard)
    live.start(NUM_RUNS, 0)
    for seconds, record in zip((1.0, 2.0, 6.0, 7.0), drawn_records(SPEC), strict=False):
        clock[0] = seconds
        store.add(record)
        live.finished(record.run.label)
        pages.append((tmp_path / "report.html").read_text())
    done = [page.partition(" of 15 runs are finished")[0].rsplit(" ", 1)[1] for page in pages]
    assert done == ["0", "0", "3", "3"]  # at most every five seconds
    assert all('<meta http-equiv="refresh" content="5">' in page for page in pages)
    assert all(page.rstrip().endswith("</html>") for page in pages)
    assert not list(tmp_path.glob("*.part"))
    assert len(heard.labels) == 4


def test_when_a_study_is_stopped_the_last_page_no_longer_loads_itself(tmp_path):
    store = StudyStore(tmp_path, SPEC)

    def stopped():
        with LiveReport(store, Progress()) as live:
            live.start(NUM_RUNS, 0)
            assert "refresh" in (tmp_path / "report.html").read_text()
            store.add(drawn_records(SPEC)[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    page = (tmp_path / "report.html").read_text()
    assert "1 of 15 runs are finished" in page
    assert "refresh" not in page


def test_a_live_study_ends_with_its_report(tmp_path):
    spec = parse_spec(TINY.replace("steps = 10", "steps = 2"))
    store = StudyStore(tmp_path, spec)
    with LiveReport(store, Progress()) as live:
        execute(make_plan(spec), store, InlineExecutor(), lambda: 1, progress=live)
        assert "refresh" in (tmp_path / "report.html").read_text()
    draw_report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "refresh" not in page
    assert "A demonstration, no verdict" in page
