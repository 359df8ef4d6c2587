"""Token sequences: batches of like lengths in the generator's order, rows with nothing lost, a cache that is whole or made again."""

import numpy as np
import pytest
import torch
from language_cases import drawn_sequences

from dualadam.tasks.language.batches import IGNORED, attention_within, grouped_batches, lay_out
from dualadam.tasks.language.sequences import Sequences
from dualadam.tasks.language.token_cache import cached_sequences


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


def test_grouping_leaves_less_to_fill_up_and_lets_long_examples_wait_for_the_next_epoch_as_often_as_short_ones():
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
    # 360 draws from a uniform distribution of standard deviation 58: the mean of all but one in 10^4 lies within 3.9 * 58 / sqrt(360) = 12
    assert abs(np.mean(left_out) - lengths.mean()) < 12


@pytest.mark.parametrize("row_length", [None, 14, 30])
def test_rows_hold_every_token_once_with_its_target(row_length):
    sequences = drawn_sequences(17)
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
    assert (
        len(tokens) == 17 if row_length is None else len(tokens) <= 17 * 8 / row_length * 2
    )  # first fit wastes less than half of it
    assert tokens.shape[1] <= (row_length or 14)


def test_a_sequence_longer_than_a_row_has_one_of_its_own_length():
    sequences = Sequences.of([[1] * 9, [2] * 3, [3] * 2], [1, 1, 1], 64)
    tokens, documents, _ = lay_out(sequences, [0, 1, 2], pad_token=0, row_length=6)
    assert documents.tolist() == [[1] * 9, [1, 1, 1, 2, 2, 0, 0, 0, 0]]
    assert tokens[1].tolist() == [2, 2, 2, 3, 3, 0, 0, 0, 0]


def test_no_token_attends_to_another_document_or_to_a_later_token_and_each_attends_to_itself():
    documents = lay_out(drawn_sequences(12), range(12), pad_token=0, row_length=30).documents
    mask, places = attention_within(documents)
    for r, q, k in mask[:, 0].nonzero().tolist():
        assert documents[r, q] == documents[r, k]
        assert k <= q
    assert mask.diagonal(dim1=2, dim2=3).all()
    for row, place in zip(documents, places, strict=True):
        for number in row.unique():
            assert place[row == number].tolist() == list(range(int((row == number).sum())))


def test_tokens_are_made_once_per_key_and_come_back_as_they_were(tmp_path):
    calls = []

    def make():
        calls.append(1)
        return drawn_sequences(5)

    first, second = (
        cached_sequences(tmp_path, ["a", 1], make),
        cached_sequences(tmp_path, ["a", 1], make),
    )
    assert len(calls) == 1
    assert [second[k].tolist() for k in range(5)] == [first[k].tolist() for k in range(5)]
    assert (second.prompts.tolist(), second.num_truncated) == (
        first.prompts.tolist(),
        first.num_truncated,
    )
    cached_sequences(tmp_path, ["a", 2], make)
    assert len(calls) == 2
    assert sorted(f.suffix for f in (tmp_path / "tokens").iterdir()) == [
        ".npz",
        ".npz",
    ]  # nothing half-written is left


@pytest.mark.parametrize("keep", [0, 10, 400])
def test_a_damaged_file_is_made_again(tmp_path, keep):
    make = lambda: drawn_sequences(5)  # noqa: E731
    first = cached_sequences(tmp_path, ["a"], make)
    (file,) = (tmp_path / "tokens").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:keep])
    assert cached_sequences(tmp_path, ["a"], make).tokens.tolist() == first.tokens.tolist()
    assert file.stat().st_size == len(whole)
