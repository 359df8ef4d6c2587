"""The three splits of a text data set share no text and are always the same."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from language_cases import labelled, write_lines

from dualadam.errors import InvalidValueError
from dualadam.tasks import TASKS
from dualadam.tasks.language.corpus import Pieces, Row, split_corpus


def texts(rows):
    return [row.text for row in rows]


def corpus_of(count=100, classes=4):
    return [Row(f"text {k}", str(k % classes)) for k in range(count)]


@pytest.mark.parametrize("classification", [True, False])
def test_one_file_becomes_three_splits_that_share_nothing_and_are_always_the_same(classification):
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


def test_duplicates_are_dropped_before_the_split_and_texts_with_two_labels_altogether():
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


def test_a_text_of_the_test_split_is_dropped_from_training_and_the_test_split_stays_whole():
    train, test = corpus_of(), [Row("text 5 ", "1"), Row("text 200", "0"), Row("text 6", "2")]
    corpus = split_corpus(Pieces(train, test=test), classification=True)
    assert texts(corpus.splits["test"]) == ["text 5 ", "text 200", "text 6"]
    assert not {"text 5", "text 6"} & set(
        texts([*corpus.splits["train"], *corpus.splits["validation"]])
    )
    sizes = {split: len(rows) for split, rows in corpus.splits.items()}
    assert sizes == {"train": 88, "validation": 10, "test": 3}
    assert corpus.duplicates == 2


def test_too_few_examples_for_three_splits_are_refused(tmp_path):
    write_lines(tmp_path / "train.jsonl", *labelled(2))
    with pytest.raises(InvalidValueError, match=r"an example for each split .* got 2 rows in all"):
        TASKS["jsonl-classification"].corpus(tmp_path)


def test_a_label_that_only_the_test_split_has_is_refused_by_its_line(tmp_path):
    write_lines(tmp_path / "train.jsonl", *labelled(20))
    write_lines(tmp_path / "test.jsonl", {"text": "x", "label": 1}, {"text": "y", "label": "sport"})
    with pytest.raises(InvalidValueError) as refused:
        TASKS["jsonl-classification"].corpus(tmp_path)
    assert str(refused.value) == (
        f"{tmp_path / 'test.jsonl'}, line 2: label must be one that the training split has, 0, 1, "
        "got 'sport'."
    )


def test_a_label_of_too_few_rows_for_three_splits_stays_in_training(tmp_path):
    rows = [{"text": f"text {k}", "label": "ham" if k < 92 else f"rare {k}"} for k in range(100)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    splits = TASKS["jsonl-classification"].corpus(tmp_path).splits
    assert sum(map(len, splits.values())) == 100
    assert {row.target for row in splits["train"]} == {row["label"] for row in rows}
    assert {row.target for split in ("validation", "test") for row in splits[split]} == {"ham"}


def test_given_splits_are_used_and_missing_ones_held_out(tmp_path):
    write_lines(tmp_path / "train.jsonl", *labelled(40))
    assert [len(x) for x in TASKS["jsonl-classification"].corpus(tmp_path).splits.values()] == [
        24,
        6,
        10,
    ]
    assert [
        len(x)
        for x in TASKS["jsonl-classification"].corpus(tmp_path / "train.jsonl").splits.values()
    ] == [24, 6, 10]
    write_lines(tmp_path / "test.jsonl", *labelled(7, start=100))
    assert [len(x) for x in TASKS["jsonl-classification"].corpus(tmp_path).splits.values()] == [
        36,
        4,
        7,
    ]
    write_lines(tmp_path / "validation.jsonl", *labelled(3, start=200))
    assert [len(x) for x in TASKS["jsonl-classification"].corpus(tmp_path).splits.values()] == [
        40,
        3,
        7,
    ]


def test_gsm8k_is_found_under_both_of_its_names_and_has_its_own_test_split(tmp_path):
    problems = [{"question": f"{k} + 1?", "answer": f"#### {k + 1}"} for k in range(60)]
    write_lines(tmp_path / "a" / "gsm8k" / "train.jsonl", *problems[:40])
    write_lines(tmp_path / "a" / "gsm8k" / "test.jsonl", *problems[40:])
    write_lines(tmp_path / "b" / "gsm8k_train.jsonl.gz", *problems[:40])
    write_lines(tmp_path / "b" / "gsm8k_test.jsonl.gz", *problems[40:])
    one, other = (TASKS["gsm8k"].corpus(tmp_path / name).splits for name in "ab")
    assert {split: len(rows) for split, rows in one.items()} == {
        "train": 38,
        "validation": 2,
        "test": 20,
    }
    assert {s: texts(r) for s, r in one.items()} == {s: texts(r) for s, r in other.items()}
