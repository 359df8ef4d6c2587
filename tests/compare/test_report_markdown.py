"""Every string of the reader's own is shown as text in the Markdown, as on the page."""

import html
import json
import re
from dataclasses import replace

import pytest
from compare_cases import folder_of
from markdown_it import MarkdownIt

from dualadam.compare.execution import StudyStore, read_records
from dualadam.compare.report import write_report
from dualadam.compare.report_form import markdown_text
from dualadam.compare.spec_file import parse_spec

BLOCKS = "# a\n\n> b\n- c\n1. d\n---\n```\ne\n```\n<b>f</b> | g | `h` <!-- i"
HOSTILE = {
    "title": f"# <script>x()</script> | [y](z) ![y](z) &amp; #\n{BLOCKS}",
    "arm": "1. `x` ``y` [a](b) \\",
    "against": "- *x* ~~y~~ # (z",
    "block": "# __x__ [y]: z #",
    "command": f"python x.py --out {{out}} {{settings}} '<i>a</i> | b' `c`\n{BLOCKS}",
    "unit": "<u> | `u`\n# u",
    "metric": "m | <m>\n# m `m`",
    "setting": f"<s> | `s` \\ *s*\n{BLOCKS}",
    "optimizer": "a<o>.b|c`d\n# e",
    "environment": f"<e> | `e`\n{BLOCKS}",
}
SPEC = f"""
name = "hostile"
title = {json.dumps(HOSTILE["title"])}
train = "command"
command = {json.dumps(HOSTILE["command"])}
direction = "higher"
unit = {json.dumps(HOSTILE["unit"])}
metric = {json.dumps(HOSTILE["metric"])}
steps = 10
points = 2
seeds = 3
primary.arm = {json.dumps(HOSTILE["arm"])}
primary.against = {json.dumps(HOSTILE["against"])}
primary.margin = 0.5

[[block]]
name = {json.dumps(HOSTILE["block"])}
weight_decay = 0.01

[[block.arm]]
name = {json.dumps(HOSTILE["arm"])}
optimizer = {json.dumps(HOSTILE["optimizer"])}
args = {{ mode = {json.dumps(HOSTILE["setting"])} }}
tune = {{ lr = [1e-3, 1e-1] }}

[[block.arm]]
name = {json.dumps(HOSTILE["against"])}
optimizer = "AdamW"
tune = {{ lr = [1e-3, 1e-1] }}
"""


def read(markdown):
    """Return the page that a reader of Markdown sees, its text, and its tags."""
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown)
    text = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())
    return page, text, set(re.findall(r"<(\w+)", page))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    folder_of(SPEC, folder)
    spec, records = parse_spec(SPEC), list(read_records(folder))
    (folder / "runs.jsonl").unlink()
    store = StudyStore(folder, spec)
    for record in records:
        theirs = record.environment | {"machine": HOSTILE["environment"]}
        store.add(replace(record, environment=theirs))
    write_report(folder)
    return (folder / "report.md").read_text(), (folder / "report.html").read_text()


@pytest.mark.parametrize("field", HOSTILE)
def test_every_string_is_shown_as_it_is(hostile, field):
    _, text, _ = read(hostile[0])
    shown = " ".join(HOSTILE[field].split())
    assert shown in text


def test_no_string_makes_a_tag_a_heading_or_a_cell(hostile):
    page, _, tags = read(hostile[0])
    allowed = {"h1", "h2", "h3", "p", "blockquote", "table", "thead", "tbody", "tr", "th", "td"}
    assert tags <= allowed | {"img", "ul", "li", "code"}
    assert page.count("<h1>") == 1
    assert page.count("<blockquote>") == 1
    assert len(re.findall("<img", page)) == hostile[0].count("](figures/")
    rows = re.findall(r"<tr>.*?</tr>", page, re.DOTALL)
    assert {row.count("<t") - 1 for row in rows} <= {3, 4, 9}  # budget, comparisons, arms


def test_the_page_shows_the_same_strings(hostile):
    text = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", hostile[1])).split())
    assert all(" ".join(value.split()) in text for value in HOSTILE.values())
    assert hostile[1].count("<script") == 1  # the page's own, which sorts tables


@pytest.mark.parametrize(
    "text",
    [
        "# a",
        "> a",
        "- a",
        "+ a",
        "1. a",
        "12) a",
        "---",
        "===",
        "a #",
        "| a |",
        "<a@b.c>",
        "`",
        "\\",
    ],
)
@pytest.mark.parametrize("place", ["{}", "* {}", "> {}", "# {}"])
def test_a_text_stands_unchanged_in_every_kind_of_block(place, text):
    page, shown, _ = read(place.format(markdown_text(text)) + "\n")
    assert shown == text
    assert len(re.findall(r"<(?!/|p>)\w+", page)) == {"{}": 0, "* {}": 2}.get(place, 1)


def test_plain_names_are_not_changed():
    for text in ("Adam + warm-up", "-0.50 [-1.20, +0.20]", "lr 1e-3, betas [0.9, 0.99]", "a_b"):
        assert markdown_text(text) == text
