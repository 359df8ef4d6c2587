"""Image files become squares of bytes, whatever thread decodes them."""

from __future__ import annotations

import image_layouts as layouts
import numpy as np
import pytest
import torch
from image_layouts import cut, read_images
from PIL import Image

from dualadam.tasks.images.decode import decode, decoded_batches


def test_an_image_of_the_right_size_is_decoded_to_its_own_pixels(tmp_path):
    layouts.write_image(tmp_path / "a.png", seed=1)
    expected = np.asarray(Image.open(tmp_path / "a.png")).transpose(2, 0, 1)
    assert (decode(tmp_path / "a.png", 64).numpy() == expected).all()


@pytest.mark.parametrize(
    ("size", "block", "suffix"),
    [
        ((320, 256), 8, "png"),
        ((256, 320), 8, "jpg"),
        ((2560, 1920), 320, "jpg"),
        ((40, 56), 8, "png"),
    ],
)
def test_the_middle_of_an_image_is_what_scaling_and_cropping_give(tmp_path, size, block, suffix):
    file = tmp_path / f"a.{suffix}"
    layouts.write_image(file, seed=2, size=size, block=block)
    image = Image.open(file).convert("RGB")
    scale = 256 / min(image.size)
    scaled = image.resize([round(scale * side) for side in image.size], Image.Resampling.BILINEAR)
    left, top = (scaled.width - 224) / 2, (scaled.height - 224) / 2
    expected = np.asarray(scaled.crop((left, top, left + 224, top + 224)), dtype=float)
    found = decode(file, 224).permute(1, 2, 0).numpy().astype(float)
    # two roundings, and the large JPEG is decoded at a fraction of its size; the contrast is 85
    assert np.abs(found - expected).mean() < 4


def test_a_random_part_has_its_draws_place_and_the_number_of_threads_changes_nothing(tmp_path):
    data = read_images(layouts.imagenet(tmp_path / "set"), "imagenet")
    batches = [
        torch.tensor([3, 0, 7]),
        torch.tensor([11, 1, 2]),
        torch.tensor([4]),
        torch.tensor([5, 6]),
    ]

    def run(num_workers, seed):
        return list(
            decoded_batches(
                data.train_files, batches, 32, num_workers, torch.Generator().manual_seed(seed)
            )
        )

    one, many, other = run(1, 0), run(4, 0), run(4, 1)
    assert [indices.tolist() for indices, _ in many] == [batch.tolist() for batch in batches]
    assert all(a.equal(b) for (_, a), (_, b) in zip(one, many, strict=True))
    assert not one[0][1].equal(other[0][1])
    # all the area, square, top left
    whole = decode(data.train_files[0], 32, torch.tensor([0.999999, 0.5, 0.0, 0.0]))
    assert whole.shape == (3, 32, 32)


@pytest.mark.parametrize("seed", range(20))
def test_any_draws_give_a_part_inside_the_image(tmp_path, seed):
    layouts.write_image(tmp_path / "a.jpg", seed=seed, size=(8 * (seed + 1), 160))
    assert decode(
        tmp_path / "a.jpg", 48, torch.rand(4, generator=torch.Generator().manual_seed(seed))
    ).shape == (3, 48, 48)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_image_is_named_from_whichever_thread_reads_it(tmp_path, suffix):
    files = [tmp_path / f"{k}.{suffix}" for k in range(4)]
    for k, file in enumerate(files):
        layouts.write_image(file, seed=k, size=(128, 128))
    cut(files[2], keep=0.5)
    with pytest.raises(
        ValueError,
        match=f"2.{suffix} must be a whole file of the data set, got an image that Pillow cannot",
    ):
        list(decoded_batches(files, [torch.arange(4)], 64, num_workers=2))
