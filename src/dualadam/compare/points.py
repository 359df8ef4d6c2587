"""The points of every arm: one quasi-random sequence, drawn before any run."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import qmc

from dualadam.compare.spec import Spec
from dualadam.compare.spec_tables import Arm

ArmKey = tuple[str, str]  # the names of a block and of one of its arms
FIRST = ("lr", "switch_rate")  # the settings with the first two dimensions of the sequence


def draw_points(spec: Spec) -> dict[ArmKey, list[dict[str, Any]]]:
    """Return the settings of every arm at each of its points, in the order in which they are tried.

    One scrambled Sobol' sequence serves all arms, with a dimension per tuned name. Arms that tune
    the same name over the same range get the same values. Ranges are sampled on a logarithmic
    scale. In any eight points from a multiple of eight on, every quarter of the range of lr is met
    by a point in each half of the range of switch_rate: the two belong to the first two dimensions,
    which form a (0, 2)-sequence in base 2 (Niederreiter, 1987).

    Studies from before there was ``sampler`` have a scrambled Halton sequence.
    """
    arms = [(block.name, arm) for block in spec.block for arm in block.arm]
    if not spec.points:
        return {(block, arm.name): [dict(arm.args)] for block, arm in arms}
    tuned = {name for _, arm in arms for name in arm.tune}
    order = FIRST if spec.sampler == "sobol" else FIRST[:1]
    names = [*filter(tuned.__contains__, order), *sorted(tuned.difference(order))]
    sample = unit_points(spec, len(names))
    points = [dict(zip(names, row.tolist(), strict=True)) for row in sample]
    return {(block, arm.name): _arm_points(spec, arm, points) for block, arm in arms}


def unit_points(spec: Spec, num_dimensions: int) -> np.ndarray:
    """Return the points of the unit cube; more points begin with the fewer ones."""
    count, seed = spec.num_points, spec.sampler_seed
    if spec.sampler == "halton":
        return qmc.Halton(num_dimensions, scramble=True, rng=seed).random(count)
    sobol = qmc.Sobol(num_dimensions, scramble=True, rng=seed)
    return sobol.random_base2((count - 1).bit_length())[:count]


def _arm_points(spec: Spec, arm: Arm, points: list[dict[str, float]]) -> list[dict[str, Any]]:
    ranges, start = dict(arm.tune), spec.points
    found = [settings_at(arm.args, ranges, point) for point in points[:start]]
    for more in spec.extended:
        drawn = dict(ranges)
        if more.setting in ranges:
            ranges[more.setting], drawn[more.setting] = more.widen(ranges[more.setting])
        end = start + more.points
        found += [settings_at(arm.args, drawn, point) for point in points[start:end]]
        start = end
    return found


def ranges_of(spec: Spec, arm: Arm) -> dict[str, list[float]]:
    """Return the ranges of an arm after all extensions of the study."""
    ranges = dict(arm.tune)
    for more in spec.extended:
        if more.setting in ranges:
            ranges[more.setting] = more.widen(ranges[more.setting]).whole
    return ranges


def settings_at(
    args: dict[str, Any], ranges: dict[str, list[float]], point: dict[str, float]
) -> dict[str, Any]:
    """Return an arm's settings at a point of the unit cube, with four significant digits."""
    tuned = {
        name: float(f"{low * (high / low) ** point[name]:.4g}")
        for name, (low, high) in ranges.items()
    }
    return {**args, **tuned}
