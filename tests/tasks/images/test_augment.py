"""Crops and flips follow their generator alone."""

from __future__ import annotations

import pytest
import torch
from image_layouts import seeded

from dualadam.tasks.images.augment import crop_and_flip


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
    ],
)
def test_arguments_out_of_range_are_refused_with_their_range(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
