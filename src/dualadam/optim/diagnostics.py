"""What the inverse part does in a training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from dualadam.optim._step.equations import (
    adam_direction,
    effective_weight,
    invadam_direction,
    mixing_weight,
)
from dualadam.optim.dualadam import DualAdam, InvAdam, unwrap

QUANTILES = (0.05, 0.5, 0.95)
SAMPLE = 1_000_000  # quantiles of larger groups are taken over this many evenly spaced coordinates


@dataclass(frozen=True)
class GroupDiagnosis:
    """One parameter group. Every number but the counts is nan before the first update.

    Attributes:
        group: index of the group.
        num_coordinates: real coordinates of the parameters that have been updated.
        mixing_weight: mean of alpha_t, in [0, 1].
        second_moment_mean: mean of vh, in the unit of a squared gradient.
        second_moment_q05, second_moment_median, second_moment_q95: quantiles of vh.
        adam_norm: 2-norm of (1 - alpha) u.
        inverse_norm: 2-norm of alpha u~.
        ratio: inverse_norm / adam_norm.
        effective_weight: mean of w_t; 1 is Adam's own step.
        inverse_share: share of the coordinates where the inverse part is the larger one, in [0, 1].
    """

    group: int
    num_coordinates: int
    mixing_weight: float
    second_moment_mean: float
    second_moment_q05: float
    second_moment_median: float
    second_moment_q95: float
    adam_norm: float
    inverse_norm: float
    ratio: float
    effective_weight: float
    inverse_share: float


@dataclass(frozen=True)
class Diagnosis:
    """One row per parameter group: ``print`` it, iterate over it, or log ``as_dict()``."""

    groups: tuple[GroupDiagnosis, ...]

    def __iter__(self) -> Iterator[GroupDiagnosis]:
        return iter(self.groups)

    def as_dict(self) -> dict[str, float]:
        """Return a flat mapping such as {"group0/mixing_weight": 0.99, ...}, as loggers take it."""
        return {
            f"group{g.group}/{key}": value
            for g in self
            for key, value in asdict(g).items()
            if key != "group"
        }

    def __str__(self) -> str:
        header = (
            "group",
            "coordinates",
            "alpha",
            "mean vh",
            "vh 5 % .. 50 % .. 95 %",
            "inverse/Adam",
            "mean w",
            "inverse leads",
        )
        rows = [header] + [
            (
                str(g.group),
                f"{g.num_coordinates:,}",
                f"{g.mixing_weight:.4g}",
                f"{g.second_moment_mean:.2e}",
                f"{g.second_moment_q05:.1e} .. {g.second_moment_median:.1e}"
                f" .. {g.second_moment_q95:.1e}",
                f"{g.ratio:.2e}",
                f"{g.effective_weight:.3g}",
                f"{g.inverse_share:.2%}",
            )
            for g in self
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in rows
        )


@torch.no_grad()
def diagnose(optimizer: Optimizer) -> Diagnosis:
    r"""Measure how large the inverse part of the last step was, per parameter group.

    .. math:: R = \frac{\| \alpha u~ \|}{\| (1 - \alpha) u \|}, \quad
        w_t = (1 - \alpha) + \alpha r^2

    This reads the state and changes nothing. Call it after ``step`` as often as you like; it costs
    about one step. If the ratio R is far below 1 and the mean of w_t is near 1 - alpha, DualAdam is
    Adam with a linear warm-up in this training. If R is 0.1 or more, the inverse part acts, and
    with it the square of the loss scale.

    Args:
        optimizer: an ``InvAdam`` or ``DualAdam``, or what a tool has wrapped around one (as
            accelerate and the Trainer of transformers do).

    Returns:
        A ``Diagnosis`` with one row per group. If the parameters of a group have different counts,
        mixing_weight is the mean over coordinates. Quantiles are taken over at most a million
        evenly spaced coordinates, everything else over all.

    Raises:
        TypeError: the optimizer is of another class.

    Example:
        >>> import torch
        >>> from dualadam import DualAdam, diagnose
        >>> w = torch.ones(3, requires_grad=True)
        >>> optimizer = DualAdam([w], switch_rate=0.5)
        >>> w.sum().backward()
        >>> optimizer.step()  # alpha is 1/2 and every gradient 1, so both parts are equal
        >>> row = diagnose(optimizer).groups[0]
        >>> round(row.mixing_weight, 6), round(row.ratio, 6), round(row.effective_weight, 6)
        (0.5, 1.0, 1.0)
    """
    optimizer = unwrap(optimizer)
    return Diagnosis(
        tuple(_diagnose_group(optimizer, index) for index in range(len(optimizer.param_groups)))
    )


def _diagnose_group(optimizer: DualAdam | InvAdam, index: int) -> GroupDiagnosis:
    """Return the row of one group."""
    group = optimizer.param_groups[index]
    beta1, beta2 = (float(b) for b in group["betas"])
    switch_rate, eps = group.get("switch_rate", 0.0), group["eps"]
    states = [optimizer.state[p] for p in group["params"] if optimizer.state.get(p) and p.numel()]
    # both parts of a complex number count
    total = sum(s["exp_avg"].numel() * (2 if s["exp_avg"].is_complex() else 1) for s in states)
    if not total:
        return GroupDiagnosis(index, 0, *(math.nan,) * 10)

    stride = -(-total // SAMPLE)
    sums = torch.zeros(6, dtype=torch.float64)  # alpha, vh, |adam|^2, |inverse|^2, w, inverse leads
    sample: list[Tensor] = []
    for state in states:
        step = float(state["step"])
        alpha = mixing_weight(step, switch_rate)
        m_hat = _real(state["exp_avg"]) / (1 - beta1**step)
        v_hat = _real(state["exp_avg_sq"]) / (1 - beta2**step)
        r = v_hat.sqrt() + eps
        adam, inverse = (1 - alpha) * adam_direction(m_hat, r), alpha * invadam_direction(m_hat, r)
        parts = (
            v_hat.sum(),
            adam.square().sum(),
            inverse.square().sum(),
            effective_weight(r, alpha).sum(),
            (alpha * r.square() > 1 - alpha).sum(),
        )
        sums += torch.tensor(
            [alpha * m_hat.numel(), *(float(x) for x in parts)], dtype=torch.float64
        )
        sample.append(v_hat.flatten()[::stride].cpu())
    q05, median, q95 = torch.quantile(
        torch.cat(sample), torch.tensor(QUANTILES, dtype=sample[0].dtype)
    ).tolist()
    alpha, v_mean, adam2, inverse2, weight, leads = sums.tolist()
    return GroupDiagnosis(
        group=index,
        num_coordinates=total,
        mixing_weight=alpha / total,
        second_moment_mean=v_mean / total,
        second_moment_q05=q05,
        second_moment_median=median,
        second_moment_q95=q95,
        adam_norm=adam2**0.5,
        inverse_norm=inverse2**0.5,
        ratio=(inverse2 / adam2) ** 0.5 if adam2 else math.inf if inverse2 else math.nan,
        effective_weight=weight / total,
        inverse_share=leads / total,
    )


def _real(tensor: Tensor) -> Tensor:
    """Return a tensor as real float64: squares of second moments overflow float32 early."""
    tensor = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return tensor if tensor.device.type == "mps" else tensor.double()
