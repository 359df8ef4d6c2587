"""The readable path, one parameter after the other. The other paths are tested against it."""

from __future__ import annotations

import torch
from torch import Tensor

from dualadam.optim._step.columns import Columns, TensorRow, Updated, require_same_shapes
from dualadam.optim._step.equations import Coefficients
from dualadam.optim._step.quantised import numbers_of
from dualadam.optim._step.rounding import noise_key, write_back
from dualadam.optim._step.settings import StepSettings, as_double
from dualadam.optim._step.slices import SHARE_OF_LARGEST, arithmetic_dtype, piece_size, pieces


def update_loop(columns: Columns, settings: StepSettings) -> None:
    """Advance every parameter and its state by one step, in place."""
    if not torch.compiler.is_compiling():
        require_same_shapes(columns)
    settings = settings.in_double()
    largest: dict[torch.device, int] = {}
    for param in columns.params:
        largest[param.device] = max(largest.get(param.device, 0), param.numel())
    size_on = {
        device: piece_size(numel // SHARE_OF_LARGEST, device) for device, numel in largest.items()
    }
    rows = columns.rows()
    if torch.compiler.is_compiling():
        rows = list(map(without_numbers, rows))
    for row in rows:
        row.step.add_(1)
        step = as_double(row.step) if settings.on_device else row.step.item()
        coefficients = settings.coefficients(step)
        key = noise_key(row) if settings.stochastic_rounding else None
        for first, piece in pieces(row, size_on[row.param.device]):
            # the result has no name: it would lie beside the copies of the next piece
            write_back(piece, advance(piece, coefficients, settings), key, first)


def advance(row: TensorRow, coefficients: Coefficients, settings: StepSettings) -> Updated:
    """Return the new values of a row or a piece.

    They are the row's own tensors, updated in place, or float32 copies, which the caller stores.
    """
    p, g, m, v = in_arithmetic_dtype(row)
    lr, beta1, beta2 = settings.lr, settings.beta1, settings.beta2
    if settings.maximize:
        g = -g

    if settings.weight_decay != 0:
        p.mul_(1 - (lr.to(p) if isinstance(lr, Tensor) else lr) * settings.weight_decay)

    m.lerp_(g, (1 - beta1).to(m) if isinstance(beta1, Tensor) else 1 - beta1)
    if isinstance(beta2, Tensor):
        v.lerp_(g.square(), (1 - beta2).to(v))
    else:
        v.mul_(beta2).addcmul_(g, g, value=1 - beta2)

    if settings.on_device:
        adam, inverse, root = (c.to(p) for c in coefficients)
        r = (v.sqrt() / root).add_(settings.eps)
        if torch.is_grad_enabled():
            m = m.clone()  # a differentiated step needs this m, which the next one changes in place
        if settings.switch_rate != 0:  # InvAdam never divides by r, which may be 0
            p.addcmul_(m, adam / r)
        p.addcmul_(m, inverse * r)
    else:
        adam, inverse, root = coefficients
        r = v.sqrt().div_(root).add_(settings.eps)
        if adam != 0:  # Adam's part:  theta - lr (1 - alpha) mh / r
            p.addcdiv_(m, r, value=adam)
        if inverse != 0:  # InvAdam's part:  theta - lr alpha mh r
            p.addcmul_(m, r, value=inverse)
    return Updated(p, m, v)


def without_numbers(row: TensorRow) -> TensorRow:
    """Return a row with its 0-d tensors as views of one dimension.

    torch.compile takes a 0-d float64 tensor on the CPU for a number, and loses what changes it in
    place: the count would stay 0. It keeps what changes a view.
    """
    p, g, m, v, step = (t if t.ndim else t.view(1) for t in row[:-1])
    return TensorRow(p, g, m, v, step, row.place)


def in_arithmetic_dtype(row: TensorRow) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return (p, g, m, v) as real tensors of at least float32.

    A tensor that is stored in another dtype becomes a copy. The others share their memory.
    """
    p, g, m, v = row.param, row.grad, row.exp_avg, row.exp_avg_sq
    if torch.is_complex(p):
        g = g.resolve_conj()
        return (
            torch.view_as_real(p),
            torch.view_as_real(g),
            torch.view_as_real(m),
            torch.view_as_real(v),
        )
    dtype = arithmetic_dtype(p)
    m, v = numbers_of(m, p, signed=True), numbers_of(v, p, signed=False)
    return p.to(dtype), g.to(dtype), m.to(dtype), v.to(dtype)
