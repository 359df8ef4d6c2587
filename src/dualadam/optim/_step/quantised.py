"""Moments in 8 bits: a short float for each number, and one exponent for a block of 64 numbers.

A block is stored as 65 bytes: e, the exponent of its offset c = 2^(e - 127), and then one code for
each number. The bits of a float32, read as an integer, are a logarithm in straight pieces. A code
is those of |x| + c, cut to f bits of mantissa and counted from those of c:

    code = (bits(|x| + c) - bits(c)) / 2^(23 - f),    |x| = float(bits(c) + 2^(23 - f) code) - c

Numbers below c have a spacing of c / 2^f, and those far above one of 1 / 2^f to 1 / 2^(f+1) of
their size. exp_avg has a bit for its sign and f = 3, exp_avg_sq f = 4, and both reach 2^16 c.
The largest number of a block chooses e and leaves a factor of 2 free, so that rounding up fits.
exp_avg_sq has no 0, whose root a step would divide by: its smallest code is 1.

c is a power of 2: another c moves the codes of large numbers, and rounds none of them anew. The
numbers of a block follow each other in the order of the parameter's indices.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 64  # numbers
BYTES = 1 + BLOCK  # of a block
OCTAVES = 14  # of the largest number of a block above c
CUT = {True: 20, False: 19}  # 23 - f, by whether the moment is signed
LEAST = 7  # e: c / 2^f, the smallest number above 0, is no subnormal, which a kernel takes for 0
INF = 0x7F800000  # bits of float32; those of nan are larger


def is_quantised(moment: Tensor) -> bool:
    """Whether a moment is stored in 8 bits."""
    return moment.dtype == torch.uint8


def num_bytes(numel: int) -> int:
    """Return the bytes of so many numbers in 8 bits; the last block may be shorter.

    Example:
        >>> [num_bytes(numel) for numel in (0, 1, 64, 65)]
        [0, 2, 65, 67]
    """
    return numel + -(-numel // BLOCK)


def num_elements(num_bytes: int) -> int:
    """Return the numbers that so many bytes hold.

    Example:
        >>> [num_elements(size) for size in (0, 2, 65, 67)]
        [0, 1, 64, 65]
    """
    return num_bytes - -(-num_bytes // BYTES)


def shape_of_moment(param: Tensor, dtype: torch.dtype) -> torch.Size:
    """Return the shape in which a moment of this dtype is stored."""
    return torch.Size([num_bytes(param.numel())]) if dtype == torch.uint8 else param.shape


def shape_in_words(moment: Tensor) -> str:
    """Return the shape of a moment, or its number of elements in 8 bits, as an error shows it.

    Example:
        >>> shape_in_words(torch.zeros(2, 3)), shape_in_words(quantised(torch.zeros(300), False))
        ('(2, 3)', '300 elements in 8 bits')
    """
    if not is_quantised(moment):
        return str(tuple(moment.shape))
    return f"{num_elements(moment.numel()):,} elements in 8 bits"


def part(moment: Tensor, first: int, size: int) -> Tensor:
    """Return a view of ``size`` numbers from number ``first`` on, a multiple of 64."""
    return moment[num_bytes(first) : num_bytes(first + size)]


def numbers_of(moment: Tensor, param: Tensor, signed: bool) -> Tensor:
    """Return a moment as numbers in the shape of its parameter; one that is not in 8 bits as is."""
    return dequantised(moment, signed).view(param.shape) if is_quantised(moment) else moment


def dequantised(moment: Tensor, signed: bool) -> Tensor:
    """Return the numbers that 8 bits stand for, in float32 and in a row.

    Example:
        >>> stored = quantised(torch.tensor([1.0, 0.5, 0.0, -3.0]), signed=True)
        >>> stored.tolist()
        [114, 104, 96, 0, 244]
        >>> dequantised(stored, signed=True)
        tensor([ 0.9999,  0.4999,  0.0000, -2.9999])
    """
    blocks = _in_rows(moment, BYTES)
    c, codes = blocks[:, :1].int() << 23, blocks[:, 1:].int()
    magnitudes = codes & 0x7F if signed else codes
    x = (magnitudes << CUT[signed]).add_(c).view(torch.float32).sub_(c.view(torch.float32))
    if signed:
        x.view(torch.int32).bitwise_or_(codes.bitwise_and_(0x80) << 24)
    numel = moment.numel() - len(blocks)
    # a copy, since a view would keep the padding of each small tensor
    return x.flatten() if x.numel() == numel else x.flatten()[:numel].clone()


def quantised(x: Tensor, signed: bool, hashes: Tensor | None = None) -> Tensor:
    """Return numbers in 8 bits, in the order of their indices.

    Args:
        x: the numbers, at least 0 unless ``signed``, in any shape. A block with an inf or nan
            becomes nan.
        signed: whether it is exp_avg.
        hashes: uniform int32, in the shape of x. A number is rounded to one of its two neighbours
            so that the mean is right: exp_avg by the upper bits of its hash, exp_avg_sq by the
            lower ones. None rounds to nearest.
    """
    cut = CUT[signed]
    blocks = _in_rows(x.float(), BLOCK)
    largest = blocks.abs().view(torch.int32).amax(1, keepdim=True)
    e = (largest >> 23).sub_(OCTAVES).clamp_(min=LEAST)
    bad = largest >= INF
    e.masked_fill_(bad, 255)  # c is inf, and inf - inf is nan
    c = e << 23
    codes = blocks.abs().add_(c.view(torch.float32)).view(torch.int32)
    if hashes is None:
        codes.add_(2 ** (cut - 1))
    else:
        noise = _in_rows(hashes >> (32 - cut) if signed else hashes, BLOCK)
        codes.add_(noise & 2**cut - 1)
    codes.sub_(c).bitwise_right_shift_(cut)
    if signed:
        codes.bitwise_or_(blocks.view(torch.int32) >> 24 & 0x80)
    else:
        codes.clamp_(min=1)
    codes.masked_fill_(bad, 0)
    stored = torch.cat([e.to(torch.uint8), codes.to(torch.uint8)], 1)
    return stored.flatten()[: num_bytes(x.numel())]


def _in_rows(values: Tensor, width: int) -> Tensor:
    """Return values in rows of this width, the last one filled up with 0."""
    flat = values.flatten()
    missing = -len(flat) % width
    return (torch.nn.functional.pad(flat, (0, missing)) if missing else flat).view(-1, width)
