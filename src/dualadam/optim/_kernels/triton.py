"""The compiled step on CUDA: tables of addresses on the device, and two launches for any number of tensors.

Nothing here waits for the device: step, learning rate, scale and found_inf are read where they lie. A step can be captured in a CUDA
graph. The code of both launches is triton_code.py; triton is imported when a CUDA tensor is stepped, not before.
"""

from __future__ import annotations

import functools
import importlib.util
import struct
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from functools import reduce
from itertools import chain
from operator import or_
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dualadam.optim._kernels import layout as _layout
from dualadam.optim._kernels.layout import DEVICE, DTYPE
from dualadam.optim._step.settings import StepSettings

STATE_DTYPES = dict.fromkeys(
    (torch.float32, torch.float16, torch.bfloat16), (torch.float32, torch.bfloat16)
)
STEP_DTYPES = (torch.float32,)
CHUNK, BLOCK, WARPS = (
    16_384,
    1_024,
    4,
)  # elements of a program and of its inner loop; benchmarks/cuda_kernel.py tries others
PREPARE_BLOCK, ROW = 128, 12  # ROW as in triton_code.py
MAX_TABLES = 64  # kept on the device: gradients that are freed at every step come back at few different addresses


class Table(NamedTuple):
    """Where the tensors lie, on the device."""

    addresses: Tensor  # int64 (num_tensors, 7): p, g, m, v, step, number of elements, place
    chunks: Tensor  # int32 (num_chunks, 2): tensor, chunk
    hosts: tuple[Tensor, ...]  # what a captured copy reads again at every replay


_tables: OrderedDict[tuple, Table] = OrderedDict()
_captured: list[Table] = []  # for the life of the process: a replay may come at any time


def unavailable() -> str | None:
    """Why no tensor can take this kernel; None if it is there."""
    if why_not := _layout.switched_off():
        return why_not
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed; it comes with torch's builds for CUDA on Linux"
    return None


def describe() -> str:
    """Say what the kernel runs on."""
    import triton

    return f"the Triton {triton.__version__} kernel, chunks of {CHUNK:,} elements"


def refuses(*row: Tensor) -> str | None:
    """Why (param, grad, exp_avg, exp_avg_sq, step) must not reach the kernel; None if they may."""
    return _layout.refuses(row, "cuda", STATE_DTYPES, STEP_DTYPES)


def takes_all(*columns: Sequence[Tensor]) -> bool:
    """Whether no tensor of these columns is refused and all are alike; False says nothing."""
    return _layout.takes_all(columns, "cuda", STATE_DTYPES, STEP_DTYPES)


def step_tensors(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    steps: Sequence[Tensor],
    places: Sequence[int],
    settings: StepSettings,
    grad_scale: Tensor | None,
    found_inf: Tensor | None,
) -> None:
    """Advance tensors that ``refuses`` let through; arguments as for ``update_fused``. Two launches a combination of dtypes."""
    import triton.language as tl

    from dualadam.optim._kernels import triton_code

    names = {torch.float32: tl.float32, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}
    torch.autograd.graph.increment_version([*params, *exp_avgs, *exp_avg_sqs, *steps])
    columns = (params, grads, exp_avgs, exp_avg_sqs, steps)
    addresses = [list(map(Tensor.data_ptr, column)) for column in columns]
    entries_of_all = list(zip(*addresses, map(Tensor.numel, params), places, strict=True))
    kinds = list(zip(map(DEVICE, params), map(DTYPE, params), map(DTYPE, exp_avgs), strict=True))
    groups: dict[tuple, list[tuple[int, ...]]] = defaultdict(list)
    if len(set(kinds)) == 1 and not reduce(or_, chain(*addresses[:4])) % 16:
        groups[*kinds[0], True] = entries_of_all
    else:
        for kind, entry in zip(kinds, entries_of_all, strict=True):
            groups[*kind, not reduce(or_, entry[:4]) % 16].append(entry)

    for (device, dtype, state_dtype, aligned), entries in groups.items():
        with torch.cuda.device(device) if device.type == "cuda" else torch.no_grad():
            table = find_table(tuple(entries), device)
            rows = torch.empty((len(entries), ROW), dtype=torch.float64, device=device)
            lr, beta1, beta2 = (number(x, device) for x in settings[:3])
            triton_code.prepare[(-(-len(entries) // PREPARE_BLOCK),)](
                table.addresses,
                rows,
                len(entries),
                lr,
                beta1,
                beta2,
                bits(settings.eps),
                bits(settings.weight_decay),
                bits(settings.switch_rate),
                bits(-1.0 if settings.maximize else 1.0),
                rows if grad_scale is None else grad_scale.to(device, non_blocking=True),
                rows if found_inf is None else found_inf.to(device, non_blocking=True),
                LR_ON_DEVICE=on_device(settings.lr),
                BETAS_ON_DEVICE=on_device(settings.beta1),
                HAS_SCALE=grad_scale is not None,
                HAS_FOUND_INF=found_inf is not None,
                BLOCK=PREPARE_BLOCK,
                enable_fp_fusion=False,
            )
            if num_chunks := len(table.chunks):
                triton_code.advance[(num_chunks,)](
                    table.addresses,
                    table.chunks,
                    rows,
                    PARAM=names[dtype],
                    STATE=names[state_dtype],
                    STOCHASTIC=settings.stochastic_rounding
                    and torch.bfloat16 in (dtype, state_dtype),
                    ALIGNED=aligned,
                    CHUNK=CHUNK,
                    BLOCK=BLOCK,
                    num_warps=WARPS,
                    enable_fp_fusion=False,  # multiply-adds are fused where the code says so, as in cpu.cpp
                )


def find_table(entries: tuple[tuple[int, ...], ...], device: torch.device) -> Table:
    """Return the table of these addresses on the device; one that is not there yet is copied without waiting.

    The key is all that a table holds, and the stream that its copy is ordered in. A captured step takes a table that an earlier step has
    brought, or records a copy whose source is kept for good.
    """
    if device.type != "cuda":
        return make_table(entries, device, pinned=False)
    capturing = torch.cuda.is_current_stream_capturing()
    key = (entries, device, CHUNK, torch.cuda.current_stream(device).cuda_stream)
    table = _tables.get(key)
    if capturing:
        table = (
            table
            or next((t for k, t in _tables.items() if k[:3] == key[:3]), None)
            or make_table(entries, device, pinned=False)
        )
        _captured.append(table)
        return table
    if table is None:
        # pinned memory is reused by torch only after the copy; the device's only in the order of this stream
        table = _tables[key] = make_table(entries, device, pinned=True)
    _tables.move_to_end(key)
    if len(_tables) > MAX_TABLES:
        _tables.popitem(last=False)
    return table


def make_table(entries: tuple[tuple[int, ...], ...], device: torch.device, pinned: bool) -> Table:
    """Copy addresses and chunks to the device."""
    addresses = torch.tensor(entries, dtype=torch.int64)
    numbers = [-(-entry[5] // CHUNK) for entry in entries]
    counts = torch.tensor(numbers)
    tensors = torch.repeat_interleave(torch.arange(len(entries)), counts)
    chunks = torch.arange(len(tensors)) - (counts.cumsum(0) - counts)[tensors]
    table = torch.stack([tensors, chunks], 1).int()
    if pinned:
        return Table(
            addresses.pin_memory().to(device, non_blocking=True),
            table.pin_memory().to(device, non_blocking=True),
            (),
        )
    return Table(
        addresses.to(device, non_blocking=True),
        table.to(device, non_blocking=True),
        (addresses, table),
    )


@functools.lru_cache(maxsize=256)  # a schedule brings a new number at every step
def bits(x: float) -> int:
    """Return the bits of a float64 as a signed integer: Triton would narrow the number itself to float32."""
    return int(struct.unpack("<q", struct.pack("<d", x))[0])


def on_device(x: Any) -> bool:
    """Whether the kernel reads this number from the device."""
    return isinstance(x, Tensor) and x.device.type != "cpu"


def number(x: float | Tensor, device: torch.device) -> Tensor | int:
    """Return what the kernel takes for a number: a tensor on its device, or bits."""
    return (
        x.to(device, non_blocking=True)
        if isinstance(x, Tensor) and on_device(x)
        else bits(float(x))
    )
