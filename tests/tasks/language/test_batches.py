"""Batches of similar lengths, in the generator's order, with every token once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from language_cases import random_sequences

from dualadam.tasks.language.batches import IGNORED, attention_within, grouped_batches, lay_out
from dualadam.tasks.language.sequences import Sequences


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("group", [1, 3, 50])
@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_an_epoch_has_full_batches_of_distinct_examples_in_the_generators_order(group, batch_size):
    lengths = np.random.default_rng(0).integers(1, 40, 103)
    one, again, other = (
        list(grouped_batches(lengths, batch_size, seeded(seed), group)) for seed in (0, 0, 1)
    )
    assert [len(batch) for batch in one] == [batch_size] * (103 // batch_size)
    assert len({k for batch in one for k in batch}) == 103 // batch_size * batch_size
    assert one == again != other


def test_grouping_saves_padding_and_leaves_out_long_examples_as_often_as_short_ones():
    lengths = np.random.default_rng(0).integers(1, 200, 1030)

    def filled(group):
        return sum(
            lengths[b].max() * len(b) - lengths[b].sum()
            for b in grouped_batches(lengths, 16, seeded(), group)
        )

    assert filled(50) < 0.2 * filled(1)
    left_out = []
    for seed in range(60):
        seen = {k for batch in grouped_batches(lengths, 16, seeded(seed)) for k in batch}
        left_out += [lengths[k] for k in range(1030) if k not in seen]
    # 360 draws from a uniform distribution of standard deviation 58: in all but one case in 10^4
    # the mean is within 3.9 * 58 / sqrt(360) = 12
    assert abs(np.mean(left_out) - lengths.mean()) < 12


@pytest.mark.parametrize("row_length", [None, 14, 30])
def test_rows_hold_every_token_once_with_its_target(row_length):
    sequences = random_sequences(17)
    tokens, documents, targets = lay_out(sequences, range(17), pad_token=0, row_length=row_length)
    found = []
    for row in range(len(tokens)):
        for number in range(1, int(documents[row].max()) + 1):
            here = documents[row] == number
            found.append((tokens[row][here].tolist(), targets[row][here].tolist()))
    heads = sequences.prompts
    expected = [
        (s.tolist(), [IGNORED] * int(h) + s[h:].tolist())
        for s, h in ((sequences[k], heads[k]) for k in range(17))
    ]
    assert sorted(found) == sorted(expected)
    assert (targets[documents == 0] == IGNORED).all()
    # first fit wastes less than half of the rows
    assert len(tokens) == 17 if row_length is None else len(tokens) <= 17 * 8 / row_length * 2
    assert tokens.shape[1] <= (row_length or 14)


def test_a_sequence_longer_than_a_row_has_one_of_its_own_length():
    sequences = Sequences.of([[1] * 9, [2] * 3, [3] * 2], [1, 1, 1], 64)
    tokens, documents, _ = lay_out(sequences, [0, 1, 2], pad_token=0, row_length=6)
    assert documents.tolist() == [[1] * 9, [1, 1, 1, 2, 2, 0, 0, 0, 0]]
    assert tokens[1].tolist() == [2, 2, 2, 3, 3, 0, 0, 0, 0]


def test_no_token_attends_to_another_document_or_to_a_later_token_and_each_attends_to_itself():
    documents = lay_out(random_sequences(12), range(12), pad_token=0, row_length=30).documents
    mask, places = attention_within(documents)
    for r, q, k in mask[:, 0].nonzero().tolist():
        assert documents[r, q] == documents[r, k]
        assert k <= q
    assert mask.diagonal(dim1=2, dim2=3).all()
    for row, place in zip(documents, places, strict=True):
        for number in row.unique():
            assert place[row == number].tolist() == list(range(int((row == number).sum())))
