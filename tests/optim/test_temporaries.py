"""The memory that a step takes beyond parameters, gradients and state, as measured."""

from __future__ import annotations

import weakref
from functools import partial
from pathlib import Path

import pytest
import torch
from cases import PATHS
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dualadam import DualAdam, InvAdam

SIZE = 1000


class LiveMemory(TorchDispatchMode):
    """Counts the bytes of storages that are alive at the same time while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.known: set[int] = set()
        self.live = self.peak = 0

    def know(self, *tensors: torch.Tensor) -> None:
        self.known |= {t.untyped_storage()._cdata for t in tensors}

    def _free(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self.known and size:
                    self.known.add(key)
                    self.live += size
                    self.peak = max(self.peak, self.live)
                    weakref.finalize(storage, self._free, key, size)
        return result


def plain(dtype: torch.dtype) -> list[torch.Tensor]:
    return [torch.ones(SIZE, dtype=dtype, requires_grad=True) for _ in range(3)]


def peak_bytes(make, params: list[torch.Tensor], steps: int = 1) -> int:
    """Return the most bytes of temporaries in one more step after `steps`."""
    for param in params:
        param.grad = torch.full_like(param, 0.5) if param.grad is None else param.grad
    optimizer = make(params)
    for _ in range(steps):
        optimizer.step()
    memory = LiveMemory()
    for param in params:
        memory.know(param, param.grad, *optimizer.state[param].values())
    with memory:
        optimizer.step()
    return memory.peak


def peak_temporaries(make, dtype: torch.dtype) -> float:
    """Return the temporaries of a step in units of the parameters' float32 size."""
    return peak_bytes(make, plain(dtype)) / (3 * SIZE * 4)


def test_the_measure_finds_the_three_temporaries_of_a_naive_step():
    a = torch.ones(SIZE)
    memory = LiveMemory()
    memory.know(a)
    with memory:
        b, c = a + 1, a + 2
        del b
        d, e = a + 3, a.view(10, -1)
        f = c + d
    assert memory.peak == 3 * SIZE * 4
    assert e.shape == (10, 100)
    assert f[0] == 7


ROUNDED = {"state_dtype": torch.bfloat16, "stochastic_rounding": True}
IN_8_BITS = {"state_dtype": torch.uint8, "stochastic_rounding": True}
SCALARS = 0.01  # coefficients and counts, in units of the parameters' float32 size


def unlike_in_name_only() -> list[torch.Tensor]:
    """Gradients have other strides than their parameters in dimensions of one element only."""
    params = [
        torch.ones(SIZE // 8, 8, 1, 1, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)
    ]
    for param in params:
        param.grad = torch.full_like(param, 0.5).as_strided(param.shape, (8, 1, 8, 8))
    return params


MODELS = {
    "float32": lambda: plain(torch.float32),
    "float64": lambda: plain(torch.float64),
    "bfloat16": lambda: plain(torch.bfloat16),
    "float16": lambda: plain(torch.float16),
    "bfloat16 with float32 norms": lambda: [
        *plain(torch.bfloat16),
        torch.ones(SIZE // 10, requires_grad=True),
    ],
    "bfloat16 and float16": lambda: [*plain(torch.bfloat16), *plain(torch.float16)],
    "one here, many elsewhere": lambda: [
        torch.ones(
            SIZE // 10 if k == 0 else SIZE,
            dtype=torch.bfloat16,
            device="meta" if k else "cpu",
            requires_grad=True,
        )
        for k in range(6)
    ],
    "one large, many small": lambda: [
        torch.ones(n, dtype=torch.bfloat16, requires_grad=True)
        for n in (3 * SIZE, *[SIZE // 50] * 50)
    ],
    "strides of one element": unlike_in_name_only,
}
SETTINGS = [
    {},
    {"weight_decay": 0.1},
    {"maximize": True},
    {"capturable": True},
    {"state_dtype": torch.bfloat16},
]
SETTINGS += [ROUNDED, {**ROUNDED, "maximize": True, "capturable": True}, IN_8_BITS]


@pytest.mark.parametrize("path", ["loop", "foreach"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("model", MODELS)
def test_a_step_takes_no_more_than_adamw(path: str, settings, model: str):
    theirs = {
        key: settings[key] for key in ("weight_decay", "maximize") if key in settings
    }  # its capturable refuses the CPU
    allowed = peak_bytes(
        lambda params: torch.optim.AdamW(params, **theirs, **PATHS[path]), MODELS[model]()
    )
    for optimizer in (
        partial(DualAdam, switch_rate=0.01),
        partial(DualAdam, switch_rate=1.0),
        InvAdam,
    ):
        peak = peak_bytes(
            lambda params, new=optimizer: new(params, **settings, **PATHS[path]), MODELS[model]()
        )
        assert peak <= allowed + 12 * SIZE * SCALARS


@pytest.mark.parametrize("path", ["loop", "foreach"])
@pytest.mark.parametrize(
    "settings", [{}, {"state_dtype": torch.bfloat16}, ROUNDED, IN_8_BITS], ids=str
)
def test_copies_of_what_is_stored_in_fewer_bits_do_not_grow_with_the_model(
    monkeypatch: pytest.MonkeyPatch, path: str, settings
):
    """At most eight float32 an element of a piece, random numbers included."""
    monkeypatch.setattr("dualadam.optim._step.slices.MOST", {"cpu": 64})
    monkeypatch.setattr("dualadam.optim._step.slices.LEAST", 1)
    peak = (
        peak_temporaries(lambda params: DualAdam(params, **settings, **PATHS[path]), torch.bfloat16)
        * 3
        * SIZE
        * 4
    )
    assert peak <= 64 * 4 * 8 + 12 * SIZE * SCALARS


def peak_growth(optimizer: torch.optim.Optimizer) -> int:
    """Return how far one more step raises the process's peak memory, in bytes."""

    def read(key: str) -> int:
        (line,) = [
            line
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith(key)
        ]
        return 1024 * int(line.split()[1])

    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = read("VmRSS")
    optimizer.step()
    return read("VmHWM") - before


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(),
    reason="reads the process's memory as Linux tells it",
)
@pytest.mark.parametrize(("path", "expected"), [("loop", 1), ("foreach", 1), ("fused", 0)])
@pytest.mark.parametrize("switch_rate", [1e-3, 1.0])
def test_the_fused_step_allocates_nothing_of_a_parameters_size_in_its_library_either(
    path: str, expected: int, switch_rate: float
):
    size = 64 * 2**20
    param = torch.ones(size // 4, requires_grad=True)
    param.grad = torch.full_like(param, 0.5)
    optimizer = DualAdam([param], switch_rate=switch_rate, **PATHS[path])
    for _ in range(2):
        optimizer.step()
    assert round(peak_growth(optimizer) / size, 1) == expected


def test_the_fused_step_allocates_nothing_in_torch():
    assert peak_temporaries(lambda params: DualAdam(params, **PATHS["fused"]), torch.float32) == 0
    assert (
        peak_temporaries(
            lambda params: DualAdam(params, maximize=True, **PATHS["fused"]), torch.bfloat16
        )
        == 0
    )
