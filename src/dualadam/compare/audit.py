"""An audit of a study's folder: do its runs give its report, and can they be repeated?"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualadam.compare.determinism import determinism_sentence
from dualadam.compare.execution import RUNS_FILE, read_records
from dualadam.compare.figures import draw
from dualadam.compare.plan import make_plan
from dualadam.compare.quick_spec import What, locate
from dualadam.compare.replay import Replay, drawn_runs, replay
from dualadam.compare.report import Page, as_dict, read_study_spec
from dualadam.compare.report_form import render
from dualadam.compare.run import Record, finite_or_none
from dualadam.compare.spec import Spec
from dualadam.compare.summary import Summary, summarise
from dualadam.harness.store import reading
from dualadam.harness.verdict import Verdict
from dualadam.tasks import Source

TOLERANCE = 1e-9  # relative: SciPy's quantiles differ by version, in the last bits
_VERDICTS = "|".join(sorted(Verdict, key=len, reverse=True))
_STATED = re.compile(rf"[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?|\b(?:{_VERDICTS})\b")


@dataclass(frozen=True)
class Finding:
    """Something that a file states and that does not follow from the runs."""

    place: str
    stated: str
    found: str


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        num_runs: in the folder.
        findings: in the files; empty where everything follows from the runs.
        replays: the runs that were repeated.
    """

    num_runs: int
    findings: list[Finding]
    replays: list[Replay]

    @property
    def agrees(self) -> bool:
        """Whether the files follow from the runs, and every repeated run gave the same bits."""
        return not self.findings and all(one.agrees for one in self.replays)


def audit(
    folder: Path | str,
    *,
    runs: int = 3,
    seed: int = 0,
    what: What | None = None,
    source: Source | None = None,
    data: str | None = None,
    device: str = "cpu",
) -> Audit:
    """Recompute a finished study from its runs, and repeat some of them.

    Args:
        folder: of the study.
        runs: how many are repeated, drawn at random; judged and tuning runs alike.
        seed: of the draw.
        what: the training, as for ``compare``, where it was not a name; else None.
        source: where the names of the user's own files lead; None takes the current folder.
        data: the folder with the data sets.
        device: where the runs are repeated.

    Raises:
        InvalidValueError: the folder holds no study, or an unfinished or damaged one.
            A run that cannot be repeated raises nothing: its replay has an error.
    """
    folder = Path(folder)
    spec = read_study_spec(folder)
    records = list(read_records(folder))
    summary = summarise(spec, records)
    if what is not None:
        source = locate(what)[1]
    found = [*_record_findings(folder, spec), *_summary_findings(folder, summary)]
    found += _report_findings(folder, summary)
    replays = [
        replay(record, timeout=spec.timeout, data=data, device=device, source=source or Source())
        for record in drawn_runs(records, runs, seed)
    ]
    return Audit(len(records), found, replays)


def _record_findings(folder: Path, spec: Spec) -> Iterator[Finding]:
    """Hold the lines of the runs against their keys, against each other and against the plan."""
    path = folder / RUNS_FILE
    with reading(path):
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    seen: dict[str, Record] = {}
    for number, line in enumerate(lines, start=1):
        record, place = Record.from_json(line), f"{RUNS_FILE}, line {number}"
        if line.get("key") != record.key:
            yield Finding(place, f"key {line.get('key')}", f"{record.key}, by its settings")
        if record.key in seen:
            yield Finding(place, f"{record.run.label} again", "one record of it before")
        for split in (record.validation, record.test):
            if split and split.score != (measured := split.metrics.get(record.run.metric)):
                yield Finding(place, f"score {split.score:g}", f"{measured} in its metrics")
        seen[record.key] = record
    plan = make_plan(spec)
    tuning = plan.tuning_runs
    if missing := [run for run in tuning if run.key not in seen]:
        yield Finding(RUNS_FILE, f"no {missing[0].label}", f"{len(tuning)} tuning runs in the plan")
        return
    planned = tuning + plan.judged_runs(plan.winners(seen[run.key] for run in tuning))
    keys = {run.key for run in planned}
    for run in planned:
        if run.key not in seen:
            point = f"point {run.trial}, which its tuning runs choose"
            yield Finding(RUNS_FILE, f"no {run.label} at {point}", "it in the plan")
    for key, record in seen.items():
        if key not in keys:
            yield Finding(RUNS_FILE, f"{record.run.label}, key {key}", "no such run in the plan")


def _summary_findings(folder: Path, summary: Summary) -> Iterator[Finding]:
    """Hold ``summary.json`` against the summary of the runs."""
    path = folder / "summary.json"
    if not path.exists():
        yield Finding(path.name, "nothing: the file is missing", "a summary")
        return
    with reading(path):
        stated = json.loads(path.read_text(encoding="utf-8"))
    found = json.loads(json.dumps(finite_or_none(as_dict(summary))))
    # the words of a sentence may change between versions; report.md has its numbers
    del found["sentence"]
    stated.pop("sentence", None)
    for place, theirs, ours in differing(stated, found):
        yield Finding(f"{path.name}, {place.lstrip('.')}", str(theirs), str(ours))


def differing(stated: Any, found: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the places where what is stated is not found. What is found beside it does not count.

    Example:
        >>> list(differing({"a": [1.0, 2.0]}, {"a": [1.0, 3.0], "b": 4}))
        [('.a[1]', 2.0, 3.0)]
    """
    if isinstance(stated, dict) and isinstance(found, dict):
        for key in stated:
            yield from differing(stated[key], found.get(key, "nothing"), f"{place}.{key}")
    elif isinstance(stated, list) and isinstance(found, list) and len(stated) == len(found):
        for index, (theirs, ours) in enumerate(zip(stated, found, strict=True)):
            yield from differing(theirs, ours, f"{place}[{index}]")
    elif isinstance(stated, float) and isinstance(found, float):
        if not math.isclose(stated, found, rel_tol=TOLERANCE, abs_tol=1e-12):
            yield place, stated, found
    elif stated != found:
        yield place, stated, found


def _report_findings(folder: Path, summary: Summary) -> Iterator[Finding]:
    """Hold the numbers and verdicts of ``report.md``, line by line, against a report drawn anew."""
    path = folder / "report.md"
    if not path.exists():
        yield Finding(path.name, "nothing: the file is missing", "a report")
        return
    with reading(path):
        stated = path.read_text(encoding="utf-8").splitlines()
    said = determinism_sentence(folder, summary.spec)
    names = {"page": Page.of(summary, draw(summary), said), "spec": summary.spec}
    drawn = render("text.j2", "md", **names).splitlines()
    left = [_STATED.findall(line) for line in drawn]
    for number, line in enumerate(stated, start=1):
        numbers = _STATED.findall(line)
        if not numbers:
            continue
        if numbers in left:
            left.remove(numbers)
            continue
        ours = difflib.get_close_matches(line, drawn, n=1, cutoff=0.0)
        theirs, here = _first_difference(numbers, _STATED.findall(ours[0]) if ours else [])
        yield Finding(f"{path.name}, line {number}", theirs, here)


def _first_difference(stated: list[str], found: list[str]) -> tuple[str, str]:
    for theirs, ours in zip(stated, found, strict=False):
        if theirs != ours:
            return theirs, ours
    return f"{len(stated)} numbers", str(len(found))
