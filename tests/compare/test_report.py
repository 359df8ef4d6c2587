"""The report is one self-contained page, drawn from disk alone, that says what the records say."""

import html.parser
import json
import math
import re
import shutil

import pytest
from compare_cases import (
    ODD_NAMES,
    TINY,
    TWO_BLOCKS,
    finished,
    folder_of,
    run_command,
    with_scores,
)
from markdown_it import MarkdownIt

from dualadam.compare.execution import read_records
from dualadam.compare.report import write_report
from dualadam.compare.report_tables import score_rows
from dualadam.compare.result import Result
from dualadam.compare.spec_file import parse_spec
from dualadam.compare.summary import summarise
from dualadam.compare.verdict_wording import verdict_sentence
from dualadam.harness.verdict import Verdict

FLAT = "flatness = true\n" + TINY
NO_TUNING = (
    re.sub(r"tune = .*", "args = { lr = 1e-3, switch_rate = 0.2 }", TINY)
    .replace("points = 2", "points = 0")
    .replace('AdamW"\nargs = { lr = 1e-3, switch_rate = 0.2 }', 'AdamW"\nargs = { lr = 1e-3 }')
)
ALL = ("AdamW", "Adam + warm-up", "DualAdam")
ALWAYS = ["seeds", "differences"]
TUNED = [*ALWAYS, "curves", "learning-rates", "budget", "hand-over"]
# case -> spec, what its records are like, the figures that can be drawn from them
STUDIES = {
    "a real one": (TINY, None, TUNED),
    "one arm diverged": (
        TINY,
        {"diverged": ["DualAdam"]},
        TUNED,
    ),
    "all arms diverged": (
        FLAT,
        {"diverged": ALL},
        ["seeds", "curves", "learning-rates", "budget", "hand-over", "flatness"],
    ),
    "flatness": (
        FLAT,
        {},
        [*TUNED, "flatness"],
    ),
    "saddles": (
        FLAT,
        {"flatness": -1.0},
        [*TUNED, "flatness"],
    ),
    "flatness that could not be measured": (
        FLAT,
        {"flatness": None},
        TUNED,
    ),
    "two blocks": (TWO_BLOCKS, {}, TUNED),
    "nothing tuned": (NO_TUNING, {}, [*ALWAYS, "curves", "hand-over"]),
    "odd names": (ODD_NAMES, {}, TUNED),
}


PAPER = "https://arxiv.org/abs/2603.07122"  # a link that a reader may follow


class Page(html.parser.HTMLParser):
    """The text of a page outside its style, and all attributes."""

    def __init__(self, text):
        super().__init__()
        self.words, self.attributes, self.cells, self.quiet = [], [], [], False
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.quiet = tag in ("style", "script")
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag):
        self.quiet = False

    def handle_data(self, data):
        if not self.quiet:
            self.words.append(data)
            if self.cells and self.get_starttag_text().startswith("<td"):
                self.cells[-1] += data.strip()


@pytest.fixture(scope="module", params=STUDIES)
def drawn(request, tmp_path_factory):
    """Case, spec, folder and summary of a report."""
    text, options, figures = STUDIES[request.param]
    folder = tmp_path_factory.mktemp("report")
    if options is None:
        shutil.copytree(finished(text)[0], folder, dirs_exist_ok=True)
    else:
        folder_of(text, folder, **options)
    return parse_spec(text), folder, write_report(folder), figures


@pytest.fixture(scope="module")
def page(drawn):
    return Page((drawn[1] / "report.html").read_text())


def test_the_page_needs_nothing_but_itself(drawn, page):
    text = (drawn[1] / "report.html").read_text()
    assert set(re.findall(r"https?://[^\s\"'<>]*", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
        PAPER,
    }
    outside = [
        (tag, name, value)
        for tag, name, value in page.attributes
        if name in ("src", "href", "xlink:href", "srcset", "data")
    ]
    assert all(
        value.startswith(("#", "data:")) or (tag, value) == ("a", PAPER)
        for tag, _, value in outside
    )
    assert not [tag for tag, *_ in page.attributes if tag in ("iframe", "object")]
    assert text.count("<script") == 1  # its own, for the tables
    assert not re.findall(r"url\((?!#)|@import", text)


def test_ids_are_unique_and_references_lead_somewhere(page):
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    used = {
        value[1:]
        for _, name, value in page.attributes
        if name in ("href", "xlink:href") and value.startswith("#")
    }
    assert used <= set(ids)


def test_the_verdict_comes_first(drawn, page):
    _, _, summary, _ = drawn
    sentence = page.text.index(verdict_sentence(summary))
    assert sentence < 400  # after the title and one line on what was measured
    assert sentence < page.text.index("Difference from control")


def test_the_figures_that_the_records_allow_are_drawn(drawn, page):
    _, folder, _, figures = drawn
    assert sorted(f.stem for f in (folder / "figures").iterdir()) == sorted(figures)
    assert page.attributes.count(("svg", "role", "img")) == len(figures)
    markdown = (folder / "report.md").read_text()
    assert re.findall(r"\]\(figures/(.*)\.png\)", markdown) == figures
    assert all(
        (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in figures
    )


def test_every_arm_stands_in_every_table_as_it_is_called_and_with_its_signature(drawn, page):
    spec, folder, summary, _ = drawn
    markdown = (folder / "report.md").read_text()
    for row in summary.arms:
        assert page.cells.count(row.arm) >= len(spec.block)
        assert summary.label(row) in page.cells
        assert row.signature in page.text
        assert f"`{row.signature}`" in markdown


def test_markdown_has_the_numbers_of_the_page(drawn, page):
    markdown = (drawn[1] / "report.md").read_text()
    number = r"[-+]?\d[\d,]*\.?\d*(?:e[-+]\d+)?"
    for cell in page.cells:
        for found in re.findall(number, cell):
            assert found in markdown
    theirs = set(re.findall(r"[-+]?\d+\.\d+", markdown))
    assert theirs <= set(re.findall(r"[-+]?\d+\.\d+", page.text + page.text.replace(" ", "")))


@pytest.mark.parametrize("drawn", ["flatness"], indirect=True)
def test_drawn_again_from_disk_alone_every_byte_is_the_same(drawn, tmp_path, capsys):
    _, folder, _, _ = drawn
    names = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    for name in ("spec.json", "runs.jsonl"):
        shutil.copy(folder / name, tmp_path)
    assert run_command("report", tmp_path) == 0
    assert f"Report: {tmp_path / 'report.html'}" in capsys.readouterr().out
    assert sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file()) == names
    for name in names:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_names_are_text_in_markdown_too(tmp_path):
    write_report(folder_of(ODD_NAMES, tmp_path))
    page = Page(
        MarkdownIt("commonmark").enable("table").render((tmp_path / "report.md").read_text())
    )
    for arm in parse_spec(ODD_NAMES).block[0].arm:
        assert page.cells.count(arm.name) >= 2
    assert {value for tag, _, value in page.attributes if tag == "a"} == {PAPER}


def test_a_folder_without_a_study_is_refused_on_the_command_line(tmp_path, capsys):
    assert run_command("report", tmp_path) == 2
    folder = f"{tmp_path} must be the output folder of a comparison"
    assert capsys.readouterr().err == f"dualadam: {folder}, but it has no spec.json.\n"


def test_a_class_that_is_gone_does_not_matter(tmp_path):
    folder_of(TINY, tmp_path)
    for name in ("spec.json", "runs.jsonl"):
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text.replace('"AdamW"', '"no_such_module.AdamW"'))
    assert write_report(tmp_path).arms[0].optimizer == "no_such_module.AdamW"
    assert "no_such_module.AdamW may be coupled" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize("more", ["", 'tuning_seeds = 3\ninterval = "with choice"\n'])
def test_below_three_seeds_no_interval_is_printed_anywhere(tmp_path, capsys, more):
    text = more + FLAT.replace("\nseeds = 3", "\nseeds = 2")
    summary = write_report(folder_of(text, tmp_path))
    assert run_command("report", tmp_path) == 0
    printed = capsys.readouterr().out
    found = Result(summary, tmp_path)
    texts = [
        (tmp_path / "report.md").read_text(),
        Page((tmp_path / "report.html").read_text()).text,
        (tmp_path / "summary.json").read_text(),
        printed,
        found.table(),
        str(found),
        str(found.difference),
    ]
    for said in texts:
        assert "nan" not in said.lower()
        # those that remain are over the test examples, and over the choices of tuned points
        said = re.sub(r"Budget of tuning.*?still change at the right", "", said, flags=re.DOTALL)
        said = re.sub(r"Over the 450 test examples.*?\(bootstrap\)", "", said, flags=re.DOTALL)
        assert not re.findall(r"\[[-+]?\d+\.\d+,\s+[-+]?\d+\.\d+\]", said)
    assert math.isfinite(found.difference.mean)
    assert "There is no interval: it needs 3 seeds." in texts[0]
    assert summary.primary.verdict is Verdict.NOT_DECIDED
    assert json.loads(texts[2])["arms"][0]["interval"]["low"] is None


def test_ties_are_said_as_ties(tmp_path):
    scores = {
        "DualAdam": [90.0, 91.0, 92.0],
        "AdamW": [90.0, 91.0, 95.0],
        "Adam + warm-up": [90.0, 91.0, 93.0],
    }
    folder_of(TINY, tmp_path)
    spec, records = with_scores((parse_spec(TINY), list(read_records(tmp_path))), scores)
    rows = score_rows(summarise(spec, records), spec.block[0])
    assert [row.better_in for row in rows] == ["1 of 3 seeds, 2 ties", "-", "0 of 3 seeds, 2 ties"]
    scores["DualAdam"][0] = 99.0
    rows = score_rows(summarise(*with_scores((spec, records), scores)), spec.block[0])
    assert rows[2].better_in == "1 of 3 seeds, 1 tie"
