"""When an answer counts as right."""

from __future__ import annotations

import pytest

from dualadam.tasks.language.answers import final_number, same_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("#### 72", 72),
        ("so 5\n####72\n#### 73", 72),
        ("#### 1,234", 1234),
        ("#### -3.50", -3.5),
        ("#### $18", 18),
        ("#### .5", 0.5),
        ("#### 18.", 18),
        ("72", None),
        ("", None),
        ("#### seven", None),
        ("### 72", None),
    ],
)
def test_the_answer_is_the_number_after_the_first_mark(text, number):
    assert final_number(text) == number


def test_two_answers_without_a_number_are_not_the_same():
    assert not same_number("none", "none")
    assert same_number("it is #### 1,000.0", "#### 1000")
