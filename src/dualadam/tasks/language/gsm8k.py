"""GSM8K: school problems with worked solutions, and its standard test split."""

from __future__ import annotations

from dualadam.tasks.language.answers import same_number
from dualadam.tasks.language.generation import EXACT_MATCH, PERPLEXITY
from dualadam.tasks.language.generation_entry import GenerationEntry
from dualadam.tasks.language.jsonl import JsonLines

GSM8K = GenerationEntry(
    name="gsm8k",
    summary="8,792 school problems with worked solutions, the standard test split",
    num_train=7_099,
    metrics=EXACT_MATCH | PERPLEXITY,
    same=same_number,
    source=JsonLines(
        "question",
        "answer",
        own_test_split=True,
        prefix="gsm8k_",
        remedy="They are in github.com/openai/grade-school-math, grade_school_math/data.",
    ),
)
