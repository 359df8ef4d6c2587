"""JSON lines of the user's own: texts with labels, or prompts with responses."""

from __future__ import annotations

from dualadam.tasks.language.answers import same_text
from dualadam.tasks.language.classification_entry import ClassificationEntry
from dualadam.tasks.language.generation import EXACT_MATCH, PERPLEXITY
from dualadam.tasks.language.generation_entry import GenerationEntry
from dualadam.tasks.language.jsonl import JsonLines

JSONL_CLASSIFICATION = ClassificationEntry(
    name="jsonl-classification",
    summary="train.jsonl of yours, lines of text and label",
    num_train=None,
    source=JsonLines("text", "label"),
)
JSONL_GENERATION = GenerationEntry(
    name="jsonl-generation",
    summary="train.jsonl of yours, prompt and response",
    num_train=None,
    metrics=PERPLEXITY | EXACT_MATCH,
    same=same_text,
    source=JsonLines("prompt", "response"),
)
