"""Crops, flips and stratified choices do what they say, and follow their generator alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dualadam.tasks.images.augment import crop_and_flip
from dualadam.tasks.splits import stratified_indices, stratified_split


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_every_image_is_a_window_of_its_padded_self_or_the_mirror_image_of_one(dtype):
    images = torch.randint(1, 256, (40, 3, 6, 6), generator=seeded()).to(dtype)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    seen = set()
    for image, big in zip(crop_and_flip(images, seeded(1), padding=2), padded, strict=True):
        windows = {
            (top, left, flip): big[:, top : top + 6, left : left + 6]
            for top in range(5)
            for left in range(5)
            for flip in (False, True)
        }
        matches = [
            place
            for place, window in windows.items()
            if torch.equal(window.flip(2) if place[2] else window, image)
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert {place[2] for place in seen} == {False, True}
    assert (
        {place[0] for place in seen} == {place[1] for place in seen} == set(range(5))
    )  # all offsets occur among 40 (this seed)


def test_without_flip_no_image_is_mirrored():
    ramp = torch.arange(1, 9, dtype=torch.uint8).expand(50, 1, 8, 8)
    assert crop_and_flip(ramp, seeded(), padding=0, flip=False).equal(ramp)
    assert not crop_and_flip(ramp, seeded(), padding=0).equal(ramp)


def test_one_seed_gives_one_augmentation_and_the_global_generator_stays_untouched():
    images, before = torch.arange(2 * 3 * 64).reshape(2, 3, 8, 8), torch.get_rng_state()
    assert crop_and_flip(images, seeded(5)).equal(crop_and_flip(images, seeded(5)))
    assert torch.get_rng_state().equal(before)


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
            lambda: crop_and_flip(torch.zeros(3, 8, 8), seeded()),
            r"images must have shape \(N, C, H, W\), got \(3, 8, 8\)",
        ),
        (
            lambda: crop_and_flip(torch.zeros(1, 3, 8, 8), seeded(), padding=-1),
            "padding must be >= 0, got -1",
        ),
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
