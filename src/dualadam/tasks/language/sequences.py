"""Token sequences in one array, and how texts and dialogues become them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dualadam.errors import InvalidValueError

# what chat templates take for today, so that a run has the same tokens on every day
TODAY = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Sequences:
    """N token sequences, one after another.

    Args:
        tokens: int32, all sequences.
        ends: int64 (N,), the index in ``tokens`` where each sequence ends.
        prompts: int64 (N,), the number of its tokens that belong to the prompt; all of them where
            there is no answer.
        num_truncated: the number of sequences that were cut.
    """

    tokens: np.ndarray
    ends: np.ndarray
    prompts: np.ndarray
    num_truncated: int

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> Tensor:
        start = self.ends[index - 1] if index else 0
        return torch.from_numpy(self.tokens[start : self.ends[index]].astype(np.int64))

    @cached_property
    def lengths(self) -> np.ndarray:
        """The number of tokens of each sequence."""
        return np.diff(self.ends, prepend=0)

    @classmethod
    def of(
        cls, rows: Sequence[Sequence[int]], prompts: Sequence[int], max_length: int
    ) -> Sequences:
        """Cut each row after ``max_length`` tokens.

        Example:
            >>> made = Sequences.of([[1, 2, 3], [4, 5]], prompts=[1, 1], max_length=2)
            >>> made[0].tolist(), made[1].tolist(), made.num_truncated
            ([1, 2], [4, 5], 1)
        """
        cut = [list(row[:max_length]) for row in rows]
        lengths = np.array([len(row) for row in cut], np.int64)
        tokens = np.fromiter((token for row in cut for token in row), np.int32)
        heads = np.minimum(np.array(prompts, np.int64), lengths)
        num_truncated = sum(len(row) > max_length for row in rows)
        return cls(tokens, np.cumsum(lengths, dtype=np.int64), heads, num_truncated)

    def chosen(self, index: np.ndarray) -> Sequences:
        """Return the sequences of these indices, in their order."""
        rows = [self[k].tolist() for k in index]
        return Sequences.of(rows, self.prompts[index].tolist(), max(map(len, rows), default=0))


def tokenise_texts(tokenizer: Any, texts: Sequence[str], max_length: int) -> Sequences:
    """Return texts with the tokenizer's special tokens. A text that is cut keeps them."""
    if not texts:
        return Sequences.of([], [], 0)
    rows = tokenizer(list(texts), truncation=True, max_length=max_length)["input_ids"]
    whole = tokenizer(list(texts), truncation=False)["input_ids"]
    found = Sequences.of(rows, list(map(len, rows)), max_length)
    num_truncated = sum(len(a) > len(b) for a, b in zip(whole, rows, strict=True))
    return Sequences(found.tokens, found.ends, found.prompts, num_truncated)


def tokenise_dialogues(
    tokenizer: Any, prompts: Sequence[str], responses: Sequence[str], max_length: int
) -> Sequences:
    """Return prompts in the model's chat template, each with its response and the end of text.

    A tokenizer without a template gets the prompt, a line break and the response.

    Raises:
        InvalidValueError: the tokenizer has no end-of-text token, so its model cannot generate.
    """
    if not prompts:
        return Sequences.of([], [], 0)
    if tokenizer.eos_token_id is None:
        raise InvalidValueError(
            "model must be a causal language model for a generation task, got one whose tokenizer "
            "has no end-of-text token."
        )
    if tokenizer.chat_template:
        template = dated(tokenizer.get_chat_template())
        texts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}],
                chat_template=template,
                tokenize=False,
                add_generation_prompt=True,
            )
            for prompt in prompts
        ]
        heads = tokenizer(texts, add_special_tokens=False)["input_ids"]
    else:
        heads = [tokenizer(f"{prompt}\n")["input_ids"] for prompt in prompts]
    answers = tokenizer(list(responses), add_special_tokens=False)["input_ids"]
    rows = [
        [*head, *answer, tokenizer.eos_token_id]
        for head, answer in zip(heads, answers, strict=True)
    ]
    return Sequences.of(rows, list(map(len, heads)), max_length)


def dated(template: str) -> str:
    """Return a chat template whose ``strftime_now`` always answers for ``TODAY``.

    Transformers passes no functions to a template, so the template gets a macro of that name.

    Example:
        >>> import jinja2
        >>> template = jinja2.Template(dated("{{ strftime_now('%d %b %Y') }}: {{ question }}"))
        >>> template.render(question="Why?")
        '01 Jan 2026: Why?'
    """
    if "strftime_now" not in template:
        return template
    codes = {"-d": TODAY.day, "-m": TODAY.month} | {
        code: TODAY.strftime(f"%{code}") for code in "aAbBdHIjmMpSuUwWyYZ"
    }
    replaced = "".join(f".replace('%{code}', '{value}')" for code, value in codes.items())
    return f"{{%- macro strftime_now(form) -%}}{{{{ form{replaced} }}}}{{%- endmacro %}}{template}"
