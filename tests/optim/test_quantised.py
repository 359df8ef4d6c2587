"""Moments in 8 bits: the code itself. Its mean is right, and no root of 0 arises."""

from __future__ import annotations

import pytest
import torch
from cases import randn
from torch import Tensor

from dualadam import DualAdam, moments_of
from dualadam.optim._step.columns import TensorRow
from dualadam.optim._step.quantised import (
    BLOCK,
    BYTES,
    CUT,
    dequantised,
    num_bytes,
    part,
    quantised,
)
from dualadam.optim._step.rounding import PARAM_MULTIPLIER, noise_key
from dualadam.optim._step.rounding import hashes_of as hashes_of_row

signs = pytest.mark.parametrize("signed", [True, False])
IN_8_BITS = {"state_dtype": torch.uint8, "stochastic_rounding": True}
SIZES = (0, 1, 63, 64, 65, 1000)
MANTISSA = {True: 3, False: 4}  # bits


def numbers(size: int, signed: bool, spread: float = 3.0) -> Tensor:
    """Return numbers over many orders of magnitude."""
    x = randn(size) * torch.exp(spread * randn(size, seed=1))
    return x if signed else x.square()


def hashes_of(noise: Tensor, signed: bool) -> Tensor:
    """Return hashes with these 16 bits on top of those that round a number."""
    cut = CUT[signed]
    bits = (noise << (cut - 16)) + (1 << (cut - 17))
    return (bits << (32 - cut) if signed else bits).int()


def every_noise() -> Tensor:
    return torch.arange(2**16)


@signs
@pytest.mark.parametrize("size", SIZES)
def test_65_bytes_hold_64_numbers_and_the_last_block_is_shorter(size: int, signed: bool):
    stored = quantised(numbers(size, signed), signed)
    assert stored.shape == (num_bytes(size),) == (size + (size + 63) // 64,)
    assert dequantised(stored, signed).shape == (size,)


@signs
def test_a_number_is_rounded_to_the_nearest_within_half_a_spacing(signed: bool):
    x = numbers(6400, signed)
    back = dequantised(quantised(x, signed), signed)
    # the offset is at least 2^-15 of the largest number, which has the exponent 0
    offset = torch.exp2(x.view(-1, 64).abs().amax(1, keepdim=True).log2().floor() - 14)
    spacing = (x.abs().view(-1, 64) + offset) * 2.0 ** -MANTISSA[signed]
    above_0 = x.view(-1, 64).abs() > (0 if signed else spacing / 2)
    assert ((back - x).abs().view(-1, 64) <= spacing / 2)[above_0].all()
    assert torch.equal(back.sign(), x.sign() * (back != 0))


@signs
@pytest.mark.parametrize("x", [1.0, 0.77, 3e-3, 1e-5, 0.0])
def test_the_mean_over_all_noise_is_the_number_itself(signed: bool, x: float):
    """65,536 values of the noise lie evenly among all, and so there is nothing random here."""
    values = torch.full((2**16, 64), x)
    values[:, 1] = 1.5  # sets the offset of every block
    noise = every_noise()[:, None].expand(-1, 64)
    hashes = hashes_of(noise, signed)
    back = dequantised(quantised(values, signed, hashes), signed).view(-1, 64)[:, 0].double()
    spacing = (x + 2.0**-14) * 2.0 ** -MANTISSA[signed]
    expected = x if x or signed else 2.0**-14 * 2.0 ** -MANTISSA[signed]
    assert abs(back.mean() - expected) <= 2 * 2**-16 * spacing
    assert back.unique().numel() <= 2


@signs
def test_a_number_that_8_bits_hold_is_rounded_by_no_noise(signed: bool):
    x = numbers(64, signed).clamp(-1, 1)
    x[0] = 1.25  # keeps the exponent of the block
    held = dequantised(quantised(x, signed), signed)
    for noise in (0, 1, 2**15, 2**16 - 1):
        stored = quantised(held, signed, hashes_of(torch.full((64,), noise), signed))
        assert torch.equal(dequantised(stored, signed), held)


def test_no_second_moment_is_0_after_a_step():
    x = torch.tensor([1.0, 0.0, 1e-7, 1e-20, 1e-38])
    back = dequantised(quantised(x, False, hashes_of(torch.zeros(5).long(), False)), False)
    smallest = 2.0**-14 / 2 ** MANTISSA[False]
    assert back[1:].tolist() == [smallest] * 4
    alone = dequantised(quantised(torch.zeros(64), False), False)
    assert alone.unique().tolist() == [2.0**-124]  # no subnormal, which a kernel takes for 0
    assert dequantised(torch.zeros(65, dtype=torch.uint8), False).unique().tolist() == [0.0]


@signs
@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
def test_a_block_with_an_inf_or_nan_becomes_nan_and_its_neighbours_do_not(signed: bool, bad: float):
    x = numbers(192, signed)
    x[100] = bad
    nan = (
        dequantised(quantised(x, signed, hashes_of(every_noise()[-192:], signed)), signed)
        .isnan()
        .view(3, 64)
    )
    assert nan.all(1).tolist() == [False, True, False]
    assert nan.any(1).tolist() == [False, True, False]


@signs
def test_a_part_is_a_view_of_its_blocks(signed: bool):
    x = numbers(1000, signed)
    stored = quantised(x, signed)
    for first, size in ((0, 64), (128, 256), (960, 64)):
        blocks = part(stored, first, size)
        assert torch.equal(blocks, quantised(x[first : first + size], signed))
        assert blocks.untyped_storage()._cdata == stored.untyped_storage()._cdata


@pytest.mark.parametrize("stochastic", [False, True])
def test_rounded_to_nearest_a_second_moment_would_stall_and_stochastically_it_does_not(
    stochastic: bool,
):
    """It decays by 0.1 % a step, which is below half a spacing of 1/16."""
    x = torch.ones(64 * 300)
    for step in range(300):
        generator = torch.Generator().manual_seed(step)
        hashes = torch.randint(2**31, x.shape, generator=generator).int()
        x = dequantised(quantised(0.999 * x, False, hashes if stochastic else None), False)
    # one number spreads by less than sqrt(300 x 1e-3 / 16) = 0.14 and the mean of 19,200 by 1e-3
    expected = 0.999**300 if stochastic else 1.0
    assert x.mean().item() == pytest.approx(expected, abs=5e-3)


def test_the_mean_of_a_trained_second_moment_is_that_of_float32_and_its_spread_is_15_percent():
    """On gradients whose sizes differ by a factor of some hundred in a block."""
    size = 64 * 50
    scale = torch.exp(randn(size, seed=1))
    params = [torch.zeros(size, requires_grad=True) for _ in range(2)]
    optimizers = [DualAdam(params[:1], **IN_8_BITS), DualAdam(params[1:])]
    for step in range(1500):
        for param, optimizer in zip(params, optimizers, strict=True):
            param.grad = scale * randn(size, seed=100 + step % 97)
            optimizer.step()
    states = [o.state[p] for p, o in zip(params, optimizers, strict=True)]
    small, full = (moments_of(s, p).exp_avg_sq for s, p in zip(states, params, strict=True))
    ratio = small / full
    # the standard error of the mean is 0.15 / sqrt(3200) = 0.0027
    assert ratio.mean().item() == pytest.approx(1, abs=0.015)
    assert 0.10 < ratio.std().item() < 0.20


@pytest.mark.parametrize("quiet", [0, 1, 10, 1000])
def test_no_step_explodes_where_gradients_of_one_block_differ_by_many_orders(quiet: int):
    """|mh| / r is at most 1 in the first step; here also where r lies below what 8 bits resolve."""
    size = 640
    param = torch.zeros(size, requires_grad=True)
    optimizer = DualAdam([param], lr=1.0, switch_rate=1.0, eps=0.0, **IN_8_BITS)
    scale = torch.exp2(-torch.arange(size).remainder(64).float())
    for step in range(quiet + 1):
        param.grad = scale * randn(size, seed=step) * (1.0 if step in (0, quiet) else 0.0)
        before = param.detach().clone()
        optimizer.step()
        assert (param.detach() - before).abs().max() < 8


def test_the_noise_of_a_block_comes_from_one_hash_and_any_two_of_its_parts_are_independent():
    """Signs of rounding at a fraction of one half, over all places of many blocks."""
    num_blocks = 20_000
    moment = torch.zeros(num_blocks * BYTES, dtype=torch.uint8)
    param = torch.zeros(num_blocks * BLOCK)
    row = TensorRow(param, param, moment, moment, torch.tensor(1.0), place=0)
    key = noise_key(row)
    assert key is not None
    hashes = hashes_of_row(row, key, 0)
    parts = (hashes, hashes << 13, hashes * PARAM_MULTIPLIER)  # exp_avg, exp_avg_sq, param
    m, v, p = (torch.where(part < 0, 1.0, -1.0).view(-1, BLOCK) for part in parts)
    five_sigma = 5 / param.numel() ** 0.5
    for signs_of_part in (m, v, p):
        assert signs_of_part.mean().abs() < five_sigma
        for distance in (1, 2, 32):
            neighbours = signs_of_part[:, distance:] * signs_of_part[:, :-distance]
            assert neighbours.mean().abs() < 2 * five_sigma
        assert (signs_of_part[1:] * signs_of_part[:-1]).mean().abs() < five_sigma
    for a, b in ((m, v), (m, p), (v, p)):
        assert (a * b).mean().abs() < five_sigma


def test_the_cut_leaves_the_bits_that_the_module_says():
    assert {signed: 23 - cut for signed, cut in CUT.items()} == MANTISSA
