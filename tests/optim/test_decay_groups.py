"""decay_groups on the shapes of models that people train: a ResNet, a ViT, tied embeddings."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dualadam import DualAdam, decay_groups


class ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = (
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.conv2, self.bn2 = (
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.block = ResidualBlock(8)
        self.downsample = nn.Conv2d(
            8, 1, 1
        )  # a first dimension of 1 does not make a weight a token
        self.fc = nn.Linear(8, 10)


class ViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.class_token = nn.Parameter(torch.zeros(1, 1, 16))
        self.pos_embedding = nn.Parameter(torch.zeros(1, 65, 16))
        self.blocks = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 1, enable_nested_tensor=False
        )
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 10)


class TiedLanguageModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(
            8, 30, bias=False
        )  # registered before the embedding that shares its weight
        self.embedding = nn.Embedding(30, 8)
        self.embedding.weight = self.head.weight
        self.norm = nn.RMSNorm(8)
        self.mix = nn.Linear(8, 8)


EXPECTED = [
    (
        ResNet,
        {
            "stem.0.weight",
            "block.conv1.weight",
            "block.conv2.weight",
            "downsample.weight",
            "fc.weight",
        },
    ),
    (
        ViT,
        {"patches.weight", "head.weight"}
        | {
            f"blocks.layers.0.{n}"
            for n in (
                "self_attn.in_proj_weight",
                "self_attn.out_proj.weight",
                "linear1.weight",
                "linear2.weight",
            )
        },
    ),
    (TiedLanguageModel, {"mix.weight"}),
    (
        lambda: nn.LSTM(4, 1, num_layers=2),
        {"weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1"},
    ),
]


@pytest.mark.parametrize(("make", "decaying"), EXPECTED, ids=["ResNet", "ViT", "tied", "LSTM"])
def test_only_the_weights_of_linear_maps_decay_and_every_parameter_is_in_one_group(make, decaying):
    model = make()
    decay, rest = decay_groups(model, weight_decay=0.1)
    assert set(decay["names"]) == decaying
    assert (decay["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
    named = dict(model.named_parameters())
    assert sorted(decay["names"] + rest["names"]) == sorted(named)
    for group in (decay, rest):
        assert all(
            named[name] is param
            for name, param in zip(group["names"], group["params"], strict=True)
        )


def test_the_summary_names_every_parameter_with_the_reason_and_counts_them():
    text = str(decay_groups(ViT(), weight_decay=0.1))
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines()}
    assert lines["pos_embedding"] == lines["class_token"] == "learned token or position"
    assert lines["norm.bias"] == "norm"
    assert lines["head.bias"] == "bias or scale"
    assert lines["head.weight"] == "Linear"
    decaying = 16 * 48 + 160 + 48 * 16 + 16 * 16 + 2 * 16 * 32
    assert text.startswith(f"weight_decay 0.1: 6 tensors, {decaying:,} parameters")


def test_an_optimizer_takes_the_groups_and_only_the_first_decays():
    model = TiedLanguageModel()
    optimizer = DualAdam(decay_groups(model, weight_decay=0.5), lr=0.1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for param in model.parameters():
        param.grad = torch.zeros_like(param)
    optimizer.step()
    for name, param in model.named_parameters():
        factor = 1 - 0.1 * 0.5 if name == "mix.weight" else 1.0
        assert torch.equal(param.detach(), before[name] * factor), name


def test_frozen_parameters_are_left_out():
    model = ResNet().requires_grad_(False)
    model.fc.requires_grad_(True)
    assert [group["names"] for group in decay_groups(model, 0.1)] == [["fc.weight"], ["fc.bias"]]


def test_a_model_with_nothing_to_train_is_refused():
    with pytest.raises(
        ValueError, match="No parameter of the model needs a gradient; unfreeze some"
    ):
        decay_groups(ResNet().requires_grad_(False), 0.1)


@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan])
def test_a_decay_out_of_range_is_refused(value: float):
    with pytest.raises(ValueError, match="Invalid weight_decay value"):
        decay_groups(ResNet(), value)
