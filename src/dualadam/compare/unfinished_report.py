"""The report of a study that is not finished, and of one that may be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dualadam.compare.drawn import label
from dualadam.compare.execution import read_records
from dualadam.compare.figures import Plot, draw_tuning
from dualadam.compare.report import read_study_spec, write_figures, write_report
from dualadam.compare.report_form import render
from dualadam.compare.report_tables import Table, budget_table, settings_text
from dualadam.compare.summary import Summary
from dualadam.compare.unfinished import Unfinished, survey
from dualadam.harness.store import write_whole


@dataclass(frozen=True)
class UnfinishedPage:
    """What the page of an unfinished study shows; see ``templates/unfinished.j2``."""

    task: str
    heading: str
    scores: Table
    budget: Table | None
    plots: list[Plot]


def draw_report(folder: Path) -> Summary | Unfinished:
    """Write the report of a study into its folder, as far as the study is.

    Raises:
        InvalidValueError: the folder holds no study, or a damaged one.
        UnreachableError: a file cannot be read or written.
    """
    study = survey(read_study_spec(folder), read_records(folder))
    if study is None:
        return write_report(folder)
    plots = draw_tuning(study)
    write_figures(folder, plots)
    names = {"page": page_of(study, plots), "spec": study.spec}
    for form in ("html", "md"):
        write_whole(folder / f"report.{form}", render("unfinished.j2", form, **names))
    return study


def write_page(folder: Path, study: Unfinished, reload_every: int) -> None:
    """Write the page alone, which a browser loads again every so many seconds."""
    names = {"page": page_of(study, draw_tuning(study)), "spec": study.spec}
    text = render("unfinished.j2", "html", **names, reload_every=reload_every)
    write_whole(folder / "report.html", text)


def page_of(study: Unfinished, plots: list[Plot]) -> UnfinishedPage:
    """Collect the contents of the page."""
    return UnfinishedPage(
        task=study.spec.entry.summary,
        heading=unfinished_sentence(study),
        scores=_table(study),
        budget=budget_table(study),
        plots=plots,
    )


def unfinished_sentence(study: Unfinished) -> str:
    """Return how far a study is, and what is still to come."""
    parts = [
        text
        for phase, word in (("tune", "tuning"), ("judge", "judged"))
        if (text := _missing(study, phase, word))
    ]
    done = f"{study.num_done} of {study.num_runs} runs are finished"
    return f"Not finished, no verdict yet: {done}. Still to come: {', then '.join(parts)}."


def _missing(study: Unfinished, phase: str, word: str) -> str:
    missing = study.missing(phase)
    if not missing:
        return ""
    count = sum(missing.values())
    names = {row.key: label(study, row) for row in study.arms}
    every = len(set(missing.values())) == 1 and len(missing) == len(study.arms)
    which = ", ".join(f"{names[key]} {n}" for key, n in missing.items())
    each = f"{next(iter(missing.values()))} of every arm" if every else which
    return f"{count} {word} run{'s' if count > 1 else ''} ({each})"


def _table(study: Unfinished) -> Table:
    tuning, judged = study.per_arm
    sign = study.spec.judged_by.metric.sign
    rows = []
    for row in study.arms:
        best = row.best(sign)
        rows.append(
            (
                label(study, row),
                f"{row.num_tuned} of {tuning}",
                f"{row.num_judged} of {judged}",
                settings_text(best.setting) if best else "",
                f"{best.score:.4g}" if best else "",
            )
        )
    columns = ("Arm", "Tuning runs", "Judged runs", "Best point so far", "Its validation score")
    return Table(columns, rows)
