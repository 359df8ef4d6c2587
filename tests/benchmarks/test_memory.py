"""DualAdam needs at most AdamW's memory, and docs/memory.md shows what was counted."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import memory

ROOT = Path(__file__).parents[2]
RECORD = json.loads((ROOT / "benchmarks/records/2026-11-24_memory/memory.json").read_text())
ROWS = {(row["model"], row["storage"], row["optimizer"]): row for row in RECORD["rows"]}
# of a state in 8 bits, and of bfloat16 with a float32 state, there is no AdamW
WITHOUT_ADAMW = {memory.HALF_FULL, *memory.TINY}
OURS = [
    row
    for row in RECORD["rows"]
    if row["optimizer"] == "DualAdam" and row["storage"] not in WITHOUT_ADAMW
]
PAIRS = [(row, ROWS[row["model"], row["storage"], "AdamW"]) for row in OURS]
SIZE, COUNT = 300_000, 3
SCALARS = 64  # bytes of step counts and coefficients
PAGE = 4096  # bytes


def test_the_page_shows_the_record():
    page = memory.DOCS.read_text()
    assert page == memory.render(page, RECORD), (
        "run: python benchmarks/memory.py --docs --out benchmarks/records/2026-11-24_memory"
    )


def test_the_record_has_every_model_and_storage():
    expected = {
        (model, storage, name)
        for model, (_, storages) in memory.MODELS.items()
        for storage in storages
        for name in memory.STORAGES[storage][1]
    }
    assert set(ROWS) == expected


@pytest.mark.parametrize("row", RECORD["rows"], ids=[" ".join(key) for key in ROWS])
def test_what_was_counted_is_what_the_formulas_give(row: dict[str, Any]):
    expected = memory.expected_bytes(row)
    assert {key: row[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("ours", "theirs"), PAIRS, ids=[f"{ours['model']} {ours['storage']}" for ours, _ in PAIRS]
)
def test_in_the_record_nothing_costs_more_than_adamw(ours: dict[str, Any], theirs: dict[str, Any]):
    for key in ("parameters", "trainable"):
        assert ours[key] == theirs[key]
    for key in ("parameter_bytes", "gradient_bytes", "state_bytes", "peak_of_a_training_step"):
        assert ours[key] <= theirs[key] + SCALARS, key
    assert ours["temporaries"]["fused"] == 0
    for path in memory.PATHS:
        assert ours["temporaries"][path] <= theirs["temporaries"][path] + SCALARS, path


def step_costs(
    name: str, path: str, dtype: torch.dtype, size: int = SIZE, **settings: Any
) -> tuple[int, int]:
    """Return the bytes of the state, and the peak of a step's temporaries."""
    params = [torch.nn.Parameter(torch.ones(size, dtype=dtype)) for _ in range(COUNT)]
    for param in params:
        param.grad = torch.full_like(param, 0.5)
    optimizer = memory.make_optimizer(name, params, path, settings)
    for _ in range(2):
        optimizer.step()
    return memory.storage_bytes(memory.state_tensors(optimizer)), memory.peak_of(optimizer.step)


@pytest.mark.parametrize("path", memory.PATHS)
def test_a_float32_step_of_any_path_takes_no_more_than_adamws(path: str):
    (state, peak), (state_of_adamw, peak_of_adamw) = (
        step_costs(name, path, torch.float32) for name in ("DualAdam", "AdamW")
    )
    assert state == state_of_adamw == COUNT * (8 * SIZE + 4)
    assert peak <= peak_of_adamw + SCALARS


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rounding", [False, True])
def test_a_fused_step_takes_nothing_and_bfloat16_state_is_as_small_as_adamws(
    dtype: torch.dtype, rounding: bool
):
    state, peak = step_costs(
        "DualAdam", "fused", dtype, state_dtype=torch.bfloat16, stochastic_rounding=rounding
    )
    assert peak == 0
    of_adamw = step_costs("AdamW", "fused", torch.bfloat16)[0]
    assert of_adamw == COUNT * (4 * SIZE + 4)
    # stochastic rounding needs a float64 count
    assert state == of_adamw + (COUNT * 4 if rounding else 0)


def test_half_precision_parameters_have_a_float32_state_unless_told_otherwise():
    """The one default that costs more than AdamW's: the page says so."""
    assert step_costs("DualAdam", "fused", torch.bfloat16)[0] == COUNT * (8 * SIZE + 4)


@pytest.mark.parametrize("path", ["loop", "foreach"])
@pytest.mark.parametrize("size", [1, 100, 10_000, 1_000_000])
def test_a_bfloat16_step_of_any_size_takes_no_more_than_adamws_or_a_page(path: str, size: int):
    _, peak_of_adamw = step_costs("AdamW", path, torch.bfloat16, size)
    for settings in (
        {},
        {"state_dtype": torch.bfloat16},
        {"state_dtype": torch.bfloat16, "stochastic_rounding": True},
    ):
        assert (
            step_costs("DualAdam", path, torch.bfloat16, size, **settings)[1]
            <= max(peak_of_adamw, PAGE) + SCALARS
        )


@pytest.mark.parametrize("path", ["loop", "foreach"])
def test_bfloat16_copies_stay_below_what_the_page_says(path: str):
    _, peak = step_costs(
        "DualAdam",
        path,
        torch.bfloat16,
        10 * SIZE,
        state_dtype=torch.bfloat16,
        stochastic_rounding=True,
    )
    assert peak <= 4.2e6


def test_the_measure_counts_what_is_alive_at_one_time_inside_operators_too():
    a = torch.ones(1000)
    assert memory.peak_of(lambda: a.exp().add_(a.sqrt())) == 2 * 4000
    assert memory.peak_of(lambda: [a.exp() for _ in range(5)]) == 5 * 4000
    assert memory.peak_of(lambda: [a.exp().sum() for _ in range(5)]) < 2 * 4000
    assert (
        memory.peak_of(lambda: torch.nn.functional.gelu(a.exp(), approximate="tanh").softmax(0))
        >= 2 * 4000
    )


def test_storages_that_tensors_share_are_counted_once():
    a = torch.ones(10)
    assert memory.storage_bytes([a, a[:3], a.view(2, 5)]) == 40


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(),
    reason="reads the process's memory as Linux tells it",
)
def test_a_row_counted_anew_is_the_recorded_one():
    threads = torch.get_num_threads()
    row = memory.measure("small-cnn, 128 images", memory.FLOAT32, "DualAdam")
    torch.set_num_threads(threads)
    recorded = ROWS["small-cnn, 128 images", memory.FLOAT32, "DualAdam"]
    counted = (
        "parameters",
        "trainable",
        "tensors",
        "parameter_bytes",
        "gradient_bytes",
        "state_bytes",
        "peak_of_a_training_step",
    )
    assert {key: row[key] for key in counted} == {key: recorded[key] for key in counted}
