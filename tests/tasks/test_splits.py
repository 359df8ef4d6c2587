"""Stratified choices have the asked size and follow their generator alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dualadam.tasks.splits import stratified_indices, stratified_split


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_a_stratified_choice_has_the_asked_size_and_every_class_within_one_of_its_share(
    counts, share, seed
):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=seeded(seed))]
    count = round(share * len(labels))
    chosen = stratified_indices(labels, count, seeded(seed))
    assert len(chosen) == count == len(chosen.unique())
    for found, there in zip(
        labels[chosen].bincount(minlength=len(counts)).tolist(), counts, strict=True
    ):
        assert abs(found - count * there / len(labels)) < 1


@given(held_out=st.integers(0, 20), seed=st.integers(0, 99))
def test_the_two_parts_of_a_split_are_all_examples_once(held_out, seed):
    kept, chosen = stratified_split(torch.arange(20) % 3, held_out, seeded(seed))
    assert len(chosen) == held_out
    assert torch.cat([kept, chosen]).sort().values.equal(torch.arange(20))


def test_the_generator_decides_which_examples_are_chosen():
    labels = torch.arange(1000) % 10
    first, again, other = (stratified_indices(labels, 100, seeded(seed)) for seed in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(other)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: stratified_indices(torch.zeros(5), 6, seeded()),
            "count must be from 0 to the number of examples, 5, got 6",
        ),
        (
            lambda: stratified_split(torch.zeros(5), -1, seeded()),
            "count must be from 0 to the number of examples, 5, got -1",
        ),
    ],
)
def test_arguments_out_of_range_are_refused_with_their_range(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
