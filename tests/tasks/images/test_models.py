"""The image classifiers have the published sizes, take every image size they promise, and learn."""

from __future__ import annotations

import re

import pytest
import torch

from dualadam.tasks.images.models import MODELS

# name, (classes, channels, size), parameters by the published definition
# small-cnn by hand: 864 + 64 + 18,432 + 128 + 73,728 + 256 + 1,290
PUBLISHED = [
    ("small-cnn", (10, 3, 32), 94_762),
    ("resnet18", (10, 3, 32), 11_173_962),
    ("resnet50", (10, 3, 32), 23_520_842),
    ("vgg16-bn", (10, 3, 32), 14_728_266),
    ("vit", (10, 3, 32), 14_244_490),
    ("resnet18", (1000, 3, 224), 11_689_512),
    ("resnet50", (1000, 3, 224), 25_557_032),
]


@pytest.mark.parametrize(("name", "arguments", "expected"), PUBLISHED)
def test_parameter_count_is_the_published_one(name, arguments, expected):
    assert sum(p.numel() for p in MODELS[name](*arguments).parameters()) == expected


@pytest.mark.parametrize("channels_and_size", [(1, 8), (1, 28), (3, 32), (3, 64)])
@pytest.mark.parametrize("name", MODELS)
def test_one_image_size_after_another_gives_one_logit_a_class_and_a_gradient_everywhere(
    name, channels_and_size
):
    channels, size = channels_and_size
    model = MODELS[name](7, channels, size)
    logits = model(torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0)))
    assert logits.shape == (2, 7)
    torch.nn.functional.cross_entropy(logits, torch.tensor([1, 5])).backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_large_images_take_the_imagenet_stem(name):
    with torch.no_grad():
        assert MODELS[name](3, 3, 96)(torch.zeros(1, 3, 96, 96)).shape == (1, 3)


@pytest.mark.parametrize("name", MODELS)
def test_one_seed_gives_one_model(name):
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(MODELS[name](10, 1, 8).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("name", MODELS)
def test_five_steps_lower_the_loss_of_eight_images(name):
    torch.manual_seed(0)
    model = MODELS[name](4, 1, 8)
    images, labels = torch.randn(8, 1, 8, 8), torch.arange(8) % 4
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_vision_transformer_blocks_start_different_from_one_another():
    first, second, *_ = MODELS["vit"](10, 3, 32).blocks
    assert not torch.equal(first.linear1.weight, second.linear1.weight)


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("vit", (10, 3, 30), "image_size must be a multiple of the patch side 4 for vit, got 30."),
        ("vit", (10, 3, 36), "image_size must be a multiple of the patch side 8 for vit, got 36."),
        ("vit", (10, 3, 72), "image_size must be a multiple of the patch side 16 for vit, got 72."),
        ("small-cnn", (10, 3, 4), "image_size must be an integer >= 8, got 4."),
        ("resnet18", (0, 3, 32), "num_classes must be an integer >= 1, got 0."),
        ("vgg16-bn", (10, 0, 32), "in_channels must be an integer >= 1, got 0."),
    ],
)
def test_a_shape_no_model_can_have_is_refused_with_its_range(name, arguments, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        MODELS[name](*arguments)
