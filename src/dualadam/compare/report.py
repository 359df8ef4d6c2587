"""The report of a study: one self-contained page, and the same as Markdown. Drawn from the records alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
import rich.box
from rich.table import Table

from dualadam.compare.execute import SPEC_FILE, read_records
from dualadam.compare.figures import Plot, draw
from dualadam.compare.run import finite_or_none
from dualadam.compare.spec_file import load_study_spec
from dualadam.compare.spec_warnings import spec_warnings
from dualadam.compare.summary import ArmSummary, Summary, summarise
from dualadam.harness.store import write_whole
from dualadam.tasks import TASKS

COLUMNS = (
    "Arm",
    "Tuned setting",
    "Mean",
    "95 % interval",
    "n",
    "Less the control",
    "Better in",
    "Evidence",
    "Diverged",
)


def write_report(folder: Path) -> Summary:
    """Draw ``report.html``, ``report.md`` with its ``figures/``, and ``summary.json`` from a finished study on disk.

    Raises:
        ValueError: the folder holds no study, or an unfinished one.
    """
    spec_file = folder / SPEC_FILE
    if not spec_file.exists():
        raise ValueError(
            f"{folder} must be the output folder of a comparison: it has no spec.json."
        )
    spec = load_study_spec(spec_file)
    summary = summarise(spec, read_records(folder))
    plots = draw(summary)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dualadam.compare", "templates"),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["text"] = markdown_text
    (folder / "figures").mkdir(exist_ok=True)
    for plot in plots:
        (folder / "figures" / f"{plot.name}.png").write_bytes(plot.png())
    for name, autoescape in (("report.html", True), ("report.md", False)):
        template = environment.overlay(autoescape=autoescape).get_template(f"{name}.j2")
        write_whole(folder / name, template.render(**_content(summary, plots)))
    write_whole(
        folder / "summary.json",
        json.dumps(finite_or_none(as_dict(summary)), indent=1, allow_nan=False),
    )
    return summary


def as_dict(summary: Summary) -> dict[str, Any]:
    """Return the numbers of a summary, without the single runs, for ``summary.json``."""
    arms = [{k: v for k, v in asdict(a).items() if k != "judged"} for a in summary.arms]
    examples = asdict(summary.examples) if summary.examples else None
    return {
        "sentence": summary.sentence,
        "detectable": summary.detectable,
        "over_test_examples": examples,
        "at_common_learning_rates": [asdict(rate) for rate in summary.common],
        "arms": arms,
        "environment": summary.environment,
    }


def _content(summary: Summary, plots: list[Plot]) -> dict[str, Any]:
    spec = summary.spec
    return {
        "summary": summary,
        "spec": spec,
        "task": TASKS[spec.task],
        "metric_name": spec.judged_by[0],
        "metric": spec.judged_by[1],
        "columns": COLUMNS,
        "blocks": [
            (block, [cells(r, summary) for r in summary.arms if r.block == block.name])
            for block in spec.block
        ],
        "plots": plots,
        "rows": summary.arms,
        "warnings": spec_warnings(spec),
        "flatness": {
            "top_eigenvalue": "Top eigenvalue",
            "sam_sharpness": "SAM sharpness",
            "adaptive_sharpness": "Adaptive sharpness",
        },
        "shortcomings": shortcomings(summary),
        "data": data_sentence(summary.arms[0].judged[0].data, summary.spec.evaluate_at_most),
    }


def cells(row: ArmSummary, summary: Summary) -> dict[str, str]:
    """Return a row of the table as text, one entry a column."""
    d, interval = row.difference, row.interval
    return dict(
        zip(
            COLUMNS,
            (
                row.arm,
                ", ".join(
                    f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}"
                    for k, v in row.setting.items()
                )
                or "defaults",
                f"{interval.mean:.2f}",
                f"[{interval.low:.2f}, {interval.high:.2f}]",
                str(interval.n),
                f"{d.mean:+.2f} [{d.low:+.2f}, {d.high:+.2f}]" if d else "control",
                f"{d.probability_of_improvement:.0%} of seeds" if d else "",
                evidence(row, summary),
                f"{row.diverged} of {interval.n}"
                + (
                    f"; {row.diverged_points} of {row.num_points} points"
                    if row.diverged_points
                    else ""
                ),
            ),
            strict=True,
        )
    )


def data_sentence(facts: dict[str, Any] | None, evaluate_at_most: int | None = None) -> str:
    """Return what a language task counted in its data.

    Example:
        >>> counted = {"max_length": 64, "examples": {"train": 1275, "test": 531}, "truncated": {"train": 9, "test": 0}, "duplicates": 100}
        >>> print(data_sentence(counted))
        Examples: train 1,275, test 531. 100 duplicates were left out before splitting. Longer than 64 tokens and cut: train 9, test 0.
        >>> print(data_sentence(counted, evaluate_at_most=100).rpartition(". ")[2])
        Of validation and test 100 examples at most were judged, the same for every arm.
    """
    part = (
        f"Of validation and test {evaluate_at_most:,} examples at most were judged, the same for every arm."
        if evaluate_at_most
        else ""
    )
    if not facts:
        return part
    counts = {
        key: ", ".join(f"{split} {n:,}" for split, n in facts[key].items())
        for key in ("examples", "truncated")
    }
    empty = {split: n for split, n in facts.get("without_answer", {}).items() if n}
    lost = (
        f" Of these no answer was left: {', '.join(f'{split} {n:,}' for split, n in empty.items())}."
        if empty
        else ""
    )
    lost += " They were not trained on, and count for no perplexity." if empty else ""
    removed = f"{facts['duplicates']:,} duplicates were left out before splitting."
    cut = f"Longer than {facts['max_length']} tokens and cut: {counts['truncated']}."
    return f"Examples: {counts['examples']}. {removed} {cut}{lost} {part}".rstrip()


def markdown_text(text: str) -> str:
    r"""Return what a Markdown page shows as this text, whatever is in it.

    Example:
        >>> print(markdown_text("*a* $x$ b_c [+0.1, +0.2]"))
        \*a\* \$x\$ b_c [+0.1, +0.2]
    """
    return re.sub(r"[\\`*$&~]|(?<!\w)_|_(?!\w)|\](?=[(\[:])", r"\\\g<0>", text)


def evidence(row: ArmSummary, summary: Summary) -> str:
    """Return what the difference shows: the decision, and the p value where it is one of the adjusted comparisons."""
    if row.difference is None:
        return "control"
    word = "no verdict" if summary.spec.demonstration else row.verdict
    if row is summary.primary:
        return f"{word} (primary)"
    p = row.difference.p_holm
    return f"{word} (Holm p {'< 0.001' if p < 0.001 else f'= {p:.3f}'})"


def shortcomings(summary: Summary) -> list[str]:
    """Return what the study does not show, a sentence each: a reader should not have to work it out."""
    spec = summary.spec
    found = ["One data set, one model, one length of training: nothing here speaks of others."]
    if spec.points:
        noise = "is coarse, and its noise is part of every difference; what is not under tune was not tuned."
        found.append(f"A choice among {spec.points} points {noise}")
    at_edge = [
        f"{summary.label(row)} ({name} {row.setting[name]:.3g})"
        for row in summary.arms
        for name, values in _tuned(row).items()
        if row.setting[name] in (min(values), max(values))
    ]
    if at_edge:
        found.append(
            f"The best point lies at the edge of what was tried for {', '.join(at_edge)}: better settings may lie beyond."
        )
    if unmeasured := [summary.label(row) for row in summary.arms if not row.flatness]:
        found.append(
            f"Flatness was not measured{'' if len(unmeasured) == len(summary.arms) else ' for ' + ', '.join(unmeasured)}."
        )
    undecided = [
        summary.label(row)
        for row in summary.arms
        if row.difference and row.verdict == "not decided"
    ]
    if undecided:
        found.append(f"Not decided against the control: {', '.join(undecided)}.")
    return found


def _tuned(row: ArmSummary) -> dict[str, list[float]]:
    """Return the values that were tried, by name, of what differs between the points."""
    names = [n for n in row.setting if len({str(t.setting[n]) for t in row.tuning}) > 1]
    return {n: [t.setting[n] for t in row.tuning] for n in names}


def console_table(summary: Summary) -> Iterable[Table]:
    """Yield the table of each block for a terminal; 80 columns are enough."""
    name, metric = summary.spec.judged_by
    for block in summary.spec.block:
        title = f"Test {name}{f' ({metric.unit})' if metric.unit else ''}, {block.name}; control: {summary.control[block.name]}"
        table = Table(
            title=title, title_justify="left", box=rich.box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
        )
        for column in (
            "Arm",
            "Tuned setting",
            "Mean and 95 %",
            "n",
            "Less control",
            "Evidence",
            "Div.",
        ):
            table.add_column(column, overflow="fold")
        for row in summary.arms:
            if row.block == block.name:
                text = cells(row, summary)
                table.add_row(
                    text["Arm"],
                    text["Tuned setting"].replace(", ", "\n"),
                    f"{text['Mean']}\n{text['95 % interval']}",
                    text["n"],
                    text["Less the control"].replace(" [", "\n["),
                    row.verdict if not summary.spec.demonstration else "no verdict",
                    str(row.diverged),
                )
        yield table
