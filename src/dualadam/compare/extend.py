"""Widening the ranges whose best point lies on an edge, for all arms alike, before any judging."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable

from dualadam.compare.edges import edges_of
from dualadam.compare.extension import Extension, Side
from dualadam.compare.optimizers import try_step
from dualadam.compare.plan import Plan
from dualadam.compare.points import ranges_of
from dualadam.compare.run import Record
from dualadam.compare.spec import Spec
from dualadam.compare.spec_tables import Arm

FACTOR = 4.0  # by which an end of a range is moved
MAX_ROUNDS = 3  # so that an end moves by 64 at most
OWN_PROGRAM = ("lr", "switch_rate")  # a command's other settings may have limits of their own


def next_extensions(plan: Plan, tuned: Iterable[Record]) -> list[Extension]:
    """Return the ranges to widen after the tuning runs of a plan; none after the third round.

    Where the best point of any arm lies on an edge, that end is moved by a factor of 4 in every arm
    that tunes the setting. Every arm of the study gets the same number of new points for it, a
    quarter of the first ones and at least two. An end that is at its limit, or that one of the
    optimizers refuses, stays.
    """
    spec = plan.spec
    done = spec.extended[-1].round if spec.extended else 0
    if not spec.points or done == MAX_ROUNDS:
        return []
    found: list[Extension] = []
    for setting, side in _edges(plan, tuned):
        more = Extension(
            setting=setting,
            side=side,
            factor=FACTOR,
            points=max(2, math.ceil(spec.points / 4)),
            round=done + 1,
        )
        if _can_be_widened(spec, more):
            found.append(more)
    return found


def _edges(plan: Plan, tuned: Iterable[Record]) -> list[tuple[str, Side]]:
    """Return the edges that the best points of the arms lie on, each once."""
    winners = plan.winners(tuned)
    found = {
        (edge.setting, edge.side)
        for key, points in plan.settings.items()
        for edge in edges_of(points[winners[key]], points)
    }
    return sorted(found, key=lambda edge: (edge[0] != "lr", edge))


def _can_be_widened(spec: Spec, more: Extension) -> bool:
    arms = [arm for block in spec.block for arm in block.arm if more.setting in arm.tune]
    if spec.command is not None and more.setting not in OWN_PROGRAM:
        return False
    ends = [more.widen(ranges_of(spec, arm)[more.setting]).whole for arm in arms]
    now = [ranges_of(spec, arm)[more.setting] for arm in arms]
    if ends == now:
        return False
    return spec.command is not None or all(map(_takes, arms, [more] * len(arms), ends))


def _takes(arm: Arm, more: Extension, bounds: list[float]) -> bool:
    """Whether the optimizer of an arm takes a step with the new end of a range."""
    settings = arm.args | {name: low for name, (low, _) in arm.tune.items()}
    settings[more.setting] = bounds[0 if more.side == "low" else 1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try_step(arm.optimizer, settings, warmup=arm.warmup)
    except (Exception, SystemExit):  # a class of the user's own may raise anything
        return False
    return True
