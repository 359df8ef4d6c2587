"""The report of a study: a self-contained page, and the same text as Markdown, from disk alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dualadam.compare.determinism import determinism_sentence
from dualadam.compare.execution import SPEC_FILE, read_records
from dualadam.compare.explanations import optimizer_sentences, undecided_sentence
from dualadam.compare.extension import extension_sentence
from dualadam.compare.figures import Plot, draw
from dualadam.compare.margin import margin_source
from dualadam.compare.report_form import render
from dualadam.compare.report_tables import (
    Table,
    budget_table,
    common_rate_table,
    cost_table,
    decay_table,
    flatness_table,
    score_table,
    without_decay,
)
from dualadam.compare.run import finite_or_none
from dualadam.compare.shadow_table import shadow_table
from dualadam.compare.spec import Spec
from dualadam.compare.spec_file import load_study_spec
from dualadam.compare.spec_tables import Block
from dualadam.compare.spec_warnings import spec_warnings
from dualadam.compare.summary import Summary, summarise
from dualadam.compare.tuning_budget import budget_curve
from dualadam.compare.verdict_wording import interval_sentence, verdict_sentence
from dualadam.compare.wording import (
    data_sentences,
    decay_sentence,
    minus,
    power_sentence,
    shortcomings,
    with_unit,
)
from dualadam.errors import InvalidValueError
from dualadam.harness.store import make_folder, reading, write_whole, writing


def write_report(folder: Path) -> Summary:
    """Write the report of a finished study into its folder.

    It reads ``spec.json`` and ``runs.jsonl``; optimizer classes, models and data are not needed. It
    writes ``report.html``, ``report.md`` with its ``figures/``, and ``summary.json``.

    Raises:
        InvalidValueError: the folder holds no study, or an unfinished or damaged one.
        UnreachableError: a file cannot be read or written.
    """
    summary = summarise(read_study_spec(folder), read_records(folder))
    plots = draw(summary)
    write_figures(folder, plots)
    names = {
        "page": Page.of(summary, plots, determinism_sentence(folder, summary.spec)),
        "spec": summary.spec,
    }
    write_whole(folder / "report.html", render("text.j2", "html", **names))
    write_whole(folder / "report.md", render("text.j2", "md", **names))
    numbers = finite_or_none(as_dict(summary))
    write_whole(folder / "summary.json", json.dumps(numbers, indent=1, allow_nan=False))
    return summary


def read_study_spec(folder: Path) -> Spec:
    """Return the spec of a study's folder.

    Raises:
        InvalidValueError: the folder holds no study.
        UnreachableError: a file cannot be read.
    """
    with reading(folder):
        is_study = (folder / SPEC_FILE).exists()
    if not is_study:
        raise InvalidValueError(
            f"{folder} must be the output folder of a comparison, but it has no {SPEC_FILE}."
        )
    return load_study_spec(folder)


def write_figures(folder: Path, plots: Sequence[Plot]) -> None:
    """Write the figures of a report as PNG files."""
    make_folder(folder / "figures")
    for plot in plots:
        file = folder / "figures" / f"{plot.name}.png"
        with writing(file):
            file.write_bytes(plot.png())


def as_dict(summary: Summary) -> dict[str, Any]:
    """Return the numbers of a summary, without the single runs, for ``summary.json``."""
    sign = summary.spec.judged_by.metric.sign
    arms = [{k: v for k, v in asdict(row).items() if k != "judged"} for row in summary.arms]
    return {
        "sentence": verdict_sentence(summary),
        "verdict": summary.verdict,
        "detectable": summary.detectable,
        "over_test_examples": asdict(summary.examples) if summary.examples else None,
        "at_common_learning_rates": [asdict(rate) for rate in summary.common],
        "budget": [
            {
                "block": row.block,
                "arm": row.arm,
                "curve": [asdict(p) for p in budget_curve(row.tuning, sign)],
            }
            for row in summary.arms
            if row.tuning
        ],
        "arms": arms,
        "environment": summary.environments[0],
    }


@dataclass(frozen=True)
class Page:
    """What the text of the report shows; see ``templates/text.j2``."""

    summary: Summary
    plots: list[Plot]
    task: str
    verdict: str
    difference: str
    margin: str
    margin_source: str  # empty where the spec gives the margin
    interval: str
    power: str
    extended: str  # what was widened; empty where nothing was
    blocks: list[tuple[Block, Table, str, Table | None]]  # scores, rule and table of the decay
    flatness: Table | None
    shadow: Table | None
    budget: Table | None
    common_rates: Table | None
    cost: Table
    data: str
    determinism: str  # empty where it was not checked
    warnings: list[str]
    signatures: list[tuple[str, str]]  # of each arm
    shortcomings: list[str]

    @classmethod
    def of(cls, summary: Summary, plots: list[Plot], determinism: str) -> Page:
        """Collect the contents of a report."""
        spec = summary.spec
        data = summary.arms[0].judged[0].data
        return cls(
            summary=summary,
            plots=plots,
            task=spec.entry.summary,
            verdict=verdict_sentence(summary),
            difference=minus(spec.primary.arm, spec.primary.against),
            margin=with_unit(f"{summary.margin:g}", spec.judged_by.metric),
            margin_source=margin_source(spec),
            interval=interval_sentence(summary),
            power=power_sentence(summary),
            extended=extension_sentence(spec.extended),
            blocks=[
                (
                    block,
                    score_table(summary, block),
                    decay_sentence(spec, block, without_decay(summary, block)),
                    decay_table(summary, block),
                )
                for block in spec.block
            ],
            flatness=flatness_table(summary),
            shadow=shadow_table(summary),
            budget=budget_table(summary),
            common_rates=common_rate_table(summary),
            cost=cost_table(summary),
            data=data_sentences(data, spec.evaluate_at_most),
            determinism=determinism,
            warnings=spec_warnings(
                spec,
                undecayed=[
                    (block.name, name)
                    for block in spec.block
                    for name in without_decay(summary, block)
                ],
            ),
            signatures=[(summary.label(row), row.signature) for row in summary.arms],
            shortcomings=list(shortcomings(summary)),
        )

    @property
    def optimizers(self) -> str:
        """What the optimizers of this package are; empty where the study has none."""
        return optimizer_sentences(self.summary.spec)

    def undecided(self, block: Block) -> str:
        """Return why arms of a block are not decided although their interval excludes 0."""
        return undecided_sentence(self.summary, block.name)
