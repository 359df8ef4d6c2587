"""Token sequences: made once and kept on disk, sorted into batches of like lengths, laid out in rows of a tensor."""

from __future__ import annotations

import hashlib
import json
import uuid
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

IGNORED = -100  # a target that counts for no loss
TODAY = datetime(
    2026, 1, 1, tzinfo=UTC
)  # for chat templates that tell the date: a run must be the same tomorrow
GROUP = 50  # batches whose examples are sorted by length together


class TokenBatch(NamedTuple):
    """R rows of L tokens."""

    tokens: Tensor  # int64 (R, L)
    documents: Tensor  # int64 (R, L): 0 where a row is only filled up, else the number of the document in its row
    targets: Tensor  # int64 (R, L), the token itself where it belongs to an answer, else IGNORED; or (R,), the class of each row


@dataclass(frozen=True)
class Sequences:
    """N token sequences one after another."""

    tokens: np.ndarray  # int32
    ends: np.ndarray  # int64 (N,), where each sequence ends
    prompts: (
        np.ndarray
    )  # int64 (N,), how many of its tokens are the prompt's; all of them where there is no answer
    num_truncated: int  # sequences that were longer

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> Tensor:
        start = self.ends[index - 1] if index else 0
        return torch.from_numpy(self.tokens[start : self.ends[index]].astype(np.int64))

    @cached_property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each sequence."""
        return np.diff(self.ends, prepend=0)

    @classmethod
    def of(
        cls, rows: Sequence[Sequence[int]], prompts: Sequence[int], max_length: int
    ) -> Sequences:
        """Cut each row after max_length tokens.

        Example:
            >>> made = Sequences.of([[1, 2, 3], [4, 5]], prompts=[1, 1], max_length=2)
            >>> made[0].tolist(), made[1].tolist(), made.num_truncated
            ([1, 2], [4, 5], 1)
        """
        cut = [list(row[:max_length]) for row in rows]
        ends = np.cumsum([len(row) for row in cut], dtype=np.int64)
        tokens = np.fromiter((token for row in cut for token in row), np.int32)
        heads = np.minimum(
            np.array(prompts, np.int64), np.array([len(row) for row in cut], np.int64)
        )
        return cls(tokens, ends, heads, sum(len(row) > max_length for row in rows))

    def chosen(self, index: np.ndarray) -> Sequences:
        """Return some of the sequences, in the given order."""
        rows = [self[k].tolist() for k in index]
        return Sequences.of(rows, self.prompts[index].tolist(), max(map(len, rows), default=0))


def tokenise_texts(tokenizer: Any, texts: Sequence[str], max_length: int) -> Sequences:
    """Return texts with the tokenizer's own beginning and end; a text that is cut keeps them."""
    if not texts:
        return Sequences.of([], [], 0)
    rows = tokenizer(list(texts), truncation=True, max_length=max_length)["input_ids"]
    whole = tokenizer(list(texts), truncation=False)["input_ids"]
    found = Sequences.of(rows, list(map(len, rows)), max_length)
    return Sequences(
        found.tokens,
        found.ends,
        found.prompts,
        sum(len(a) > len(b) for a, b in zip(whole, rows, strict=True)),
    )


def tokenise_dialogues(
    tokenizer: Any, prompts: Sequence[str], responses: Sequence[str], max_length: int
) -> Sequences:
    """Return prompts in the format of the model's chat template, each with its response and the end-of-text token.

    A tokenizer without template gets the prompt, a line break and the response.

    Raises:
        ValueError: the tokenizer has no end-of-text token: its model is no generator.
    """
    if not prompts:
        return Sequences.of([], [], 0)
    if tokenizer.eos_token_id is None:
        raise ValueError(
            "model must be a causal language model for a generation task, got one whose tokenizer has no end of text."
        )
    if tokenizer.chat_template:
        turns = ([{"role": "user", "content": prompt}] for prompt in prompts)
        told = {
            "chat_template": dated(tokenizer.get_chat_template()),
            "tokenize": False,
            "add_generation_prompt": True,
        }
        texts = [tokenizer.apply_chat_template(turn, **told) for turn in turns]
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
    """Return a chat template for which today is `TODAY`: transformers hands functions to no template, so that it gets a macro.

    Example:
        >>> import jinja2
        >>> jinja2.Template(dated("{{ strftime_now('%d %b %Y') }}: {{ question }}")).render(question="Why?")
        '01 Jan 2026: Why?'
    """
    if "strftime_now" not in template:
        return template
    codes = {"-d": TODAY.day, "-m": TODAY.month} | {
        code: TODAY.strftime(f"%{code}") for code in "aAbBdHIjmMpSuUwWyYZ"
    }
    told = "".join(f".replace('%{code}', '{said}')" for code, said in codes.items())
    return f"{{%- macro strftime_now(form) -%}}{{{{ form{told} }}}}{{%- endmacro %}}{template}"


def kept(folder: Path, key: Sequence[Any], make: Callable[[], Sequences]) -> Sequences:
    """Return what is on disk under a key, or make it and keep it. A file appears whole or not at all; a damaged one is made again."""
    file = folder / "tokens" / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}.npz"
    try:
        with file.open("rb") as stream, np.load(stream) as stored:
            return Sequences(
                stored["tokens"], stored["ends"], stored["prompts"], int(stored["num_truncated"])
            )
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        zipfile.BadZipFile,
    ):  # not there, or not whole: either way it is made
        made = make()
    part = file.with_suffix(f".{uuid.uuid4().hex}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as output:
            np.savez(
                output,
                tokens=made.tokens,
                ends=made.ends,
                prompts=made.prompts,
                num_truncated=made.num_truncated,
            )
        part.replace(file)
    except OSError as error:  # a full disk, or a folder of somebody else's
        warnings.warn(f"The tokens are not kept, and made again next time: {error}.", stacklevel=2)
        part.unlink(missing_ok=True)
    return made


def grouped_batches(
    lengths: np.ndarray, batch_size: int, generator: torch.Generator, group: int = GROUP
) -> Iterator[list[int]]:
    """Yield the full batches of one epoch, each of sequences of like lengths, in a random order.

    The examples are shuffled, sorted by length within groups of ``group`` batches, cut into batches, and the batches shuffled; with
    group = 1 it is a plain shuffle. The examples that fill no batch are any, not the longest.

    Example:
        >>> lengths = np.array([1, 9, 2, 8, 1, 9])
        >>> batches = list(grouped_batches(lengths, 2, torch.Generator().manual_seed(0)))
        >>> sorted(sorted(lengths[batch].tolist()) for batch in batches)
        [[1, 1], [2, 8], [9, 9]]
    """
    order = torch.randperm(len(lengths), generator=generator)
    full = order[: len(order) // batch_size * batch_size].tolist()
    batches = []
    for start in range(0, len(full), group * batch_size):
        part = full[start : start + group * batch_size]
        part = sorted(part, key=lambda k: -lengths[k]) if group > 1 else part
        batches += [part[k : k + batch_size] for k in range(0, len(part), batch_size)]
    for k in torch.randperm(len(batches), generator=generator).tolist():
        yield batches[k]


def lay_out(
    sequences: Sequences, indices: Sequence[int], fill: int, row_length: int | None = None
) -> TokenBatch:
    """Put sequences into rows, one each, or as many as fit into row_length (first fit, the longest first).

    Targets are the tokens of the answers. A sequence's first token is no target: nothing of its own stands before it.
    """
    rows: list[list[int]] = [[k] for k in indices]
    if row_length is not None:
        rows = []
        room: list[int] = []  # left in each row
        for k in sorted(indices, key=lambda k: -sequences.lengths[k]):
            length = sequences.lengths[k]
            place = next((r for r, left in enumerate(room) if left >= length), None)
            if place is None:
                rows.append([k])
                room.append(max(row_length, length) - length)
            else:
                rows[place].append(k)
                room[place] -= length
    width = max(sum(int(sequences.lengths[k]) for k in row) for row in rows)
    tokens, documents = (
        torch.full((len(rows), width), fill),
        torch.zeros(len(rows), width, dtype=torch.int64),
    )
    targets = torch.full_like(tokens, IGNORED)
    for r, row in enumerate(rows):
        start = 0
        for number, k in enumerate(row, start=1):
            sequence, head = sequences[k], max(1, int(sequences.prompts[k]))
            end = start + len(sequence)
            tokens[r, start:end], documents[r, start:end] = sequence, number
            targets[r, start + head : end] = sequence[head:]
            start = end
    return TokenBatch(tokens, documents, targets)


def attention_within(documents: Tensor) -> tuple[Tensor, Tensor]:
    """Return the causal mask that keeps the documents of a row apart, bool (R, 1, L, L), and each token's place in its document, (R, L).

    Example:
        >>> mask, places = attention_within(torch.tensor([[1, 1, 2, 2, 0]]))
        >>> mask[0, 0].int().tolist()
        [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]]
        >>> places.tolist()
        [[0, 1, 0, 1, 0]]
    """
    length = documents.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=documents.device).tril()
    mask = causal & (documents[:, :, None] == documents[:, None, :])
    index = torch.arange(length, device=documents.device).expand_as(documents)
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return mask[:, None], index - torch.where(begins, index, 0).cummax(1).values
