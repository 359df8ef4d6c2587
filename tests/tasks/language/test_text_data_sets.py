"""Text data sets as tasks: their sizes, and rows that no model can learn from."""

from __future__ import annotations

import pytest
from language_cases import write_lines
from language_model_cases import tuned

from dualadam.errors import InvalidValueError
from dualadam.tasks import TASKS, get_task

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("cache_of_its_own"),
]


@pytest.mark.parametrize(("name", "sizes"), [
    ("bbc-news", (1275, 319, 531)),
    ("rotten-tomatoes", (7565, 1973, 3214)),
    ("20-newsgroups", (10_136, 1126, 7521)),
    ("gsm-symbolic", (3567, 924, 1450)),
])  # fmt: skip
def test_a_data_set_has_the_listed_sizes_and_no_text_in_two_splits(name, sizes):
    splits = TASKS[name].corpus(None).splits
    assert tuple(map(len, splits.values())) == sizes
    assert TASKS[name].num_train == sizes[0]
    texts = [" ".join(row.text.split()) for rows in splits.values() for row in rows]
    assert len(set(texts)) == len(texts)
    groups = [{row.group for row in rows} for rows in splits.values()]
    if name in ("rotten-tomatoes", "gsm-symbolic"):
        assert sum(map(len, groups)) == len(set.union(*groups)) > 80
    if TASKS[name].language == "classification":
        assert len({row.target for row in splits["train"]}) == TASKS[name].num_classes


def test_prompts_that_leave_no_answer_are_refused(tmp_path, tiny_models):
    rows = [
        {"prompt": " ".join(f"w{(k + j) % 30}" for j in range(20)), "response": f"w{k}"}
        for k in range(30)
    ]
    write_lines(tmp_path / "train.jsonl", *rows)
    with pytest.raises(
        InvalidValueError,
        match=r"^max_length must leave a part of the answer of some train example, got 16, which",
    ):
        get_task(
            "jsonl-generation",
            data=str(tmp_path),
            language=tuned(tiny_models["llama"], max_length=16),
        )


def test_texts_of_one_class_are_refused(tmp_path, tiny_models):
    write_lines(tmp_path / "train.jsonl", *({"text": f"w{k}", "label": "a"} for k in range(30)))
    with pytest.raises(
        InvalidValueError,
        match=r"^The training split of 'jsonl-classification' must have .*, got 'a' alone; check",
    ):
        get_task("jsonl-classification", data=str(tmp_path), language=tuned(tiny_models["bert"]))


def test_a_subset_of_one_class_is_refused(tmp_path, tiny_models):
    rows = [{"text": f"w{k}", "label": "ab"[k % 2]} for k in range(30)]
    write_lines(tmp_path / "train.jsonl", *rows)
    with pytest.raises(
        InvalidValueError, match=r"must have more than one class, got '[ab]' alone;"
    ):
        get_task(
            "jsonl-classification", str(tmp_path), subset=1, language=tuned(tiny_models["bert"])
        )
