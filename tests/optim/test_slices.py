"""A tensor worked through in pieces gets the bits that it gets as a whole."""

from __future__ import annotations

import pytest
import torch
from cases import LAYOUTS, Case, assert_same_bits, randn, state_bits

from dualadam.optim._step import loop as _loop
from dualadam.optim._step import slices as _slices

pieces = _slices.pieces
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
    monkeypatch.setattr(_slices, "SHARE_OF_ALL", 1)
    monkeypatch.setattr(_loop, "SHARE_OF_LARGEST", 1)
    monkeypatch.setattr(_slices, "LEAST", 1)
    cuts: list[int] = []

    def counted(*tensors: torch.Tensor, size: int):
        found = pieces(*tensors, size=size)
        cuts.append(len(found))
        return found

    for module in (_slices, _loop):
        monkeypatch.setattr(module, "pieces", counted)
    for size in (5, 2**18):
        monkeypatch.setattr(_slices, "MOST", {"cpu": size})
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


@torch.no_grad()
def test_what_is_cut_and_what_is_not(monkeypatch: pytest.MonkeyPatch):
    for name, value in (("SHARE_OF_ALL", 1), ("LEAST", 1), ("MOST", {"cpu": 5})):
        monkeypatch.setattr(_slices, name, value)
    half, full = torch.zeros(3, 4, dtype=torch.bfloat16), torch.zeros(3, 4)
    assert [first for first, _ in _slices.pieces(half, half, full, full, size=5)] == [0, 5, 10]
    assert [first for first, _ in _slices.pieces(full, full, half, half, size=5)] == [0, 5, 10]
    for whole in [
        (full,) * 4,
        (half, half.t().contiguous().t(), full, full),
        (half[:1], half[:1], full[:1], full[:1]),
    ]:
        assert [first for first, _ in _slices.pieces(*whole, size=5)] == [0]
    step = torch.tensor(1.0)
    rows = [(half[:1], half[:1], full[:1], full[:1], step, place) for place in range(3)]
    other = half[:1].half()
    rows += [
        (full, full, full, full, step, 3),
        (other, other, full[:1], full[:1], step, 4),
        (full, full, full, full, step, 5),
    ]
    rows += [(half[0, :1], half[0, :1], full[0, :1], full[0, :1], step, 6)]
    # four elements of bfloat16 thrice and one more, what needs no copies, float16
    assert [[place for *_, place in batch] for batch in _slices.batches(rows)] == [
        [0],
        [1],
        [2, 6],
        [3, 5],
        [4],
    ]
    alike = half.view(3, 4, 1, 1).as_strided(
        (3, 4, 1, 1), (4, 1, 4, 4)
    )  # but for dimensions of one element
    assert [
        first
        for first, _ in _slices.pieces(
            half.view(3, 4, 1, 1), alike, *[full.view(3, 4, 1, 1)] * 2, size=5
        )
    ] == [0, 5, 10]
    with torch.enable_grad():  # a differentiated step
        assert [first for first, _ in _slices.pieces(half, half, full, full, size=5)] == [0]
