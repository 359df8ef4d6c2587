"""The report of a study: a self-contained page, and the same text as Markdown, from disk alone."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import jinja2
from markupsafe import Markup

from dualadam.compare.execution import SPEC_FILE, read_records
from dualadam.compare.extension import extension_sentence
from dualadam.compare.figures import Plot, draw
from dualadam.compare.margin import margin_source
from dualadam.compare.report_tables import (
    Table,
    common_rate_table,
    cost_table,
    decay_table,
    flatness_table,
    score_table,
    without_decay,
)
from dualadam.compare.run import finite_or_none
from dualadam.compare.spec import Block
from dualadam.compare.spec_file import load_study_spec
from dualadam.compare.spec_warnings import spec_warnings
from dualadam.compare.summary import Summary, summarise
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
    with reading(folder):
        is_study = (folder / SPEC_FILE).exists()
    if not is_study:
        raise InvalidValueError(
            f"{folder} must be the output folder of a comparison, but it has no {SPEC_FILE}."
        )
    summary = summarise(load_study_spec(folder), read_records(folder))
    plots = draw(summary)
    make_folder(folder / "figures")
    for plot in plots:
        file = folder / "figures" / f"{plot.name}.png"
        with writing(file):
            file.write_bytes(plot.png())
    page = Page.of(summary, plots)
    write_whole(folder / "report.html", render(page, "html"))
    write_whole(folder / "report.md", render(page, "md"))
    numbers = finite_or_none(as_dict(summary))
    write_whole(folder / "summary.json", json.dumps(numbers, indent=1, allow_nan=False))
    return summary


def as_dict(summary: Summary) -> dict[str, Any]:
    """Return the numbers of a summary, without the single runs, for ``summary.json``."""
    arms = [{k: v for k, v in asdict(row).items() if k != "judged"} for row in summary.arms]
    return {
        "sentence": verdict_sentence(summary),
        "verdict": summary.verdict,
        "detectable": summary.detectable,
        "over_test_examples": asdict(summary.examples) if summary.examples else None,
        "at_common_learning_rates": [asdict(rate) for rate in summary.common],
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
    common_rates: Table | None
    cost: Table
    data: str
    warnings: list[str]
    signatures: list[tuple[str, str]]  # of each arm
    shortcomings: list[str]

    @classmethod
    def of(cls, summary: Summary, plots: list[Plot]) -> Page:
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
            common_rates=common_rate_table(summary),
            cost=cost_table(summary),
            data=data_sentences(data, spec.evaluate_at_most),
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


def render(page: Page, form: Literal["html", "md"]) -> str:
    """Return the report in one of its two forms. Names are shown as they are, in both."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dualadam.compare", "templates"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        finalize=None if form == "html" else _markdown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"one_line": _one_line, "unbroken": _unbroken, "code": _code}
    template = environment.get_template(f"report.{form}.j2")
    text = template.render(page=page, spec=page.summary.spec, form=f"{form}.j2")
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _markdown(value: object) -> Markup:
    """Escape a value for Markdown; what a macro returned is escaped already."""
    return value if isinstance(value, Markup) else Markup(markdown_text(str(value)))


def _one_line(text: Markup) -> Markup:
    return Markup(" ").join(text.split())


def _unbroken(text: str) -> str:
    """Keep an interval, and a p value, on one line of a narrow column."""
    number = r"([-+.\de]+)"
    text = re.sub(rf"\[{number}, {number}\]", "[\\1,\N{NO-BREAK SPACE}\\2]", text)
    text = re.sub(rf"{number} (?=\[)", "\\1\N{NO-BREAK SPACE}", text)
    return re.sub(r" p ([=<]) ", "\N{NO-BREAK SPACE}".join(("", "p", r"\1", "")), text)


def _code(text: str) -> Markup:
    """Return Markdown that shows a text as code, between more backticks than it has in a row."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if "`" in (text[:1], text[-1:]) else ""
    return Markup(fence + space + _SPACES.sub(" ", text) + space + fence)


_SPACES = re.compile(r"[^\S\N{NO-BREAK SPACE}]+")
# what has a meaning anywhere; around a word; before a bracket; at the ends of a block
_MARKS = re.compile(
    r"[\\`*$&~<|]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])"
    r"|^[#>]|#(?= *$)|^[-+=](?=[ =-]|$)|(?<=^\d)[.)](?= )|(?<=^\d\d)[.)](?= )"
)


def markdown_text(text: str) -> str:
    r"""Return Markdown that shows this text unchanged, but on one line.

    Example:
        >>> print(markdown_text("*a* $x$ b_c <i> | [+0.1, +0.2]"))
        \*a\* \$x\$ b_c \<i> \| [+0.1, +0.2]
    """
    return _MARKS.sub(r"\\\g<0>", _SPACES.sub(" ", text))
