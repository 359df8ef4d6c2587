"""Batches of token sequences: which sequences are in one, and how they share its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dualadam.tasks.language.sequences import Sequences

IGNORED = -100  # the target of a token that has no loss
GROUP = 50  # batches whose sequences are sorted by length together


class TokenBatch(NamedTuple):
    """R rows of L tokens.

    Args:
        tokens: int64 (R, L).
        documents: int64 (R, L), the number of the token's document in its row, from 1; 0 for
            padding.
        targets: for generation int64 (R, L), the token itself where it belongs to an answer, else
            ``IGNORED``; for classification int64 (R,), the class of each row.
    """

    tokens: Tensor
    documents: Tensor
    targets: Tensor


def grouped_batches(
    lengths: np.ndarray, batch_size: int, generator: torch.Generator, group: int = GROUP
) -> Iterator[list[int]]:
    """Yield the full batches of one epoch, each of sequences of similar lengths, in random order.

    The sequences are shuffled, sorted by length within groups of ``group`` batches, and cut into
    batches, which are shuffled. With ``group`` = 1 this is a plain shuffle. The sequences that fill
    no batch are a random choice, not the longest ones.

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
    sequences: Sequences, indices: Sequence[int], pad_token: int, row_length: int | None = None
) -> TokenBatch:
    """Put sequences into the rows of a batch, with the answers' tokens as targets.

    The first token of a sequence is never a target, since no token of its own precedes it.

    Args:
        sequences: all sequences.
        indices: which of them the batch has.
        pad_token: fills the ends of rows.
        row_length: tokens of a row, which then takes as many sequences as fit (first fit, longest
            first); a longer sequence gets a row of its own length. None: one sequence per row.
    """
    rows = (
        [[k] for k in indices]
        if row_length is None
        else packed_rows(sequences.lengths, indices, row_length)
    )
    width = max(sum(int(sequences.lengths[k]) for k in row) for row in rows)
    tokens = torch.full((len(rows), width), pad_token)
    documents = torch.zeros(len(rows), width, dtype=torch.int64)
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


def packed_rows(lengths: np.ndarray, indices: Sequence[int], row_length: int) -> list[list[int]]:
    """Return the sequences of each row: first fit, the longest first.

    Example:
        >>> packed_rows(np.array([3, 5, 2, 6]), [0, 1, 2, 3], row_length=8)
        [[3, 2], [1, 0]]
    """
    rows: list[list[int]] = []
    free: list[int] = []  # tokens of each row
    for k in sorted(indices, key=lambda k: -lengths[k]):
        length = lengths[k]
        place = next((r for r, left in enumerate(free) if left >= length), None)
        if place is None:
            rows.append([k])
            free.append(max(row_length, length) - length)
        else:
            rows[place].append(k)
            free[place] -= length
    return rows


def attention_within(documents: Tensor) -> tuple[Tensor, Tensor]:
    """Return the causal mask that separates the documents of a row, and each token's position.

    Args:
        documents: as in ``TokenBatch``, int64 (R, L).

    Returns:
        The mask, bool (R, 1, L, L), True where a token attends; and the token's position in its
        document, int64 (R, L).

    Example:
        >>> mask, positions = attention_within(torch.tensor([[1, 1, 2, 2, 0]]))
        >>> mask[0, 0].int().tolist()
        [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]]
        >>> positions.tolist()
        [[0, 1, 0, 1, 0]]
    """
    length = documents.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=documents.device).tril()
    mask = causal & (documents[:, :, None] == documents[:, None, :])
    index = torch.arange(length, device=documents.device).expand_as(documents)
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return mask[:, None], index - torch.where(begins, index, 0).cummax(1).values
