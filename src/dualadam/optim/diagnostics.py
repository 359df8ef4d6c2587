"""What the inverse part does in a training."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from dualadam.optim._step.equations import (
    adam_direction,
    effective_weight,
    invadam_direction,
    mixing_weight,
)
from dualadam.optim._step.sharded import (
    Sharding,
    gather_shards,
    local_part,
    sharding_of,
    sum_over_shards,
)
from dualadam.optim._step.slices import piece_size
from dualadam.optim.dualadam import unwrap
from dualadam.optim.state import Moments, moments_of

QUANTILES = (0.05, 0.5, 0.95)
SAMPLE = 100_000  # quantiles of larger groups are taken over this many evenly spaced coordinates


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
def diagnose(optimizer: Optimizer | Iterable[Optimizer]) -> Diagnosis:
    r"""Measure how large the inverse part of the last step was, per parameter group.

    .. math:: R = \frac{\| \alpha \tilde u \|}{\| (1 - \alpha) u \|}, \quad
        w_t = (1 - \alpha) + \alpha r^2

    This reads the state and changes nothing. On the CPU it costs 5 steps of the loop, or 15 fused
    ones: call it every so many steps, as ``dualadam.callbacks`` do. If the ratio R is far below 1
    and the mean of w_t is near 1 - alpha, DualAdam is Adam with a linear warm-up in this training.
    If R is 0.1 or more, the inverse part acts, and with it the square of the loss scale.

    Sharded parameters (FSDP2) are measured shard by shard and reduced over the processes: call it
    in all of them, and all get the same result.

    Args:
        optimizer: an ``InvAdam`` or ``DualAdam``, or what a tool has wrapped around one (as
            accelerate and the Trainer of transformers do). Several of them, such as one per
            parameter for steps within the backward pass, are measured as one: a row holds the
            group of one index of all of them.

    Returns:
        A ``Diagnosis`` with one row per group. If the parameters of a group have different counts,
        mixing_weight is the mean over coordinates. Quantiles are taken over at most
        100,000 evenly spaced coordinates, everything else over all.

    Raises:
        TypeError: an optimizer is of another class.

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
    several = list(optimizer) if isinstance(optimizer, Iterable) else [optimizer]
    optimizers = [unwrap(one) for one in several]
    num_groups = max((len(one.param_groups) for one in optimizers), default=0)
    rows = []
    for index in range(num_groups):
        states = [
            (param, group, one.state[param])
            for one in optimizers
            for group in one.param_groups[index : index + 1]
            for param in group["params"]
            if one.state.get(param) and param.numel()
        ]
        rows.append(_diagnose_states(index, states))
    return Diagnosis(tuple(rows))


def _diagnose_states(
    index: int, states: list[tuple[Tensor, dict[str, Any], dict[str, Tensor]]]
) -> GroupDiagnosis:
    """Return the row of one group: of its parameters, each with its settings and its state."""
    # both parts of a complex number count
    total = sum(param.numel() * (2 if param.is_complex() else 1) for param, _, _ in states)
    if not total:
        return GroupDiagnosis(index, 0, *(math.nan,) * 10)

    stride = -(-total // SAMPLE)
    sums_of: dict[Sharding | None, Tensor] = defaultdict(
        lambda: torch.zeros(6, dtype=torch.float64, device="cpu")
    )
    samples_of: dict[Sharding | None, list[Tensor]] = defaultdict(list)
    for param, group, state in states:
        moments = moments_of(state, param)
        sharding = sharding_of(moments.exp_avg)
        sums, sample = _measure(group, float(state["step"]), moments, stride)
        sums_of[sharding] += sums
        samples_of[sharding].append(sample)
    sums = torch.zeros(6, dtype=torch.float64, device="cpu")
    samples = []
    for sharding, of_process in sums_of.items():
        sample = torch.cat(samples_of[sharding])
        sums += of_process if sharding is None else sum_over_shards(of_process, sharding)
        samples += [sample] if sharding is None else gather_shards(sample, sharding)
    sample = torch.cat(samples)
    q05, median, q95 = torch.quantile(
        sample, torch.tensor(QUANTILES, dtype=sample.dtype, device="cpu")
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


def _measure(
    group: dict[str, Any], step: float, moments: Moments, stride: int
) -> tuple[Tensor, Tensor]:
    """Return the sums of one parameter in this process, and every stride-th element of its vh.

    The sums are those of alpha, vh, the squares of both parts, w, and where the inverse part leads.
    On the CPU the moments are read in slices that stay in the cache: whole float64 copies cost ten
    times as much.
    """
    beta1, beta2 = (float(beta) for beta in group["betas"])
    alpha = mixing_weight(step, group.get("switch_rate", 0.0))
    exp_avg, exp_avg_sq = (_flat(local_part(moment)) for moment in moments)
    size = piece_size(exp_avg.numel(), exp_avg.device)
    sums = torch.zeros(6, dtype=torch.float64, device="cpu")
    sums[0] = alpha * exp_avg.numel()
    for m, v in zip(exp_avg.split(size), exp_avg_sq.split(size), strict=True):
        m_hat, v_hat = _wide(m) / (1 - beta1**step), _wide(v) / (1 - beta2**step)
        r = v_hat.sqrt() + group["eps"]
        adam, inverse = (1 - alpha) * adam_direction(m_hat, r), alpha * invadam_direction(m_hat, r)
        of_slice = (
            v_hat.sum(),
            adam.dot(adam),
            inverse.dot(inverse),
            effective_weight(r, alpha).sum(),
            (alpha * r.square() > 1 - alpha).sum().to(r.dtype),
        )
        sums[1:] += torch.stack(of_slice).cpu()
    return sums, _wide(exp_avg_sq[::stride]).cpu() / (1 - beta2**step)


def _flat(tensor: Tensor) -> Tensor:
    """Return the real numbers of a tensor in a row; both parts of a complex one count."""
    return (torch.view_as_real(tensor) if tensor.is_complex() else tensor).flatten()


def _wide(tensor: Tensor) -> Tensor:
    """Return real numbers as float64: squares of second moments overflow float32 early."""
    return tensor if tensor.device.type == "mps" else tensor.double()
