"""A study ends with the same numbers, whatever happens on the way."""

import json
import os
import resource
import shutil
from pathlib import Path

import compare_cases
import pytest
from compare_cases import NUM_RUNS, TINY, InlineExecutor, by_key, finished, study

from dualadam.compare.continued import continued
from dualadam.compare.execution import StudyStore, execute, open_study, read_records
from dualadam.compare.plan import make_plan
from dualadam.compare.spec_file import load_spec, parse_spec
from dualadam.errors import FailedRunsError
from dualadam.harness.executors import process_executor
from dualadam.harness.progress import Progress


def lines():
    return (finished()[0] / "runs.jsonl").read_bytes().splitlines(keepends=True)


def start_with(folder: Path, content: bytes) -> Path:
    """An output folder as a killed study leaves it."""
    folder.mkdir(exist_ok=True)
    (folder / "spec.json").write_bytes((finished()[0] / "spec.json").read_bytes())
    (folder / "runs.jsonl").write_bytes(content)
    return folder


class Counting(Progress):
    def __init__(self):
        self.events = []

    def start(self, total, done):
        self.events.append((total, done))

    def finished(self, label):
        self.events.append(label)


def test_a_finished_run_is_one_line_of_strict_json_under_its_key():
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    records = [json.loads(line, parse_constant=refuse) for line in lines()]
    assert len(records) == NUM_RUNS
    assert len({r["key"] for r in records}) == NUM_RUNS


# records on disk: none, half of the tuning, all of it, half of the judging, everything
@pytest.mark.parametrize("kept", [0, 1, 6, 11, NUM_RUNS])
def test_going_on_with_a_truncated_last_line_ends_with_the_same_numbers(tmp_path, kept):
    whole = lines()
    start_with(tmp_path, b"".join(whole[:kept]) + (whole[kept][:-200] if kept < NUM_RUNS else b""))
    assert by_key(study(TINY, tmp_path)) == by_key(finished()[1])
    assert by_key(read_records(tmp_path)) == by_key(finished()[1])
    assert (tmp_path / "runs.jsonl").read_bytes().startswith(b"".join(whole[:kept]))


def test_what_is_on_disk_is_not_run_again(tmp_path):
    spec, progress = parse_spec(TINY), Counting()
    start_with(tmp_path, b"".join(lines()[:-2]))
    execute(
        make_plan(spec), StudyStore(tmp_path, spec), InlineExecutor(), lambda: 1, progress=progress
    )
    assert progress.events == [
        (NUM_RUNS, NUM_RUNS - 2),
        *(record.run.label for record in finished()[1][-2:]),
    ]


def test_a_disk_that_is_full_loses_nothing(tmp_path):
    """A real limit on the size of files stops the write in the middle of a line."""
    whole = lines()
    limit = sum(map(len, whole[:4])) + len(whole[4]) // 2
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        with pytest.raises(
            FailedRunsError,
            match=r"runs\.jsonl could not be written \(.*\)\. Make room and start again; finished",
        ):
            study(TINY, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert (tmp_path / "runs.jsonl").stat().st_size == limit
    assert by_key(read_records(tmp_path)) == by_key(finished()[1][:4])
    assert by_key(study(TINY, tmp_path)) == by_key(finished()[1])


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    whole = lines()
    start_with(tmp_path, whole[0] + whole[1][:50] + b"\n" + whole[2])
    with pytest.raises(
        ValueError,
        match=r"runs\.jsonl, line 2 is damaged \(.*\)\. Remove the line; its run will be repeated",
    ):
        study(TINY, tmp_path)


def test_a_folder_of_another_spec_is_refused_and_left_alone(tmp_path):
    start_with(tmp_path, b"".join(lines()[:1]))
    with pytest.raises(
        ValueError,
        match=r"holds a study with other settings \(seeds differ\)\. Choose another --out\.",
    ):
        study(TINY.replace("\nseeds = 3", "\nseeds = 4"), tmp_path)
    assert (tmp_path / "runs.jsonl").read_bytes() == lines()[0]


def test_folders_that_cannot_be_an_output_are_refused(tmp_path):
    spec = parse_spec(TINY)
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ValueError, match=r"--out must be a folder, but .* is a file"),
        open_study(tmp_path / "file", spec),
    ):
        pass
    (tmp_path / "runs.jsonl").write_text("")
    with pytest.raises(
        ValueError, match=r"holds records but no spec\.json, which says whose they are"
    ):
        StudyStore(tmp_path, spec)


def test_runs_that_raise_are_named_and_all_others_finish(tmp_path):
    text = TINY.replace(
        'name = "AdamW"\noptimizer = "AdamW"',
        'name = "Stumbling"\noptimizer = "compare_cases.Stumbling"',
    )
    with pytest.raises(FailedRunsError) as error:
        study(text, tmp_path)
    said = str(error.value).splitlines()
    own = compare_cases.__file__
    code = Path(own).read_text().splitlines()
    line = 1 + next(k for k, text in enumerate(code) if "raise ArithmeticError" in text)
    assert said[:2] == [
        "2 of 6 runs failed:",
        f"  Stumbling, point 0: ArithmeticError: stumbled at step 3 ({own}, line {line})",
    ]
    assert said[-1] == f"What finished is in {tmp_path / 'runs.jsonl'}."
    kept = [r.run.arm for r in read_records(tmp_path)]
    assert sorted(kept) == ["Adam + warm-up"] * 2 + ["DualAdam"] * 2


def test_each_line_is_on_the_disk_itself_before_the_next_run_is_waited_for(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(
        os,
        "fsync",
        lambda descriptor: synced.append(os.fstat(descriptor).st_size) or fsync(descriptor),
    )
    spec, store = parse_spec(TINY), StudyStore(tmp_path, parse_spec(TINY))
    synced.clear()
    execute(make_plan(spec), store, InlineExecutor(), lambda: 1)
    ends = (tmp_path / "runs.jsonl").read_bytes().splitlines(keepends=True)
    assert synced == [sum(map(len, ends[: i + 1])) for i in range(NUM_RUNS)]


def test_a_study_from_before_a_key_of_specs_was_added_goes_on_and_its_runs_keep_their_keys(
    tmp_path,
):
    """The study was made before ``accumulate``, ``evaluations`` and ``language`` existed."""
    recorded = Path(__file__).parents[2] / "benchmarks" / "records" / "2026-11-24_digits"
    for name in ("spec.json", "runs.jsonl"):
        shutil.copy(recorded / name, tmp_path)
    assert "accumulate" not in json.loads((tmp_path / "spec.json").read_text())
    spec = continued(load_spec("digits"), tmp_path)
    plan, store = make_plan(spec), StudyStore(tmp_path, spec)
    runs = [*plan.tuning_runs, *plan.judged_runs(plan.winners(store.records.values()))]
    assert {run.key for run in runs} == set(store.records)


FATAL = {
    "exits": ("sys.exit", "0", "SystemExit: 0 ("),
    "ends its process": ("os._exit", "0", "its process ended with exit status 0."),
    "crashes": ("signal.raise_signal", "signal.SIGSEGV", "its process was ended by SIGSEGV."),
}
OWN_ARM = """
import os, signal, sys, torch
class Fatal(torch.optim.SGD):
    steps = 0
    def step(self, closure=None):
        Fatal.steps += 1
        if Fatal.steps > 3:
            print("about to end")
            sys.stdout.flush()
            {call}({argument})
        return super().step(closure)
"""


@pytest.mark.parametrize("how", FATAL)
def test_an_arm_that_ends_its_process_fails_alone_and_is_named(tmp_path, monkeypatch, how):
    call, argument, said = FATAL[how]
    module = f"fatal_arm_{call.replace('.', '_')}"
    (tmp_path / f"{module}.py").write_text(OWN_ARM.format(call=call, argument=argument))
    monkeypatch.syspath_prepend(tmp_path)  # spawned workers take it over
    text = TINY.replace('optimizer = "AdamW"\n', f'optimizer = "{module}.Fatal"\n')
    spec = parse_spec(text)
    with (
        open_study(tmp_path / "out", spec) as store,
        process_executor(2) as (executor, width),
        pytest.raises(FailedRunsError, match=r"^2 of 6 runs failed:") as error,
    ):
        execute(make_plan(spec), store, executor, width)
    assert f"AdamW, point 0: {said}" in str(error.value)
    kept = [record.run.arm for record in read_records(tmp_path / "out")]
    assert sorted(kept) == ["Adam + warm-up"] * 2 + ["DualAdam"] * 2
    logs = list((tmp_path / "out" / "logs").iterdir())
    assert {log.read_text() for log in logs} == {"about to end\n"}
    assert len(logs) == 2
