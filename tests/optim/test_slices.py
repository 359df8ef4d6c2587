"""A tensor that is stepped in pieces gets the bits that it gets as a whole."""

from __future__ import annotations

import pytest
import torch
from cases import LAYOUTS, Case, assert_same_bits, randn, state_bits

from dualadam.optim._step import loop, slices
from dualadam.optim._step.columns import TensorRow
from dualadam.optim._step.slices import pieces

ROUNDED = {
    "state_dtype": torch.bfloat16,
    "stochastic_rounding": True,
    "weight_decay": 0.1,
    "switch_rate": 0.1,
}
LAYOUTS_IN_FEW_BITS = {
    "plain": LAYOUTS["plain"],
    "float16": LAYOUTS["float16"],
    "bfloat16": LAYOUTS["bfloat16"],
    "channels_last": lambda: [randn(2, 3, 4, 5).bfloat16().to(memory_format=torch.channels_last)],
    "not_dense": lambda: [randn(6, 8).bfloat16()[::2, ::2]],
}


@pytest.mark.parametrize(
    "settings",
    [{"switch_rate": 0.1, "weight_decay": 0.1}, ROUNDED, {**ROUNDED, "capturable": True}],
    ids=str,
)
@pytest.mark.parametrize("path", ["loop", "foreach"])
@pytest.mark.parametrize("layout", LAYOUTS_IN_FEW_BITS)
def test_pieces_make_the_same_parameters_and_state_as_the_whole(
    monkeypatch: pytest.MonkeyPatch, layout: str, path: str, settings: dict[str, object]
):
    case = Case(layout, settings, layout)
    made = []
    monkeypatch.setattr(slices, "SHARE_OF_ALL", 1)
    monkeypatch.setattr(loop, "SHARE_OF_LARGEST", 1)
    monkeypatch.setattr(slices, "LEAST", 1)
    cuts: list[int] = []

    def counted(row: TensorRow, size: int):
        found = pieces(row, size)
        cuts.append(len(found))
        return found

    for module in (slices, loop):
        monkeypatch.setattr(module, "pieces", counted)
    for size in (5, 2**18):
        monkeypatch.setattr(slices, "MOST", {"cpu": size})
        monkeypatch.setitem(LAYOUTS, layout, LAYOUTS_IN_FEW_BITS[layout])
        params = case.make_params()
        optimizer = case.make(params, path)
        for step in range(1, 16):  # the hand-over ends at 10
            case.set_grads(params, step)
            optimizer.step()
        made.append(state_bits(params, optimizer))
        copied = layout in ("bfloat16", "float16", "channels_last") or (
            "state_dtype" in settings and layout == "plain"
        )
        assert (max(cuts, default=1) > 1) is (copied and size == 5)
        cuts.clear()
    assert_same_bits(*made)


def row_of(*tensors: torch.Tensor, place: int = 0) -> TensorRow:
    return TensorRow(*tensors, step=torch.tensor(1.0), place=place)


def cuts(*tensors: torch.Tensor) -> list[int]:
    """Return where the pieces of at most 5 elements begin."""
    return [piece.first for piece in pieces(row_of(*tensors), 5)]


@torch.no_grad()
def test_what_is_cut_and_what_is_not():
    half, full = torch.zeros(3, 4, dtype=torch.bfloat16), torch.zeros(3, 4)
    assert cuts(half, half, full, full) == [0, 5, 10]
    assert cuts(full, full, half, half) == [0, 5, 10]
    assert cuts(full, full, full, full) == [0]
    assert cuts(half, half.t().contiguous().t(), full, full) == [0]
    assert cuts(half[:1], half[:1], full[:1], full[:1]) == [0]
    # alike except for dimensions of one element
    column, moments = half.view(3, 4, 1, 1), full.view(3, 4, 1, 1)
    alike = column.as_strided((3, 4, 1, 1), (4, 1, 4, 4))
    assert cuts(column, alike, moments, moments) == [0, 5, 10]
    with torch.enable_grad():  # a differentiated step
        assert cuts(half, half, full, full) == [0]


@torch.no_grad()
def test_batches_share_a_device_and_a_dtype_and_are_bounded_where_copies_are_needed(
    monkeypatch: pytest.MonkeyPatch,
):
    for name, value in (("SHARE_OF_ALL", 1), ("LEAST", 1), ("MOST", {"cpu": 5})):
        monkeypatch.setattr(slices, name, value)
    half, full = torch.zeros(1, 4, dtype=torch.bfloat16), torch.zeros(1, 4)
    whole, other = torch.zeros(3, 4), half.half()
    rows = [
        row_of(half, half, full, full, place=0),
        row_of(half, half, full, full, place=1),
        row_of(half, half, full, full, place=2),
        row_of(whole, whole, whole, whole, place=3),
        row_of(other, other, full, full, place=4),
        row_of(whole, whole, whole, whole, place=5),
        row_of(half[0, :1], half[0, :1], full[0, :1], full[0, :1], place=6),
    ]
    # four elements of bfloat16 thrice and one more, what needs no copies, float16
    expected = [[0], [1], [2, 6], [3, 5], [4]]
    assert [[piece.row.place for piece in batch] for batch in slices.batches(rows)] == expected
