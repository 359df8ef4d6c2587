"""The compiled step on CUDA: tables of addresses on the device, and two launches per step.

Nothing here waits for the device: step, learning rate, scale and found_inf are read where they
lie, so a step can be captured in a CUDA graph. triton_code.py holds the code of both launches;
triton is imported when a CUDA tensor is stepped, not before.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import struct
import threading
from array import array
from collections import OrderedDict, defaultdict
from operator import or_
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dualadam.optim._kernels import layout
from dualadam.optim._kernels.tables import NUM_TENSORS, Tables, tables_if_alike, tables_of
from dualadam.optim._step.columns import Columns, TensorRow, tell_autograd
from dualadam.optim._step.rounding import ROUNDED
from dualadam.optim._step.settings import StepSettings

STATE_DTYPES = dict.fromkeys(
    (torch.float32, torch.float16, torch.bfloat16), (torch.float32, torch.bfloat16, torch.uint8)
)
ACCEPTS = layout.Accepts("cuda", STATE_DTYPES, (torch.float32, torch.float64))
PREPARE_BLOCK = 128
ROW, COLUMNS = 11, 7  # as in triton_code.py
MAX_TABLES = 64  # kept: gradients that are freed at every step return at few different addresses


class Tuning(NamedTuple):
    """Elements of a program and of its inner loop, and its warps."""

    chunk: int
    block: int
    warps: int


# by the dtype of the state: the fastest that benchmarks/cuda_kernel.py found on an H100
TUNING = {
    torch.float32: Tuning(16_384, 2_048, 8),
    torch.bfloat16: Tuning(16_384, 2_048, 8),
    torch.uint8: Tuning(16_384, 512, 4),  # multiples of a block of 64
}


class Table(NamedTuple):
    """Addresses in memory of the device, and the chunks of the tensors."""

    addresses: Tensor  # int64 (num_tensors, 7): of p, g, m, v and step, number of elements, place
    chunks: Tensor  # int32 (num_chunks, 2): tensor, chunk
    hosts: tuple[Tensor, ...]  # what a captured copy reads again at every replay
    shared: bool  # two parameters share memory


class Launch(NamedTuple):
    """What the tensors of one launch have in common."""

    device: torch.device
    param_dtype: torch.dtype
    state_dtype: torch.dtype
    step_dtype: torch.dtype
    aligned: bool  # to 16 bytes


_tables: OrderedDict[tuple, Table] = OrderedDict()
_lock = threading.Lock()  # of the tables: optimizers may step in several threads
_captured: list[Table] = []  # for the life of the process: a replay may come at any time


def unavailable() -> str | None:
    """Return why no tensor can take this kernel, or None if it can be used."""
    if why_not := layout.switched_off():
        return why_not
    if not is_installed():
        return "Triton is not installed; it comes with torch's builds for CUDA on Linux"
    return None


@functools.cache
def is_installed() -> bool:
    """Whether there is a Triton. To look for it takes longer than a small step."""
    return importlib.util.find_spec("triton") is not None


def describe() -> str:
    """Say what the kernel runs on."""
    import triton

    chunk = TUNING[torch.float32].chunk
    return f"the Triton {triton.__version__} kernel, chunks of {chunk:,} elements"


def refuses(row: TensorRow) -> str | None:
    """Return why a row must not reach the kernel, or None if it may."""
    return layout.refuses(row, ACCEPTS)


def step_if_alike(columns: Columns, settings: StepSettings) -> bool:
    """Advance all tensors if they are alike and none is refused; False: nothing changed."""
    tables = tables_if_alike(columns, ACCEPTS)
    if tables is None:
        return False
    if tables.aligned:
        tell_autograd(columns)
        param, exp_avg, step = columns.params[0], columns.exp_avgs[0], columns.steps[0]
        launch = Launch(param.device, param.dtype, exp_avg.dtype, step.dtype, aligned=True)
        launch_step(launch, columns, tables, settings)
    else:
        step_tensors(columns, settings)
    return True


def step_tensors(columns: Columns, settings: StepSettings) -> None:
    """Advance tensors that ``refuses`` lets through: those that are alike in one call."""
    tell_autograd(columns)
    params, _, exp_avgs, _, steps, _ = columns
    addresses, num = tables_of(columns).addresses, len(params)
    by_column = [addresses[k * num : (k + 1) * num] for k in range(NUM_TENSORS - 1)]
    indices_of: dict[Launch, list[int]] = defaultdict(list)
    for i, at in enumerate(zip(*by_column, strict=True)):
        # the bits of all four addresses: below 16 they say how the row is aligned
        aligned = not functools.reduce(or_, at) % 16
        dtypes = params[i].dtype, exp_avgs[i].dtype, steps[i].dtype
        indices_of[Launch(params[i].device, *dtypes, aligned)].append(i)
    for launch, indices in indices_of.items():
        chosen = columns.pick(indices)
        launch_step(launch, chosen, tables_of(chosen), settings)


def launch_step(launch: Launch, columns: Columns, tables: Tables, settings: StepSettings) -> None:
    """Advance tensors that are alike."""
    device = launch.device
    with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
        table = find_table(tables, columns.places, launch)
        if table.shared and len(columns.params) > 1:
            # such as a parameter that is listed twice: one after the other, as in the loop
            for i in range(len(columns.params)):
                row = columns.pick([i])
                launch_step(launch, row, tables_of(row), settings)
        else:
            launch_kernels(launch, table, settings)


def launch_kernels(launch: Launch, table: Table, settings: StepSettings) -> None:
    """Count the steps and form the coefficients, then step all chunks."""
    import triton.language as tl

    from dualadam.optim._kernels import triton_code

    names = {
        torch.float64: tl.float64,
        torch.float32: tl.float32,
        torch.float16: tl.float16,
        torch.bfloat16: tl.bfloat16,
        torch.uint8: tl.uint8,
    }
    device, num_tensors = launch.device, len(table.addresses)
    rows = torch.empty((num_tensors, ROW), dtype=torch.float64, device=device)
    grad_scale, found_inf = settings.grad_scale, settings.found_inf
    triton_code.prepare[(-(-num_tensors // PREPARE_BLOCK),)](
        table.addresses,
        rows,
        num_tensors,
        number(settings.lr, device),
        number(settings.beta1, device),
        number(settings.beta2, device),
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
        STEP=names[launch.step_dtype],
        BLOCK=PREPARE_BLOCK,
        enable_fp_fusion=False,
    )
    num_chunks = len(table.chunks)
    if not num_chunks:
        return
    tuning = TUNING[launch.state_dtype]
    is_rounded = not ROUNDED.isdisjoint((launch.param_dtype, launch.state_dtype))
    triton_code.advance[(num_chunks,)](
        table.addresses,
        table.chunks,
        rows,
        PARAM=names[launch.param_dtype],
        STATE=names[launch.state_dtype],
        STOCHASTIC=settings.stochastic_rounding and is_rounded,
        ALIGNED=launch.aligned,
        CHUNK=tuning.chunk,
        BLOCK=tuning.block,
        num_warps=tuning.warps,
        # multiply-adds are fused where the code says so and nowhere else, as in cpu.cpp
        enable_fp_fusion=False,
    )


def find_table(tables: Tables, places: list[int], launch: Launch) -> Table:
    """Return the table of these addresses on the device; a new one is copied without waiting.

    The key is all that a table holds, and the stream that orders its copy. A captured step takes
    a table that an earlier step has made, or records a copy whose source is kept for good.
    """
    device, chunk = launch.device, TUNING[launch.state_dtype].chunk
    numbers = tables.addresses + array("Q", tables.sizes) + array("Q", places)
    if device.type != "cuda":
        return make_table(numbers, launch, pinned=False)
    key = (numbers.tobytes(), launch, chunk, torch.cuda.current_stream(device).cuda_stream)
    with _lock:
        table = _tables.get(key)
        if torch.cuda.is_current_stream_capturing():
            table = (
                table
                or next((t for k, t in _tables.items() if k[:3] == key[:3]), None)
                or make_table(numbers, launch, pinned=False)
            )
            _captured.append(table)
            return table
        if table is None:
            # torch reuses pinned memory only after the copy, and the device's in stream order
            table = _tables[key] = make_table(numbers, launch, pinned=True)
        _tables.move_to_end(key)
        if len(_tables) > MAX_TABLES:
            _tables.popitem(last=False)
        return table


def make_table(numbers: array[int], launch: Launch, pinned: bool) -> Table:
    """Copy a table and its chunks to the device. ``numbers`` has it column by column."""
    device, chunk = launch.device, TUNING[launch.state_dtype].chunk
    with torch.device("cpu"):
        by_tensor = torch.frombuffer(numbers, dtype=torch.int64).view(COLUMNS, -1).t().contiguous()
        params, sizes = by_tensor[:, 0], by_tensor[:, COLUMNS - 2]
        shared = share_memory(params, sizes, launch.param_dtype)
        counts = (sizes + (chunk - 1)) // chunk
        tensors = torch.arange(len(counts)).repeat_interleave(counts)
        chunks = torch.arange(len(tensors)) - (counts.cumsum(0) - counts)[tensors]
        chunk_table = torch.stack([tensors, chunks], 1).int()
    if pinned:
        return Table(
            by_tensor.pin_memory().to(device, non_blocking=True),
            chunk_table.pin_memory().to(device, non_blocking=True),
            (),
            shared,
        )
    return Table(
        by_tensor.to(device, non_blocking=True),
        chunk_table.to(device, non_blocking=True),
        (by_tensor, chunk_table),
        shared,
    )


def share_memory(starts: Tensor, sizes: Tensor, dtype: torch.dtype) -> bool:
    """Whether two parameters share memory: two programs would then write the same elements."""
    starts, order = starts[sizes > 0].sort()
    sizes = sizes[sizes > 0][order]
    return bool((starts[1:] < starts[:-1] + dtype.itemsize * sizes[:-1]).any())


@functools.lru_cache(maxsize=256)  # a schedule brings a new number at every step
def bits(x: float) -> int:
    """Return the bits of a float64 as a signed integer: Triton would narrow a float to float32."""
    return int(struct.unpack("<q", struct.pack("<d", x))[0])


def on_device(x: Any) -> bool:
    """Whether the kernel reads this number from the device."""
    return isinstance(x, Tensor) and x.device.type != "cpu"


def number(x: float | Tensor, device: torch.device) -> Tensor | int:
    """Return what the kernel takes for a number: a tensor on its device, or bits."""
    if isinstance(x, Tensor) and on_device(x):
        return x.to(device, non_blocking=True)
    return bits(float(x))
